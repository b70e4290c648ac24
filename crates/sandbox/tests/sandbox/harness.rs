//! Controllers in a few lines, a host in memory, and one sandbox for all tests that need no settings of their own.

use coprocessor_guest_build::{BuildOptions, GuestBuildError, build_controller};
use coprocessor_sandbox::{Artifact, Call, Export, Host, HostError, Limits, Module, Run, Sandbox, SandboxConfig};
use coprocessor_types::{BlobDigest, ProgramId, Root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

pub(crate) const PROGRAM: ProgramId = ProgramId([0x11; 32]);
pub(crate) const ROOT: Root = Root([0x22; 32]);

/// Keeps files and raw bytes, or fails as told.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) raw: Option<Vec<u8>>,
    pub(crate) failing: Option<HostError>,
}

impl Memory {
    fn check(&self) -> Result<(), HostError> {
        self.failing.clone().map_or(Ok(()), Err)
    }
}

impl Host for Memory {
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.check()?;
        Ok(self.files.get(path).cloned())
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError> {
        self.check()?;
        self.files.insert(path.into(), content.into());
        Ok(())
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        self.check()?;
        Ok(self.raw.clone())
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        self.check()?;
        self.raw = Some(content.into());
        Ok(())
    }
}

pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(SandboxConfig { threads: 8, ..SandboxConfig::default() }).unwrap())
}

/// Host calls, one page of memory, `$tell` to return a number, and `entrypoint` as given. `rest` holds more
/// definitions.
pub(crate) fn controller_with(entrypoint: &str, rest: &str) -> String {
    format!(
        r#"(module
          (import "valence" "args" (func $args (param i32) (result i32)))
          (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
          (import "valence" "log" (func $log (param i32 i32) (result i32)))
          (import "valence" "panic" (func $panic (param i32 i32)))
          (import "valence" "get_controller" (func $get_controller (param i32) (result i32)))
          (import "valence" "get_historical" (func $get_historical (param i32) (result i32)))
          (import "valence" "get_storage_file" (func $get_file (param i32 i32 i32) (result i32)))
          (import "valence" "set_storage_file" (func $set_file (param i32 i32 i32 i32) (result i32)))
          (import "valence" "get_raw_storage" (func $get_raw (param i32) (result i32)))
          (import "valence" "set_raw_storage" (func $set_raw (param i32 i32) (result i32)))
          {rest}
          (func $tell (param $n i32) (local $at i32) (local $negative i32)
            (local.set $at (i32.const 1000))
            (local.set $negative (i32.lt_s (local.get $n) (i32.const 0)))
            (if (local.get $negative) (then (local.set $n (i32.sub (i32.const 0) (local.get $n)))))
            (loop $digit
              (local.set $at (i32.sub (local.get $at) (i32.const 1)))
              (i32.store8 (local.get $at)
                (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
              (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
              (br_if $digit (local.get $n)))
            (if (local.get $negative) (then
              (local.set $at (i32.sub (local.get $at) (i32.const 1)))
              (i32.store8 (local.get $at) (i32.const 45))))
            (drop (call $ret (local.get $at) (i32.sub (i32.const 1000) (local.get $at)))))
          (func (export "get_witnesses"))
          (func $entrypoint (export "entrypoint") {entrypoint}))"#
    )
}

/// With one page of memory that begins with `data`.
pub(crate) fn controller_over(data: &str, entrypoint: &str) -> String {
    controller_with(entrypoint, &format!(r#"(memory (export "memory") 1) (data (i32.const 0) "{data}")"#))
}

pub(crate) fn controller(entrypoint: &str) -> String {
    controller_over("", entrypoint)
}

/// The controller in a folder, as `cargo coprocessor build` makes it; `None` where nothing here builds controllers: the test
/// then ends early, and says so. Where the environment has `CI`, something must.
pub(crate) fn built(folder: &Path) -> Option<Vec<u8>> {
    let options = BuildOptions { locked: true, ..BuildOptions::default() };
    match build_controller(folder, &options, &mut |_| ()) {
        Ok(wasm) => Some(wasm),
        #[allow(clippy::print_stderr)] // What is skipped must be seen.
        Err(error @ GuestBuildError::NoToolchain { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

pub(crate) fn load_in(sandbox: &Sandbox, text: &str) -> Module {
    let wasm = wasm(text);
    let artifact: Artifact = sandbox.compile(&wasm).unwrap();
    sandbox.load(BlobDigest::of(&wasm), &artifact).unwrap()
}

pub(crate) fn call(args: Value) -> Call {
    Call { export: Export::Entrypoint, args, program: PROGRAM, root: ROOT, recorder: None, limits: None }
}

pub(crate) fn run_with(text: &str, args: Value, host: &mut Memory) -> Run {
    sandbox().call(&load_in(sandbox(), text), call(args), host)
}

pub(crate) fn run(text: &str) -> Run {
    run_with(text, Value::Null, &mut Memory::default())
}

pub(crate) fn run_within(limits: Limits, text: &str) -> Run {
    let call = Call { limits: Some(limits), ..call(Value::Null) };
    sandbox().call(&load_in(sandbox(), text), call, &mut Memory::default())
}

/// What a controller over `data` told about an expression of type i32.
pub(crate) fn told(data: &str, expression: &str) -> i64 {
    let run = run(&controller_over(data, &format!("(call $tell {expression})")));
    run.result.unwrap().unwrap().as_i64().unwrap()
}
