//! Where an engine has its controllers from: over a real store, before and after what a restart is to it.

use coprocessor_sandbox::{Role, Sandbox, SandboxConfig};
use coprocessor_types::BlobDigest;
use serde_json::Value;
use std::{fs, path::Path, path::PathBuf};

use crate::{
    Caller, CompiledReport, CompiledSettings, EngineConfig, EngineError,
    testing::{Bench, config},
};

fn keeping(directory: &Path) -> EngineConfig {
    let compiled = CompiledSettings { directory: directory.to_owned(), bytes: 64 << 20 };
    EngineConfig { compiled: Some(compiled), ..config() }
}

/// That of the bench's program.
fn controller(bench: &Bench) -> BlobDigest {
    bench.program.controller
}

async fn call(bench: &Bench) -> Result<Value, EngineError> {
    bench.engine.call(&Caller::anonymous(), bench.program.id, Value::Null).await.map(|report| report.result)
}

/// Compiled, read from the directory, found in memory.
async fn counts(bench: &Bench) -> (u64, u64, u64) {
    let CompiledReport { compiled, loaded, found, .. } = report(bench).await;
    (compiled, loaded, found)
}

async fn report(bench: &Bench) -> CompiledReport {
    bench.engine.storage().await.unwrap().compiled
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// A controller like no other.
fn numbered(number: u32) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") 1) (func (export "get_witnesses") (drop (i32.const {number})))
            (func (export "entrypoint")))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn what_was_compiled_once_is_loaded_by_the_next_process() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("compiled");
    let bench = Bench::with(keeping(&directory), &[]).await;
    for _ in 0..3 {
        call(&bench).await.unwrap();
    }
    assert_eq!(counts(&bench).await, (1, 0, 2));
    let kept = report(&bench).await;
    assert_eq!((kept.files, kept.limit, kept.problem), (1, 64 << 20, None));
    assert_eq!(kept.bytes, fs::metadata(&files(&directory)[0]).unwrap().len());

    let next = bench.another(keeping(&directory), &[]).await;
    call(&next).await.unwrap();
    assert_eq!((counts(&next).await, next.effects()), ((0, 1, 0), 4));
    // What nobody keeps is compiled as ever.
    let without = bench.another(config(), &[]).await;
    call(&without).await.unwrap();
    assert_eq!(report(&without).await, CompiledReport { compiled: 1, ..CompiledReport::default() });
    let off = CompiledSettings { directory: place.path().join("off"), bytes: 0 };
    let off = bench.another(EngineConfig { compiled: Some(off), ..config() }, &[]).await;
    call(&off).await.unwrap();
    assert_eq!((report(&off).await.limit, place.path().join("off").exists()), (0, false));
}

#[tokio::test]
async fn a_deployment_fills_the_directory_and_what_was_there_is_still_checked_for_its_role() {
    let place = tempfile::tempdir().unwrap();
    let bench = Bench::with(keeping(place.path()), &[]).await;
    let wasm = bytes::Bytes::from(numbered(1));
    bench.engine.inner.check_controller(wasm.clone(), Role::Program).await.unwrap();
    assert_eq!((counts(&bench).await, files(place.path()).len()), ((1, 0, 0), 1));
    let next = bench.another(keeping(place.path()), &[]).await;
    let refused = next.engine.inner.check_controller(wasm.clone(), Role::Domain).await.unwrap_err();
    assert!(matches!(&refused, EngineError::InvalidController(why) if why.contains("validate_block")), "{refused}");
    next.engine.inner.check_controller(wasm, Role::Program).await.unwrap();
    assert_eq!(counts(&next).await, (0, 1, 1));
    // What is no controller is not kept.
    let refused = next.engine.inner.check_controller((&b"\0asm"[..]).into(), Role::Program).await;
    assert!(matches!(refused, Err(EngineError::InvalidController(_))), "{refused:?}");
    assert_eq!((counts(&next).await, files(place.path()).len()), ((0, 1, 1), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_who_ask_at_once_wait_for_one_compilation() {
    let place = tempfile::tempdir().unwrap();
    let bench = Bench::with(keeping(place.path()), &[]).await;
    let asked = |bench: &Bench| {
        let inner = std::sync::Arc::clone(&bench.engine.inner);
        let digest = controller(bench);
        tokio::spawn(async move { inner.compiled_controller(digest, None).await.map(drop) })
    };
    // One that goes away takes nothing with it.
    let gone = asked(&bench);
    tokio::task::yield_now().await;
    gone.abort();
    for waiting in (0..32).map(|_| asked(&bench)).collect::<Vec<_>>() {
        waiting.await.unwrap().unwrap();
    }
    assert_eq!(counts(&bench).await.0, 1);
    let next = bench.another(keeping(place.path()), &[]).await;
    for waiting in (0..32).map(|_| asked(&next)).collect::<Vec<_>>() {
        waiting.await.unwrap().unwrap();
    }
    let (compiled, loaded, _) = counts(&next).await;
    assert_eq!((compiled, loaded), (0, 1));
    assert!(next.engine.inner.compiled.under_way(controller(&next)).get().is_none(), "nothing stays in memory for it");
}

#[tokio::test]
async fn one_failure_is_not_the_others() {
    let bench = Bench::with(config(), &[]).await;
    let inner = &bench.engine.inner;
    let wasm = numbered(1);
    let digest = BlobDigest::of(&wasm);
    // The store has no such blob, and who has the bytes needs none.
    let missing = inner.compiled_controller(digest, None).await;
    assert!(matches!(missing, Err(EngineError::Store(_))), "{missing:?}");
    inner.compiled_controller(digest, Some(wasm.into())).await.unwrap();
    assert_eq!(counts(&bench).await, (1, 0, 0));
}

#[tokio::test]
async fn more_controllers_than_memory_holds_are_loaded_not_compiled_again() {
    let place = tempfile::tempdir().unwrap();
    let bench = Bench::with(config(), &[]).await;
    let wasm: Vec<_> = (0..4).map(numbered).collect();
    let size = bench.engine.inner.sandbox.compile(&wasm[0]).unwrap().as_bytes().len();
    let sandbox = SandboxConfig { threads: 2, cache_bytes: size * 5 / 2, ..SandboxConfig::default() };
    let small = bench.with_sandbox(Sandbox::new(sandbox).unwrap(), keeping(place.path())).await;
    for _ in 0..3 {
        for wasm in &wasm {
            small.engine.inner.check_controller(wasm.clone().into(), Role::Program).await.unwrap();
        }
    }
    assert_eq!(counts(&small).await, (4, 8, 0));
}

#[tokio::test]
async fn damaged_and_swapped_files_are_compiled_again_and_replaced() {
    let place = tempfile::tempdir().unwrap();
    let bench = Bench::with(keeping(place.path()), &[]).await;
    call(&bench).await.unwrap();
    let file = files(place.path()).remove(0);
    let good = fs::read(&file).unwrap();
    bench.engine.inner.check_controller(numbered(1).into(), Role::Program).await.unwrap();
    let other = files(place.path()).into_iter().find(|other| *other != file).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let truncated = good[..good.len() / 2].to_vec();
    for (what, content) in
        [("damaged", damaged), ("truncated", truncated), ("empty", Vec::new()), ("swapped", fs::read(other).unwrap())]
    {
        fs::write(&file, content).unwrap();
        let next = bench.another(keeping(place.path()), &[]).await;
        call(&next).await.unwrap();
        assert_eq!((counts(&next).await, report(&next).await.problem), ((1, 0, 0), None), "{what}");
        assert_eq!(fs::read(&file).unwrap(), good, "{what}");
    }
}

#[tokio::test]
async fn the_last_room_on_a_disk_is_not_taken() {
    let place = tempfile::tempdir().unwrap();
    let low = EngineConfig { min_free_bytes: u64::MAX, ..keeping(place.path()) };
    let bench = Bench::with(low, &[]).await;
    // Looks at the disk.
    assert!(bench.engine.storage().await.unwrap().low.is_some());
    bench.engine.inner.compiled_controller(controller(&bench), None).await.unwrap();
    assert_eq!((counts(&bench).await, files(place.path())), ((1, 0, 0), vec![]));
}
