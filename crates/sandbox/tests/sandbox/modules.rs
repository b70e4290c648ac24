//! What is accepted as a controller, and compiled modules kept from one process to the next.

use crate::harness::*;
use coprocessor_sandbox::{Artifact, Limits, ModuleError, Role, RunError, Sandbox, SandboxConfig};
use coprocessor_types::BlobDigest;
use serde_json::{Value, json};

fn refused(wasm: &[u8]) -> ModuleError {
    sandbox().compile(wasm).expect_err("accepted")
}

fn refused_text(text: &str) -> ModuleError {
    refused(&wasm(text))
}

#[test]
fn only_core_webassembly_is_compiled() {
    for bytes in [&b""[..], b"\0as", b"\0asm", b"\0asm\x01\0", b"\x7fELF\x02\x01\x01\0", controller("").as_bytes()] {
        assert_eq!(refused(bytes), ModuleError::NotWasm, "{bytes:?}");
    }
    assert_eq!(refused(b"\0asm\x02\0\0\0"), ModuleError::Version { version: 2 });
    let whole = wasm(&controller("(call $tell (i32.const 1))"));
    assert!(matches!(refused(&whole[..whole.len() - 1]), ModuleError::Invalid { .. }));
    assert_eq!(refused_text("(module)"), ModuleError::MissingExport { name: "memory" });
}

#[test]
fn a_controller_exports_a_memory_and_two_functions() {
    let memory = r#"(memory (export "memory") 1)"#;
    let witnesses = r#"(func (export "get_witnesses"))"#;
    let entrypoint = r#"(func (export "entrypoint"))"#;
    let missing = |name| ModuleError::MissingExport { name };
    assert_eq!(refused_text(&format!("(module {witnesses}{entrypoint})")), missing("memory"));
    assert_eq!(refused_text(&format!("(module {memory}{entrypoint})")), missing("get_witnesses"));
    assert_eq!(refused_text(&format!("(module {memory}{witnesses})")), missing("entrypoint"));

    let wrong = [
        (format!(r#"(func (export "memory")){witnesses}{entrypoint}"#), "memory"),
        (format!(r#"{memory}{entrypoint}(func (export "get_witnesses") (param i32))"#), "get_witnesses"),
        (format!(r#"{memory}{entrypoint}(global (export "get_witnesses") i32 (i32.const 0))"#), "get_witnesses"),
        (format!(r#"{memory}{witnesses}(func (export "entrypoint") (result i32) (i32.const 0))"#), "entrypoint"),
    ];
    for (text, expected) in wrong {
        let error = refused_text(&format!("(module {text})"));
        assert!(matches!(error, ModuleError::ExportType { name, .. } if name == expected), "{error}");
    }
}

#[test]
fn a_controller_is_fit_for_the_roles_whose_functions_it_exports() {
    let checked = |exports: [&str; 4]| {
        let functions = exports.map(|name| format!(r#"(func (export "{name}"))"#)).concat();
        let wasm = wasm(&format!(r#"(module (memory (export "memory") 1) {functions})"#));
        let module = sandbox().load(BlobDigest::of(&wasm), &sandbox().compile(&wasm).unwrap()).unwrap();
        [Role::Program, Role::Domain].map(|role| module.check(role))
    };
    let missing = |name| Err(ModuleError::MissingExport { name });
    let program = ["get_witnesses", "entrypoint", "a", "b"];
    assert_eq!(checked(program), [Ok(()), missing("validate_block")]);
    let domain = ["validate_block", "get_state_proof", "a", "b"];
    assert_eq!(checked(domain), [missing("get_witnesses"), Ok(())]);
    assert_eq!(checked([program[0], program[1], domain[0], domain[1]]), [Ok(()), Ok(())]);
}

#[test]
fn only_functions_can_be_imported() {
    let importing = |import: &str, memory: &str| {
        refused_text(&format!(
            r#"(module (import "env" "it" ({import})) {memory}
            (func (export "get_witnesses")) (func (export "entrypoint")))"#
        ))
    };
    let own = r#"(memory (export "memory") 1)"#;
    let imports = [
        ("memory 1", r#"(export "memory" (memory 0))"#, "a memory"),
        ("global i32", own, "a global"),
        ("table 1 funcref", own, "a table"),
    ];
    for (import, memory, expected) in imports {
        let error = importing(import, memory);
        assert!(matches!(&error, ModuleError::ImportKind { kind, .. } if *kind == expected), "{error}");
    }
}

#[test]
fn host_calls_are_imported_as_they_are() {
    let imports =
        [("args", "(param i64) (result i32)"), ("log", "(param i32)"), ("panic", "(param i32 i32) (result i32)")];
    for (name, ty) in imports {
        let error = refused_text(&format!(
            r#"(module (import "valence" "{name}" (func {ty})) (memory (export "memory") 1)
            (func (export "get_witnesses")) (func (export "entrypoint")))"#
        ));
        assert!(matches!(&error, ModuleError::ImportType { message } if message.contains(name)), "{error}");
    }
}

#[test]
fn a_module_too_large_is_not_looked_at() {
    let config = SandboxConfig { module_bytes: 10, threads: 1, ..SandboxConfig::default() };
    let sandbox = Sandbox::new(config).unwrap();
    assert_eq!(sandbox.compile(&[0; 11]), Err(ModuleError::TooLarge { got: 11, limit: 10 }));
}

#[test]
fn memory_beyond_the_sandboxs_is_refused_from_the_start() {
    let limits = Limits { memory_bytes: 2 * 65536, ..Limits::default() };
    let sandbox = Sandbox::new(SandboxConfig { limits, threads: 1, ..SandboxConfig::default() }).unwrap();
    let with_pages = |pages: u32| wasm(&controller_with("", &format!(r#"(memory (export "memory") {pages})"#)));
    assert!(sandbox.compile(&with_pages(2)).is_ok());
    let error = sandbox.compile(&with_pages(3)).unwrap_err();
    assert!(matches!(&error, ModuleError::Invalid { message } if message.contains("196608")), "{error}");
}

#[test]
fn what_compilers_emit_is_accepted() {
    let rest = r#"(memory (export "memory") 1) (table $a 2 funcref) (table $b 2 funcref)
        (func $two (result i32 i32) (i32.const 1) (i32.const 2))
        (data $passive "abc")
        (global $g (mut i32) (i32.add (i32.const 1) (i32.const 2)))"#;
    let body = r"
        (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 3))
        (memory.copy (i32.const 8) (i32.const 0) (i32.const 3))
        (memory.fill (i32.const 16) (i32.const 1) (i32.const 8))
        (table.set $b (i32.const 0) (ref.null func))
        (drop (i32.extend8_s (i32.const 255)))
        (drop (i32.trunc_sat_f32_s (f32.const nan)))
        (drop (i8x16.extract_lane_u 0 (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)))
        (call $two) (call $tell (i32.add))";
    assert_eq!(run(&controller_with(body, rest)).result, Ok(Some(json!(3))));
}

#[test]
fn what_makes_runs_differ_is_refused() {
    let relaxed = r"(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))";
    assert!(matches!(refused_text(&controller(relaxed)), ModuleError::Invalid { .. }));
    for memory in [r#"(memory (export "memory") 1 1 shared)"#, r#"(memory (export "memory") i64 1)"#] {
        assert!(matches!(refused_text(&controller_with("", memory)), ModuleError::Invalid { .. }), "{memory}");
    }
}

#[test]
fn an_artifact_is_loaded_by_another_sandbox_like_the_one_that_made_it() {
    let wasm = wasm(&controller("(call $tell (i32.const 7))"));
    let key = BlobDigest::of(&wasm);
    let config = SandboxConfig { threads: 1, ..SandboxConfig::default() };
    let maker = Sandbox::new(config.clone()).unwrap();
    let kept = maker.compile(&wasm).unwrap().into_bytes();
    let fingerprint = maker.fingerprint();
    drop(maker);

    let sandbox = Sandbox::new(config).unwrap();
    assert_eq!(sandbox.fingerprint(), fingerprint);
    assert!(sandbox.cached(&key).is_none());
    let module = sandbox.load(key, &Artifact::from_bytes(kept)).unwrap();
    assert!(sandbox.cached(&key).is_some());
    let run = sandbox.call(&module, call(Value::Null), &mut Memory::default());
    assert_eq!(run.result, Ok(Some(json!(7))));
}

#[test]
fn a_foreign_or_damaged_artifact_is_not_run() {
    let wasm = wasm(&controller("(call $tell (i32.const 8))"));
    let key = BlobDigest::of(&wasm);
    let artifact = sandbox().compile(&wasm).unwrap();
    let changed = |at: usize| {
        let mut bytes = artifact.as_bytes().to_vec();
        bytes[at] ^= 1;
        let error = sandbox().load(key, &Artifact::from_bytes(bytes)).unwrap_err();
        assert!(error.wants_recompiling());
        error.code()
    };
    assert_eq!(changed(8), "artifact_foreign");
    assert_eq!(changed(8 + 32), "artifact_other_module");
    assert_eq!(changed(8 + 2 * 32), "artifact_damaged");
    assert_eq!(changed(artifact.as_bytes().len() - 1), "artifact_damaged");
    assert!(matches!(sandbox().load(BlobDigest([0; 32]), &artifact), Err(ModuleError::OtherModule { .. })));
    assert!(sandbox().cached(&key).is_none());
}

#[test]
fn the_least_recently_used_module_is_given_up() {
    let texts: Vec<_> = (0..3).map(|n| wasm(&controller(&format!("(call $tell (i32.const {n}))")))).collect();
    let keys: Vec<_> = texts.iter().map(|wasm| BlobDigest::of(wasm)).collect();
    let artifacts: Vec<_> = texts.iter().map(|wasm| sandbox().compile(wasm).unwrap()).collect();
    let room_for_two = artifacts[0].as_bytes().len() * 5 / 2;
    let config = SandboxConfig { cache_bytes: room_for_two, threads: 8, ..SandboxConfig::default() };
    let sandbox = Sandbox::new(config).unwrap();
    sandbox.load(keys[0], &artifacts[0]).unwrap();
    sandbox.load(keys[1], &artifacts[1]).unwrap();
    assert!(sandbox.cached(&keys[0]).is_some());
    sandbox.load(keys[2], &artifacts[2]).unwrap();
    assert!(sandbox.cached(&keys[0]).is_some());
    assert!(sandbox.cached(&keys[1]).is_none());
    assert!(sandbox.cached(&keys[2]).is_some());
}

#[test]
fn a_module_of_another_sandbox_is_not_run() {
    let module = load_in(sandbox(), &controller(""));
    let other = Sandbox::new(SandboxConfig { threads: 1, ..SandboxConfig::default() }).unwrap();
    let run = other.call(&module, call(Value::Null), &mut Memory::default());
    assert!(matches!(run.result, Err(RunError::Start { .. })), "{:?}", run.result);
}
