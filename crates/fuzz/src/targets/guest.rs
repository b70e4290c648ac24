//! Controllers of strangers: whatever the module is, it ends within its limits, and the same way each time.

use crate::{Input, Seed, Target, Writer};
use coprocessor_sandbox::{
    Call, Export, Host, HostError, HttpAnswer, HttpRequest, LatestBlock, Limits, NetworkAllowance, NetworkReply,
    Remote, RpcRequest, Run, RunError, Sandbox, SandboxConfig, StateProofReply, Usage,
};
use coprocessor_types::{BlobDigest, DomainId, ProgramId, Root, StateProof};
use serde_json::{Value, json};
use std::{future::ready, sync::LazyLock, time::Duration};

pub(crate) const TARGET: Target =
    Target { name: "guest", about: "sandbox: hostile controllers, from their bytes on", run, seeds };

const MEMORY: usize = 4 << 20;
const EXPORTS: [Export; 4] = [Export::GetWitnesses, Export::Entrypoint, Export::ValidateBlock, Export::GetStateProof];

pub(crate) static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let config =
        SandboxConfig { limits: limits(), threads: 1, waiting: 0, module_bytes: 1 << 20, cache_bytes: 1 << 20 };
    Sandbox::new(config).expect("a small sandbox")
});

/// Tight, but for the clock: what a run comes to must not depend on how busy the machine is.
fn limits() -> Limits {
    Limits {
        fuel: 300_000,
        wall_clock: Duration::from_secs(60),
        memory_bytes: MEMORY,
        table_elements: 1000,
        stack_bytes: 128 << 10,
        output_bytes: 4096,
        log_bytes: 4096,
        host_calls: 100,
        network_calls: 8,
        network_call: Duration::from_secs(1),
        network_sent_bytes: 4096,
        network_received_bytes: 4096,
    }
}

fn run(data: &[u8]) {
    let (choices, wasm) = data.split_at(data.len().min(4));
    run_guest(&mut Input::new(choices), wasm);
}

/// Compiles and runs a module; `choices` say which export, and what the host answers.
///
/// # Panics
/// Where it exceeds a limit, or comes to something else when it is run again.
pub fn run_guest(choices: &mut Input<'_>, wasm: &[u8]) {
    let sandbox = &*SANDBOX;
    let Ok(artifact) = sandbox.compile(wasm) else { return };
    let module = sandbox.load(BlobDigest::of(wasm), &artifact).expect("what was just compiled is loaded");
    let export = *choices.one(&EXPORTS);
    let host = Stranger { answers: choices.array(), raw: None };
    let call = || Call {
        export,
        args: json!({"cmd": "store", "path": "/a"}),
        program: ProgramId([1; 32]),
        root: Root([2; 32]),
        recorder: None,
        limits: None,
    };
    let first = sandbox.call(&module, call(), &mut host.clone());
    check(&limits(), &first);
    let again = sandbox.call(&module, call(), &mut host.clone());
    assert_eq!(told(&again), told(&first), "the same run came to something else");
}

pub(super) fn check(limits: &Limits, run: &Run) {
    let usage = &run.usage;
    assert!(usage.fuel <= limits.fuel, "{usage:?}");
    assert!(usage.memory_bytes <= limits.memory_bytes as u64, "{usage:?}");
    assert!(usage.output_bytes <= limits.output_bytes as u64, "{usage:?}");
    let logged: usize = run.log.iter().map(|line| line.len() + 1).sum();
    assert!(usage.log_bytes <= limits.log_bytes as u64 && logged as u64 == usage.log_bytes, "{usage:?}");
    // The one that hit the limit is counted.
    assert!(usage.host_calls <= limits.host_calls + 1, "{usage:?}");
    assert!(!matches!(run.result, Err(RunError::Busy | RunError::WallClock { .. })), "{:?}", run.result);
}

/// All of a run that must not differ from one time to the next.
pub(super) fn told(run: &Run) -> (String, &[String], Usage) {
    let usage = Usage { wall_clock_micros: 0, network_micros: 0, ..run.usage.clone() };
    (format!("{:?}", run.result), &run.log, usage)
}

/// A host that answers as it was told to: well, too much, or not at all.
#[derive(Clone)]
pub(super) struct Stranger {
    pub(super) answers: [u8; 3],
    /// Its raw storage, where the answers do not say.
    pub(super) raw: Option<Vec<u8>>,
}

impl Stranger {
    fn content(&self, which: u8) -> Result<Option<Vec<u8>>, HostError> {
        let reason = || "because".to_owned();
        match which % 8 {
            0 => Ok(None),
            1 => Ok(Some(Vec::new())),
            2 => Ok(Some(vec![0xa5; 1000])),
            3 => Ok(Some(vec![0x5a; 70_000])),
            4 => Ok(Some(vec![0; MEMORY])),
            5 => Err(HostError::Refused { reason: reason() }),
            6 => Err(HostError::TooLarge { len: u64::MAX }),
            _ => Err(HostError::Failed { reason: reason() }),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, HostError> {
        self.content(self.answers[2]).map(Option::unwrap_or_default)
    }

    fn reply<T>(&self, answer: impl FnOnce(Vec<u8>) -> T) -> NetworkReply<T> {
        let received_bytes = self.bytes().map_or(0, |bytes| bytes.len() as u64);
        NetworkReply { answer: self.bytes().map(answer), sent_bytes: 10, received_bytes }
    }
}

impl Host for Stranger {
    fn read_file(&mut self, _: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.content(self.answers[0])
    }

    fn write_file(&mut self, _: &str, content: &[u8]) -> Result<(), HostError> {
        assert!(content.len() <= MEMORY);
        self.content(self.answers[0]).map(drop)
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        if self.raw.is_some() {
            return Ok(self.raw.clone());
        }
        self.content(self.answers[1])
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        assert!(content.len() <= MEMORY);
        self.content(self.answers[1]).map(drop)
    }

    fn http(&mut self, _: HttpRequest, _: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        let headers = vec![("a".to_owned(), "b".to_owned())];
        Box::pin(ready(self.reply(|body| HttpAnswer { status: 200, headers, body })))
    }

    fn rpc(&mut self, _: RpcRequest, _: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        Box::pin(ready(self.reply(|body| json!(body.len()))))
    }

    fn state_proof(&mut self, _: String, _: Value, limits: Limits) -> Remote<StateProofReply> {
        let proof = |proof| StateProof {
            domain: DomainId([7; 32]),
            number: 300,
            state_root: [200; 32],
            payload: Vec::new(),
            proof,
        };
        let usage = Usage { fuel: limits.fuel.min(1000), host_calls: limits.host_calls.min(2), ..Usage::default() };
        Box::pin(ready(StateProofReply { answer: self.bytes().map(proof), usage }))
    }

    fn latest_block(&mut self, _: String) -> Remote<Result<Option<LatestBlock>, HostError>> {
        let block = |payload| LatestBlock { domain: DomainId([7; 32]), number: 1, state_root: [1; 32], payload };
        Box::pin(ready(self.content(self.answers[2]).map(|content| content.map(block))))
    }
}

/// Every host call, as a controller written in text imports it.
pub const IMPORTS: &str = r#"
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
    (import "valence" "http" (func $http (param i32 i32 i32) (result i32)))
    (import "valence" "alchemy" (func $rpc (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "valence" "get_latest_block" (func $latest (param i32 i32 i32) (result i32)))
    (import "valence" "get_block_proof" (func $block_proof (param i32 i32 i32 i32) (result i32)))
    (import "valence" "get_historical_update" (func $update (param i32 i32) (result i32)))
    (import "valence" "get_state_proof" (func $proof (param i32 i32 i32 i32 i32) (result i32)))"#;

/// What a hostile controller's entrypoint does, by name; the function at the end of each is the start function where there
/// is one.
const HOSTILE: &[(&str, &str, &str)] = &[
    ("wrong-pointers", "(drop (call $args (i32.const -1))) (drop (call $ret (i32.const 65535) (i32.const 2)))", ""),
    ("huge-lengths", "(drop (call $log (i32.const 0) (i32.const -1))) (call $panic (i32.const 1) (i32.const -1))", ""),
    ("a-file-over-itself", "(drop (call $get_file (i32.const 0) (i32.const 2) (i32.const 0)))", ""),
    ("a-file-at-the-end", "(drop (call $get_file (i32.const 0) (i32.const 2) (i32.const 65535)))", ""),
    (
        "all-of-memory-as-a-path",
        "(drop (call $set_file (i32.const 0) (i32.const 65536) (i32.const 0) (i32.const 65536)))",
        "",
    ),
    ("raw-storage", "(drop (call $set_raw (i32.const 0) (i32.const 65536))) (drop (call $get_raw (i32.const 7)))", ""),
    ("endless-loop", "(loop $again (br $again))", ""),
    ("endless-start", "", "(loop $again (br $again))"),
    ("host-calls-in-start", "", "(drop (call $log (i32.const 0) (i32.const 2))) (drop (call $args (i32.const 9)))"),
    ("trap-in-start", "", "unreachable"),
    ("growth-bomb", "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable", ""),
    ("growth-at-once", "(drop (memory.grow (i32.const 65535))) (i32.store8 (i32.const 65536) (i32.const 1))", ""),
    (
        "table-bomb",
        "(drop (table.grow $table (ref.null func) (i32.const 100000))) (call_indirect $table (type $none) (i32.const 9))",
        "",
    ),
    ("stack-bomb", "(call $entrypoint)", ""),
    ("log-flood", "(loop $again (drop (call $log (i32.const 0) (i32.const 500))) (br $again))", ""),
    ("empty-lines", "(loop $again (drop (call $log (i32.const 0) (i32.const 0))) (br $again))", ""),
    ("results", "(loop $again (drop (call $ret (i32.const 16) (i32.const 4))) (br $again))", ""),
    ("a-result-too-long", "(drop (call $ret (i32.const 0) (i32.const 5000)))", ""),
    ("http", "(drop (call $http (i32.const 32) (i32.const 11) (i32.const 100)))", ""),
    (
        "rpc",
        "(drop (call $rpc (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 2) (i32.const 16) (i32.const 4) (i32.const 0)))",
        "",
    ),
    ("latest-block", "(drop (call $latest (i32.const 0) (i32.const 2) (i32.const 65500)))", ""),
    (
        "state-proofs",
        "(loop $again (drop (call $proof (i32.const 0) (i32.const 2) (i32.const 16) (i32.const 4) (i32.const 0))) (br $again))",
        "",
    ),
    (
        "not-a-number",
        "(f64.store (i32.const 16) (f64.div (f64.const 0) (f64.const 0))) (drop (call $log (i32.const 16) (i32.const 8)))",
        "",
    ),
];

fn hostile(entrypoint: &str, start: &str) -> Vec<u8> {
    let start = match start {
        "" => String::new(),
        body => format!("(func $start {body}) (start $start)"),
    };
    let text = format!(
        r#"(module {IMPORTS}
            (type $none (func))
            (memory (export "memory") 1)
            (table $table 10 funcref)
            (data (i32.const 0) "/a") (data (i32.const 16) "1234") (data (i32.const 32) "{{\"url\":\"x\"}}")
            {start}
            (func (export "get_witnesses"))
            (func $entrypoint (export "entrypoint") {entrypoint}))"#
    );
    wat::parse_str(text).expect("a seed's text is WebAssembly")
}

fn seeds() -> Vec<Seed> {
    let seed = |answers: [u8; 3], wasm: &[u8], name: &str| Writer::new().byte(1).bytes(&answers).bytes(wasm).seed(name);
    let mut seeds: Vec<Seed> =
        HOSTILE.iter().map(|(name, entrypoint, start)| seed([2; 3], &hostile(entrypoint, start), name)).collect();
    for answers in [3, 4, 5, 6, 7] {
        let (name, entrypoint, _) = HOSTILE[2];
        seeds.push(seed([answers; 3], &hostile(entrypoint, ""), &format!("{name}-{answers}")));
    }
    let broken = |text: &str| wat::parse_str(text).expect("a seed's text is WebAssembly");
    seeds.extend([
        seed([0; 3], b"\0asm\x0d\0\x01\0", "a-component"),
        seed([0; 3], &broken(r#"(module (import "env" "memory" (memory 1)))"#), "an-imported-memory"),
        seed(
            [0; 3],
            &broken(r#"(module (memory (export "memory") 1) (func (export "entrypoint") (param i32)))"#),
            "parameters",
        ),
        seed(
            [0; 3],
            &broken(
                r#"(module (import "env" "other" (func $f)) (memory (export "memory") 0)
                (func (export "get_witnesses")) (func (export "entrypoint") (call $f)))"#,
            ),
            "an-unknown-import",
        ),
    ]);
    seeds
}
