//! The examples of components, in Rust and in JavaScript: built as their READMEs say, they do what the controller of
//! `guests/hello` does.

use crate::harness::{Memory, PROGRAM, ROOT, built};
use coprocessor_sandbox::{Call, Export, Limits, Module, Role, Run, RunError, Sandbox, SandboxConfig, WIT};
use coprocessor_test_servers::{install_npm, skip_or_fail};
use coprocessor_types::BlobDigest;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const COMPONENTIZE: &str = "@bytecodealliance/componentize-js@0.23.0";

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let limits = Limits { fuel: u64::MAX, ..Limits::default() };
    Sandbox::new(SandboxConfig { limits, ..SandboxConfig::default() }).unwrap()
});

/// Compiled once: a JavaScript engine is large.
static JAVASCRIPT: LazyLock<Option<Module>> = LazyLock::new(|| javascript().map(|wasm| loaded(&wasm)));

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn loaded(wasm: &[u8]) -> Module {
    let module = SANDBOX.load(BlobDigest::of(wasm), &SANDBOX.compile(wasm).unwrap()).unwrap();
    module.check(Role::Program).unwrap();
    module
}

fn example(name: &str) -> Option<Vec<u8>> {
    built(&repository().join("examples").join(name))
}

/// What was made of the same sources before is taken again: an engine is initialised each time, which takes a while.
fn javascript() -> Option<Vec<u8>> {
    let example = repository().join("examples/javascript-controller");
    let folder = skip_or_fail(install_npm("componentize-js", &[COMPONENTIZE]))?;
    let sources = ["build.js", "controller.js", "package.json"].map(|name| fs::read(example.join(name)).unwrap());
    let digest = BlobDigest::of(&[&sources.concat(), WIT.as_bytes()].concat()).to_string();
    let folder = folder.join(&digest[..16]);
    let made = folder.join("controller.wasm");
    if !made.exists() {
        fs::create_dir_all(folder.join("wit")).unwrap();
        for (name, content) in ["build.js", "controller.js", "package.json"].iter().zip(&sources) {
            fs::write(folder.join(name), content).unwrap();
        }
        fs::write(folder.join("wit/controller.wit"), WIT).unwrap();
        let output = Command::new("node").arg("build.js").current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Some(fs::read(made).unwrap())
}

fn run(module: &Module, export: Export, args: Value, limits: Option<Limits>, host: &mut Memory) -> Run {
    SANDBOX.call(module, Call { export, args, program: PROGRAM, root: ROOT, recorder: None, limits }, host)
}

/// The same as the controller that `controller-sdk` made, in all that the two are to agree on.
fn does_as_hello_does(module: &Module) {
    let hello = loaded(&fs::read(repository().join("guests/hello/artifacts/controller.wasm")).unwrap());
    for name in ["World", "", "ä😀\n\""] {
        let both = [&hello, module]
            .map(|module| run(module, Export::GetWitnesses, json!({"name": name}), None, &mut Memory::default()));
        let [one, other] = both.map(|run| (run.result, run.log));
        assert_eq!(one, other);
        assert_eq!(one.0, Ok(Some(json!([{"Data": name.as_bytes()}]))));
    }
    for args in [json!({"nam": "World"}), json!({"name": 1}), json!({"name": "World", "more": 1})] {
        let run = run(module, Export::GetWitnesses, args.clone(), None, &mut Memory::default());
        assert!(
            matches!(&run.result, Err(RunError::Guest { message }) if message.contains("name") || message.contains("string")),
            "{args}: {:?}",
            run.result
        );
    }
    let mut host = Memory::default();
    for (proof, delivered) in [("b25l", 1), ("dHdv", 2)] {
        let args = json!({"success": true, "log": [], "payload": null, "proof": proof});
        let run = run(module, Export::Entrypoint, args, None, &mut host);
        assert_eq!(run.result, Ok(Some(json!({"delivered": delivered}))));
        assert_eq!(host.files["proofs/last.b64"], proof.as_bytes());
    }
    assert_eq!(host.files["count.txt"], b"2");
}

fn is_stopped_by_every_limit(module: &Module) {
    let within = |limits: Limits| {
        let args = json!({"name": "World"});
        run(module, Export::GetWitnesses, args, Some(limits), &mut Memory::default()).result
    };
    let base = Limits::default();
    let fuel = Limits { fuel: 500, ..base.clone() };
    assert_eq!(within(fuel), Err(RunError::OutOfFuel { limit: 500 }));
    let calls = Limits { host_calls: 0, ..base.clone() };
    assert_eq!(within(calls), Err(RunError::HostCalls { limit: 0 }));
    let log = Limits { log_bytes: 14, ..base.clone() };
    assert_eq!(within(log), Err(RunError::Log { limit: 14 }));
    let output = Limits { output_bytes: 10, ..base.clone() };
    assert!(matches!(within(output), Err(RunError::Output { limit: 10, .. })));
    let memory = Limits { memory_bytes: 64 << 10, ..base };
    assert!(matches!(within(memory), Err(RunError::Memory { .. })));
}

#[test]
fn a_component_in_rust_does_as_the_module_does() {
    let Some(wasm) = example("rust-component") else { return };
    let module = loaded(&wasm);
    does_as_hello_does(&module);
    is_stopped_by_every_limit(&module);
}

#[test]
fn a_component_in_javascript_does_as_the_module_does() {
    JAVASCRIPT.iter().for_each(does_as_hello_does);
}

#[test]
fn a_component_in_javascript_is_stopped_by_every_limit() {
    JAVASCRIPT.iter().for_each(is_stopped_by_every_limit);
}

/// Another compiler gives other bits, which have to do the same.
#[test]
fn the_committed_controller_of_threshold_is_that_of_its_sources() {
    let committed = fs::read(repository().join("examples/threshold/artifacts/controller.wasm")).unwrap();
    let Some(rebuilt) = example("threshold") else { return };
    let both = [loaded(&committed), loaded(&rebuilt)];
    for args in [
        json!({"amount": 2500, "salt": "0x5a17", "at_least": 1000}),
        json!({"amount": 1, "salt": "1", "at_least": 2}),
        json!({"amount": 1}),
    ] {
        let [one, other] = both.each_ref().map(|module| {
            let run = run(module, Export::GetWitnesses, args.clone(), None, &mut Memory::default());
            (run.result, run.log)
        });
        assert_eq!(one, other, "{args}");
    }
}

#[test]
fn the_examples_have_the_worlds_that_the_sandbox_has() {
    for example in ["javascript-controller/wit", "rust-component/controller/wit"] {
        let wit = repository().join("examples").join(example).join("controller.wit");
        let there = fs::read_to_string(&wit).unwrap();
        assert!(there == WIT, "{} is another: cargo coprocessor wit -o {0}", wit.display());
    }
}
