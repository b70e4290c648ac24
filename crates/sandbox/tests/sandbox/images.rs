//! The volume as one image: granted, refused, and misused.

use crate::harness::*;
use coprocessor_sandbox::{Host, HostError, MAX_BUFFER, Run, RunError};
use serde_json::Value;

/// Keeps an image, or fails as told.
#[derive(Default)]
struct Disk {
    memory: Memory,
    image: Vec<u8>,
}

impl Host for Disk {
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.memory.read_file(path)
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError> {
        self.memory.write_file(path, content)
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        self.memory.raw_storage()
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        self.memory.set_raw_storage(content)
    }

    fn volume_image(&mut self) -> Result<Vec<u8>, HostError> {
        self.memory.failing.clone().map_or_else(|| Ok(self.image.clone()), Err)
    }

    fn set_volume_image(&mut self, image: &[u8]) -> Result<(), HostError> {
        if let Some(error) = self.memory.failing.clone() {
            return Err(error);
        }
        self.image = image.to_vec();
        Ok(())
    }
}

/// With `pages` of memory that begins with `data`.
fn controller(pages: usize, data: &str, entrypoint: &str) -> String {
    let rest = format!(
        r#"(import "valence" "get_storage" (func $get_image (param i32) (result i32)))
          (import "valence" "set_storage" (func $set_image (param i32 i32) (result i32)))
          (memory (export "memory") {pages}) (data (i32.const 0) "{data}")"#
    );
    controller_with(entrypoint, &rest)
}

fn run_on(disk: &mut Disk, text: &str) -> Run {
    sandbox().call(&load_in(sandbox(), text), call(Value::Null), disk)
}

/// What it told about an expression of type i32, and its log.
fn tell(disk: &mut Disk, pages: usize, expression: &str) -> (i64, Vec<String>) {
    let run = run_on(disk, &controller(pages, "image", &format!("(call $tell {expression})")));
    (run.result.unwrap().unwrap().as_i64().unwrap(), run.log)
}

#[test]
fn an_image_is_given_and_taken() {
    let mut disk = Disk { image: b"a disk".to_vec(), ..Disk::default() };
    let body = "(drop (call $set_image (i32.const 64) (call $get_image (i32.const 64))))
        (i32.store8 (i32.const 64) (i32.const 65))
        (call $tell (call $set_image (i32.const 64) (i32.const 3)))";
    let run = run_on(&mut disk, &controller(1, "", body));
    assert_eq!(run.result.unwrap(), Some(Value::from(0)));
    assert_eq!(disk.image, b"A d");
    assert_eq!(tell(&mut disk, 1, "(call $get_image (i32.const 100))"), (3, Vec::new()));
}

#[test]
fn nothing_lands_outside_memory() {
    let mut disk = Disk { image: vec![7; 100], ..Disk::default() };
    for (ptr, code) in [(65436, 100), (65437, -2), (65537, -3), (-1, -3)] {
        assert_eq!(tell(&mut disk, 1, &format!("(call $get_image (i32.const {ptr}))")).0, code, "{ptr}");
    }
    for (ptr, len, code) in [(0, 65536, 0), (65530, 7, -6), (65537, 0, -4), (-1, 4096, -4), (0, -1, -6)] {
        let set = format!("(call $set_image (i32.const {ptr}) (i32.const {len}))");
        assert_eq!(tell(&mut disk, 1, &set).0, code, "{ptr} {len}");
    }
    assert_eq!(disk.image.len(), 65536, "what was not refused");
}

#[test]
fn an_image_is_as_large_as_the_buffer_every_controller_has() {
    // 16 MiB, and a page.
    let pages = MAX_BUFFER / 65536 + 1;
    let mut disk = Disk { image: vec![7; MAX_BUFFER], ..Disk::default() };
    assert_eq!(tell(&mut disk, pages, "(call $get_image (i32.const 0))").0, MAX_BUFFER as i64);
    disk.image.push(7);
    assert_eq!(tell(&mut disk, pages, "(call $get_image (i32.const 0))").0, -6);
    let set = |len: usize| format!("(call $set_image (i32.const 0) (i32.const {len}))");
    assert_eq!(tell(&mut disk, pages, &set(MAX_BUFFER)), (0, Vec::new()));
    let (code, log) = tell(&mut disk, pages, &set(MAX_BUFFER + 1));
    assert_eq!(code, -6);
    assert_eq!(log, ["set_storage refused: an image of 16777217 bytes, at most 16777216 are taken"]);
    assert_eq!(disk.image.len(), MAX_BUFFER);
}

#[test]
fn raw_storage_that_could_not_be_given_back_is_not_kept() {
    let mut disk = Disk::default();
    let (code, log) = tell(
        &mut disk,
        MAX_BUFFER / 65536 + 1,
        &format!("(call $set_raw (i32.const 0) (i32.const {}))", MAX_BUFFER + 1),
    );
    assert_eq!((code, disk.memory.raw), (-6, None));
    assert_eq!(log, ["set_raw_storage refused: 16777217 bytes, at most 16777216 are kept"]);
}

#[test]
fn the_host_refuses_and_the_controller_goes_on() {
    const CALLS: [(&str, &str); 2] = [
        ("get_storage", "(call $get_image (i32.const 64))"),
        ("set_storage", "(call $set_image (i32.const 0) (i32.const 5))"),
    ];
    for (name, expression) in CALLS {
        let mut disk = Disk::default();
        disk.memory.failing = Some(HostError::Refused { reason: "clusters 2 and 3 are crossed".into() });
        let refused = format!("{name} refused: clusters 2 and 3 are crossed");
        assert_eq!(tell(&mut disk, 1, expression), (-15, vec![refused]));
        disk.memory.failing = Some(HostError::TooLarge { len: 64 << 20 });
        let large = format!("{name} refused: 67108864 bytes, and a host call hands over at most 16777216 bytes");
        assert_eq!(tell(&mut disk, 1, expression), (-6, vec![large]));
        disk.memory.failing = Some(HostError::Failed { reason: "the store is gone".into() });
        let run = run_on(&mut disk, &controller(1, "image", &format!("(call $tell {expression})")));
        assert!(matches!(run.result, Err(RunError::Host { call, .. }) if call == name), "{:?}", run.result);
        // A host that has no such images says so.
        let text = controller(1, "image", &format!("(call $tell {expression})"));
        let run = run_with(&text, Value::Null, &mut Memory::default());
        assert_eq!(run.result.unwrap(), Some(Value::from(-15)));
        assert_eq!(run.log, [format!("{name} refused: there are no images of volumes here")]);
    }
}
