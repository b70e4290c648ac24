//! One controller in both interfaces, compiled from the same lines: what it may do, what it is refused and where it is stopped
//! must be the same, and so must its account, as far as it does not depend on how values cross the border.

use crate::harness::{PROGRAM, ROOT, built};
use coprocessor_sandbox::{
    BlockProof, Call, Export, Host, HostError, HttpAnswer, HttpRequest, LatestBlock, Limits, Module, ModuleError,
    NetworkAllowance, NetworkReply, Recorder, Remote, Role, RootUpdate, RpcRequest, Run, RunError, Sandbox,
    SandboxConfig, StateProofReply, Usage, replay,
};
use coprocessor_types::{BlobDigest, BlockNumber, BlockOpening, DomainId, Root, StateProof, TrustId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

/// The probe as a core module, and as a component.
struct Both {
    core: (Vec<u8>, Module),
    component: (Vec<u8>, Module),
}

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::new(SandboxConfig { threads: 8, ..SandboxConfig::default() }).unwrap());

/// `None` where nothing here builds controllers.
static BOTH: LazyLock<Option<Both>> = LazyLock::new(|| Some(Both { core: probe(false)?, component: probe(true)? }));

fn both() -> &'static Both {
    BOTH.as_ref().expect("each test has looked whether it is there")
}

/// Everything a host can give, at once.
#[derive(Default)]
struct Everything {
    files: BTreeMap<String, Vec<u8>>,
    raw: Option<Vec<u8>>,
    failing: Option<HostError>,
    asked: Vec<String>,
}

impl Everything {
    fn ask(&mut self, what: impl Into<String>) -> Result<(), HostError> {
        self.asked.push(what.into());
        self.failing.clone().map_or(Ok(()), Err)
    }

    fn network<T: Send + 'static>(&mut self, what: String, answer: T) -> Remote<NetworkReply<T>> {
        let answer = self.ask(what).map(|()| answer);
        Box::pin(ready(NetworkReply { answer, sent_bytes: 10, received_bytes: 20 }))
    }
}

fn block() -> LatestBlock {
    LatestBlock { domain: DomainId([3; 32]), number: 7, state_root: [4; 32], payload: vec![5, 6] }
}

impl Host for Everything {
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.ask(format!("read {path}"))?;
        Ok(self.files.get(path).cloned())
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError> {
        self.ask(format!("write {path} {}", content.len()))?;
        self.files.insert(path.into(), content.into());
        Ok(())
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        self.ask("raw")?;
        Ok(self.raw.clone())
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        self.ask(format!("set raw {}", content.len()))?;
        self.raw = Some(content.into());
        Ok(())
    }

    fn volume_image(&mut self) -> Result<Vec<u8>, HostError> {
        self.ask("image").map(|()| vec![9; 3])
    }

    fn set_volume_image(&mut self, image: &[u8]) -> Result<(), HostError> {
        self.ask(format!("set image {}", image.len()))
    }

    fn http(&mut self, request: HttpRequest, _: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        let answer = HttpAnswer { status: 201, headers: vec![("a".into(), "b".into())], body: b"answer".to_vec() };
        self.network(format!("{request:?}"), answer)
    }

    fn rpc(&mut self, request: RpcRequest, _: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        self.network(format!("{request:?}"), json!({"result": [1, "2", null]}))
    }

    fn state_proof(&mut self, domain: String, args: Value, limits: Limits) -> Remote<StateProofReply> {
        assert!(limits.fuel < 20_000_000_000 && limits.fuel > 0, "{limits:?}");
        let proof = StateProof {
            domain: DomainId([3; 32]),
            number: 7,
            state_root: [4; 32],
            payload: vec![5],
            proof: args.to_string().into_bytes(),
        };
        let answer = self.ask(format!("prove {domain} {args}")).map(|()| proof);
        let usage = Usage { fuel: 1_000_000, host_calls: 3, network_calls: 2, ..Usage::default() };
        Box::pin(ready(StateProofReply { answer, usage }))
    }

    fn latest_block(&mut self, domain: String) -> Remote<Result<Option<LatestBlock>, HostError>> {
        let asked = self.ask(format!("latest {domain}"));
        Box::pin(ready(asked.map(|()| (domain != "empty").then(block))))
    }

    fn block_proof(&mut self, domain: String, number: BlockNumber) -> Remote<Result<BlockProof, HostError>> {
        let opening = BlockOpening {
            trust: TrustId([8; 32]),
            domain_siblings: vec![Root([1; 32]), Root([2; 32])],
            root_siblings: vec![Root([3; 32])],
        };
        let proof = BlockProof { block_key: [6; 32], domain_key: [7; 32], opening };
        Box::pin(ready(self.ask(format!("open {domain} {number}")).map(|()| proof)))
    }

    fn root_update(&mut self, root: Root) -> Remote<Result<Option<RootUpdate>, HostError>> {
        let update = RootUpdate { id: [1; 16], root, previous: Root([9; 32]), block: block(), trust: TrustId([8; 32]) };
        Box::pin(ready(self.ask("update").map(|()| (root.0[0] != 0).then_some(update))))
    }
}

/// Copies the probe to where nothing else is, turns the feature on or off, and builds it as `cargo coprocessor build` does.
fn probe(component: bool) -> Option<(Vec<u8>, Module)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("probe");
    let probe = here.join("tests/probe");
    for file in ["Cargo.toml", "Cargo.lock", "controller/Cargo.toml", "controller/src/lib.rs"] {
        copy(&probe.join(file), &folder.join(file));
    }
    for file in ["controller/src/component.rs", "controller/src/core_module.rs"] {
        copy(&probe.join(file), &folder.join(file));
    }
    copy(&here.join("wit/controller.wit"), &folder.join("controller/wit/controller.wit"));
    if component {
        let manifest = folder.join("controller/Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace("[features]\n", "[features]\ndefault = [\"component\"]\n")).unwrap();
    }
    let wasm = built(&folder)?;
    let module = SANDBOX.load(BlobDigest::of(&wasm), &SANDBOX.compile(&wasm).unwrap()).unwrap();
    Some((wasm, module))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

fn call(export: Export, args: Value) -> Call {
    Call { export, args, program: PROGRAM, root: ROOT, recorder: None, limits: None }
}

/// Runs both, which must ask their hosts for the same; gives what the core module came to, and the component.
fn both_with(make: impl Fn() -> Call, host: impl Fn() -> Everything) -> [Run; 2] {
    let (mut one, mut other) = (host(), host());
    let runs = [SANDBOX.call(&both().core.1, make(), &mut one), SANDBOX.call(&both().component.1, make(), &mut other)];
    assert_eq!(one.asked, other.asked);
    assert_eq!((one.files, one.raw), (other.files, other.raw));
    runs
}

/// The same result from both.
fn same(export: Export, args: Value) -> Result<Option<Value>, RunError> {
    let [core, component] = both_with(|| call(export, args.clone()), Everything::default);
    assert_eq!(core.result, component.result, "{args}");
    component.result
}

fn told(args: Value) -> Value {
    same(Export::Entrypoint, args).unwrap().unwrap()
}

/// The same failure of both within `limits`.
fn stopped(limits: Limits, args: Value) -> RunError {
    let make = || Call { limits: Some(limits.clone()), ..call(Export::Entrypoint, args.clone()) };
    let [core, component] = both_with(make, Everything::default);
    assert_eq!(core.result, component.result, "{args}");
    component.result.unwrap_err()
}

#[test]
fn either_is_fit_for_both_roles_and_is_what_it_says() {
    if BOTH.is_none() {
        return;
    }
    for (wasm, module) in [&both().core, &both().component] {
        assert_eq!((module.check(Role::Program), module.check(Role::Domain)), (Ok(()), Ok(())));
        assert!(wasm.starts_with(b"\0asm"));
    }
    assert_eq!((both().core.0[4], both().component.0[4]), (1, 13));
}

#[test]
fn witnesses_blocks_and_state_proofs_are_the_same_json() {
    if BOTH.is_none() {
        return;
    }
    assert_eq!(same(Export::GetWitnesses, json!({"data": [0, 255]})).unwrap(), Some(json!([{"Data": [0, 255]}])));
    let witnesses = same(Export::GetWitnesses, json!({"data": [], "domain": "d", "of": {"x": 1}})).unwrap().unwrap();
    let proof = json!({
        "domain": vec![3; 32], "number": 7, "state_root": vec![4; 32], "payload": [5], "proof": b"{\"x\":1}",
    });
    assert_eq!(witnesses, json!([{"Data": []}, {"StateProof": proof}]));
    let block = same(Export::ValidateBlock, json!({"number": 5, "payload": [1]})).unwrap();
    assert_eq!(block, Some(json!({"number": 5, "root": vec![7; 32], "payload": [1]})));
    let proof = same(Export::GetStateProof, json!({"number": 6, "proof": [2]})).unwrap().unwrap();
    assert_eq!((&proof["number"], &proof["proof"]), (&json!(6), &json!([2])));
}

#[test]
fn every_capability_is_granted() {
    if BOTH.is_none() {
        return;
    }
    assert_eq!(told(json!({"do": "echo", "value": {"ä": [1.5, null]}})), json!({"ä": [1.5, null]}));
    let context = told(json!({"do": "context"}));
    assert_eq!(context, json!({"program": PROGRAM.0, "root": ROOT.0}));
    let storage = told(json!({"steps": [
        {"do": "read", "path": "a/b.txt"},
        {"do": "write", "path": "a/b.txt", "bytes": [1, 2]},
        {"do": "read", "path": "a/b.txt"},
        {"do": "read_raw"},
        {"do": "write_raw", "bytes": [3]},
        {"do": "read_raw"},
        {"do": "read_image"},
        {"do": "write_image", "length": 512},
    ]}));
    let written = json!({"ok": "written"});
    let expected = json!([
        {"ok": null}, written, {"ok": [1, 2]}, {"ok": []}, written, {"ok": [3]}, {"ok": [9, 9, 9]}, written,
    ]);
    assert_eq!(storage, expected);
    let network = told(json!({"steps": [
        {"do": "http", "method": "POST", "url": "https://a.example/b", "body": [1]},
        {"do": "http", "method": "GET", "url": "https://a.example"},
        {"do": "rpc", "chain": "c", "method": "m", "params": [1]},
    ]}));
    let answer = json!({"ok": {"status": 201, "body": b"answer"}});
    assert_eq!(network, json!([answer, answer, {"ok": {"result": [1, "2", null]}}]));
    let chain = told(json!({"steps": [
        {"do": "latest_block", "domain": "d"},
        {"do": "latest_block", "domain": "empty"},
        {"do": "block_opening", "domain": "d", "number": 7},
        {"do": "root_update", "root": vec![1; 32]},
        {"do": "root_update", "root": vec![0; 32]},
        {"do": "prove_state", "domain": "d", "of": [1]},
    ]}));
    let expected = json!([
        {"ok": [vec![3; 32], 7, vec![4; 32], [5, 6]]},
        {"ok": null},
        {"ok": [vec![8; 32], [vec![1; 32], vec![2; 32]], [vec![3; 32]]]},
        {"ok": [vec![1; 16], vec![1; 32], vec![9; 32], 7, vec![8; 32]]},
        {"ok": null},
        {"ok": [vec![3; 32], 7, vec![4; 32], [5], b"[1]"]},
    ]);
    assert_eq!(chain, expected);
}

#[test]
fn every_capability_is_refused_with_a_reason_that_the_controller_and_its_author_read() {
    if BOTH.is_none() {
        return;
    }
    let steps = json!({"steps": [
        {"do": "read", "path": "a"},
        {"do": "write", "path": "a"},
        {"do": "read_raw"},
        {"do": "write_raw"},
        {"do": "http", "method": "GET", "url": "u"},
        {"do": "rpc", "chain": "c", "method": "m"},
        {"do": "latest_block", "domain": "d"},
        {"do": "block_opening", "domain": "d"},
        {"do": "root_update", "root": vec![1; 32]},
        {"do": "prove_state", "domain": "d"},
    ]});
    for failing in [
        HostError::Refused { reason: "not today".into() },
        HostError::Unanswered { reason: "nobody there".into() },
        HostError::TooLarge { len: 20_000_000 },
    ] {
        let host = || Everything { failing: Some(failing.clone()), ..Everything::default() };
        let [core, component] = both_with(|| call(Export::Entrypoint, steps.clone()), host);
        let reason = failing.to_string();
        assert_eq!(component.result, Ok(Some(json!(vec![json!({"failed": reason}); 10]))));
        assert_eq!(core.result, component.result);
        assert_eq!((core.log.len(), component.log.len()), (10, 10));
        let verb = if matches!(failing, HostError::Unanswered { .. }) { "failed" } else { "refused" };
        assert_eq!(component.log[1], format!("storage.write-file {verb}: {reason}"));
    }
    let failed = HostError::Failed { reason: "the store is away".into() };
    for step in steps["steps"].as_array().unwrap() {
        let host = || Everything { failing: Some(failed.clone()), ..Everything::default() };
        for run in both_with(|| call(Export::Entrypoint, step.clone()), host) {
            let Err(RunError::Host { reason, .. }) = run.result else { panic!("{step}: {:?}", run.result) };
            assert_eq!(reason, "the store is away");
        }
    }
}

#[test]
fn names_and_paths_that_are_too_long_never_reach_the_host() {
    if BOTH.is_none() {
        return;
    }
    let long = "x".repeat(5000);
    let steps = json!({"steps": [
        {"do": "read", "path": long}, {"do": "write", "path": long}, {"do": "latest_block", "domain": long},
        {"do": "block_opening", "domain": long}, {"do": "prove_state", "domain": long},
        {"do": "rpc", "chain": long, "method": "m"}, {"do": "rpc", "chain": "c", "method": long},
        {"do": "write_raw", "length": (16 << 20) + 1}, {"do": "write_image", "length": (16 << 20) + 1},
    ]});
    let host = Everything::default;
    for run in both_with(|| call(Export::Entrypoint, steps.clone()), host) {
        let answers = run.result.unwrap().unwrap();
        assert!(answers.as_array().unwrap().iter().all(|answer| answer["failed"].is_string()), "{answers}");
        assert_eq!(run.log.len(), 9);
    }
    for (_, module) in [&both().core, &both().component] {
        let mut host = Everything::default();
        assert!(SANDBOX.call(module, call(Export::Entrypoint, steps.clone()), &mut host).result.is_ok());
        assert_eq!(host.asked, Vec::<String>::new());
    }
}

#[test]
fn either_fails_with_its_own_words() {
    if BOTH.is_none() {
        return;
    }
    let message = |error: RunError| match error {
        RunError::Guest { message } => message,
        other => panic!("{other:?}"),
    };
    let refused = same(Export::Entrypoint, json!({"do": "fail", "message": "no\nwith ä"})).unwrap_err();
    assert_eq!(message(refused), "no\nwith ä");
    assert_eq!(message(same(Export::GetWitnesses, json!({"fail": "no"})).unwrap_err()), "no");
    for run in both_with(|| call(Export::Entrypoint, json!({"do": "panic", "message": "oh"})), Everything::default) {
        let said = message(run.result.unwrap_err());
        assert!(said.contains("panicked at") && said.ends_with("oh"), "{said}");
    }
}

#[test]
fn every_limit_stops_both() {
    if BOTH.is_none() {
        return;
    }
    let of = |limits: Limits, args: Value| stopped(limits, args);
    let base = Limits::default();
    let fuel = Limits { fuel: 50_000_000, ..base.clone() };
    assert_eq!(of(fuel, json!({"do": "spin"})), RunError::OutOfFuel { limit: 50_000_000 });
    let clock = Duration::from_millis(300);
    let clock = Limits { wall_clock: clock, fuel: u64::MAX, ..base.clone() };
    assert!(matches!(of(clock, json!({"do": "spin"})), RunError::WallClock { .. }));
    assert_eq!(of(base.clone(), json!({"do": "recurse"})), RunError::Stack { limit: base.stack_bytes });
    let output = Limits { output_bytes: 1000, ..base.clone() };
    assert!(matches!(of(output.clone(), json!({"do": "long", "length": 999})), RunError::Output { got: 1001, .. }));
    let log = Limits { log_bytes: 100, ..base.clone() };
    assert_eq!(of(log.clone(), json!({"do": "log", "line": "x", "lines": 51})), RunError::Log { limit: 100 });
    assert_eq!(of(log, json!({"do": "log", "line": "x", "times": 100})), RunError::Log { limit: 100 });
    let calls = Limits { host_calls: 20, ..base.clone() };
    let error = of(calls, json!({"do": "log", "line": "x", "lines": 21}));
    assert_eq!(error, RunError::HostCalls { limit: 20 });
    let step = json!({"do": "http", "method": "GET", "url": "u"});
    let network = Limits { network_calls: 2, ..base.clone() };
    let error = of(network, json!({"steps": [step, step, step]}));
    assert_eq!(error, RunError::NetworkCalls { limit: 2 });
    let network = Limits { network_received_bytes: 39, ..base.clone() };
    let error = of(network, json!({"steps": [step, step]}));
    assert_eq!(error, RunError::NetworkBytes { direction: "received", limit: 39 });
    // What either says when it aborts is its allocator's matter.
    let memory = Limits { memory_bytes: 32 << 20, ..base };
    let make = || Call { limits: Some(memory.clone()), ..call(Export::Entrypoint, json!({"do": "grow"})) };
    for run in both_with(make, Everything::default) {
        assert!(matches!(run.result, Err(RunError::Memory { limit, .. }) if limit == 32 << 20), "{:?}", run.result);
        assert!((16 << 20..=32 << 20).contains(&run.usage.memory_bytes));
    }
}

#[test]
fn a_result_is_counted_as_json_whatever_crosses_the_border() {
    if BOTH.is_none() {
        return;
    }
    let data: Vec<u8> = (0..=255).collect();
    let make = || call(Export::GetWitnesses, json!({"data": data}));
    let [core, component] = both_with(make, Everything::default);
    assert_eq!(core.usage.output_bytes, component.usage.output_bytes);
    assert_eq!(core.result.unwrap().unwrap().to_string().len() as u64, component.usage.output_bytes);
    let limits = Limits { output_bytes: 900, ..Limits::default() };
    for run in both_with(|| Call { limits: Some(limits.clone()), ..make() }, Everything::default) {
        assert!(matches!(run.result, Err(RunError::Output { limit: 900, .. })), "{:?}", run.result);
    }
}

#[test]
fn what_another_controller_used_is_counted_for_both() {
    if BOTH.is_none() {
        return;
    }
    let make = || call(Export::Entrypoint, json!({"do": "prove_state", "domain": "d", "of": 1}));
    for run in both_with(make, Everything::default) {
        assert!(run.usage.fuel > 1_000_000, "{:?}", run.usage);
        assert_eq!(run.usage.network_calls, 2);
        assert!(run.usage.host_calls > 3);
    }
    let limits = Limits { fuel: 900_000, ..Limits::default() };
    for run in both_with(|| Call { limits: Some(limits.clone()), ..make() }, Everything::default) {
        assert_eq!(run.result, Err(RunError::OutOfFuel { limit: 900_000 }));
    }
}

#[test]
fn either_is_recorded_and_replayed_to_the_last_instruction() {
    if BOTH.is_none() {
        return;
    }
    let steps = json!({"steps": [
        {"do": "log", "line": "begin"},
        {"do": "write", "path": "f", "bytes": [1]},
        {"do": "read", "path": "f"},
        {"do": "http", "method": "GET", "url": "https://a.example"},
        {"do": "prove_state", "domain": "d", "of": [1]},
        {"do": "root_update", "root": vec![1; 32]},
    ]});
    for (wasm, module) in [&both().core, &both().component] {
        let recorder = Recorder::new(1 << 20);
        let call = Call { recorder: Some(recorder.clone()), ..call(Export::Entrypoint, steps.clone()) };
        let run = SANDBOX.call(module, call, &mut Everything::default());
        let recording = recorder.finish(&run).unwrap();
        let replayed = replay(&recording, wasm).unwrap();
        assert_eq!(replayed.difference, None);
        assert!(replayed.same_controller);
    }
}

#[test]
fn each_run_begins_with_nothing_of_the_one_before() {
    if BOTH.is_none() {
        return;
    }
    for (_, module) in [&both().core, &both().component] {
        let one =
            || SANDBOX.call(module, call(Export::Entrypoint, json!({"do": "context"})), &mut Everything::default());
        let (first, second) = (one(), one());
        assert_eq!((first.usage.fuel, first.usage.memory_bytes), (second.usage.fuel, second.usage.memory_bytes));
    }
}

#[test]
fn a_component_without_the_exports_of_a_role_is_refused_by_name() {
    let refused = |text: &str| SANDBOX.compile(&wat::parse_str(text).unwrap()).unwrap_err();
    assert_eq!(refused("(component)"), ModuleError::MissingComponentExport { name: "get-witnesses" });
    let wrong = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "get-witnesses") (canon lift (core func $i "f"))))"#;
    let error = refused(wrong);
    assert!(
        matches!(&error, ModuleError::ExportType { name: "get-witnesses", expected, .. } if expected.contains("list<witness>")),
        "{error:?}"
    );
}
