//! Network calls: granted, refused, waited for without a thread, and bounded.

use crate::harness::*;
use coprocessor_sandbox::{
    Authorization, BlockProof, Call, Host, HostError, HttpAnswer, HttpRequest, LatestBlock, Limits, NetworkAllowance,
    NetworkReply, Progress, Remote, RootUpdate, RpcRequest, RunError, Sandbox, SandboxConfig, StateProofReply, Usage,
    Waiting,
};
use coprocessor_types::{BlockNumber, BlockOpening, DomainId, Root, StateProof, TrustId};
use serde_json::{Value, json};
use std::future::{pending, ready};
use std::time::Duration;

/// A network that answers each call with what it was asked, or as told.
#[derive(Default)]
struct Network {
    files: Memory,
    asked: Vec<HttpRequest>,
    allowances: Vec<NetworkAllowance>,
    failing: Option<HostError>,
    /// Bytes that each call says it sent and received.
    traffic: (u64, u64),
    silent: bool,
}

impl Network {
    fn reply<T: Send + 'static>(&mut self, allowance: NetworkAllowance, answer: T) -> Remote<NetworkReply<T>> {
        self.allowances.push(allowance);
        if self.silent {
            return Box::pin(pending());
        }
        let answer = self.failing.clone().map_or(Ok(answer), Err);
        let (sent_bytes, received_bytes) = self.traffic;
        Box::pin(ready(NetworkReply { answer, sent_bytes, received_bytes }))
    }
}

impl Host for Network {
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.files.read_file(path)
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError> {
        self.files.write_file(path, content)
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        self.files.raw_storage()
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        self.files.set_raw_storage(content)
    }

    fn http(&mut self, request: HttpRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        let body = json!({"url": request.url}).to_string().into_bytes();
        self.asked.push(request);
        self.reply(allowance, HttpAnswer { status: 201, headers: vec![("a".into(), "b".into())], body })
    }

    fn rpc(&mut self, request: RpcRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        let RpcRequest { chain, method, params } = request;
        self.reply(allowance, json!({"chain": chain, "method": method, "params": params}))
    }
}

/// Knows one domain, `eth`, whose proofs use what they are told to, and how the run's root came to be.
#[derive(Default)]
pub(crate) struct History {
    network: Network,
    usage: Usage,
    failing: Option<HostError>,
    limits: Option<Limits>,
}

impl History {
    /// The raw bytes that were set last.
    pub(crate) fn raw(&self) -> Option<Vec<u8>> {
        self.network.files.raw.clone()
    }
}

impl Host for History {
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.network.read_file(path)
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError> {
        self.network.write_file(path, content)
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        self.network.raw_storage()
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        self.network.set_raw_storage(content)
    }

    fn state_proof(&mut self, domain: String, args: Value, limits: Limits) -> Remote<StateProofReply> {
        assert_eq!((domain.as_str(), &args), ("eth", &json!([1])));
        self.limits = Some(limits);
        let proof = StateProof {
            domain: DomainId([1; 32]),
            number: 5,
            state_root: [2; 32],
            payload: vec![3],
            proof: vec![4, 4],
        };
        let answer = self.failing.clone().map_or(Ok(proof), Err);
        Box::pin(ready(StateProofReply { answer, usage: self.usage.clone() }))
    }

    fn latest_block(&mut self, _: String) -> Remote<Result<Option<LatestBlock>, HostError>> {
        Box::pin(ready(self.failing.clone().map_or(Ok(Some(block())), Err)))
    }

    fn block_proof(&mut self, domain: String, number: BlockNumber) -> Remote<Result<BlockProof, HostError>> {
        assert_eq!((domain.as_str(), number), ("eth", 0x0807_0605_0403_0201));
        let opening = BlockOpening { domain_siblings: vec![Root([1; 32]); 2], ..BlockOpening::default() };
        let proof = BlockProof { block_key: [1; 32], domain_key: [2; 32], opening };
        Box::pin(ready(self.failing.clone().map_or(Ok(proof), Err)))
    }

    fn root_update(&mut self, root: Root) -> Remote<Result<Option<RootUpdate>, HostError>> {
        let (id, previous, trust) = ([0; 16], Root([3; 32]), TrustId([0; 32]));
        let update = (root == ROOT).then(|| RootUpdate { id, root, previous, block: block(), trust });
        Box::pin(ready(self.failing.clone().map_or(Ok(update), Err)))
    }

    fn http(&mut self, request: HttpRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        self.network.http(request, allowance)
    }

    fn rpc(&mut self, request: RpcRequest, allowance: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        self.network.rpc(request, allowance)
    }
}

fn block() -> LatestBlock {
    LatestBlock { domain: DomainId([1; 32]), number: 5, state_root: [2; 32], payload: vec![3] }
}

/// `eth`, `[1]` and a number are at 0, 3 and 16. Tells what `call` came to, and then does `more`.
fn historian(call: &str, more: &str) -> String {
    let rest = r#"(import "valence" "get_state_proof" (func $state_proof (param i32 i32 i32 i32 i32) (result i32)))
        (import "valence" "get_latest_block" (func $latest (param i32 i32 i32) (result i32)))
        (import "valence" "get_block_proof" (func $block_proof (param i32 i32 i32 i32) (result i32)))
        (import "valence" "get_historical_update" (func $update (param i32 i32) (result i32)))
        (import "valence" "get_reason" (func $reason (param i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "eth[1]") (data (i32.const 16) "\01\02\03\04\05\06\07\08")"#;
    controller_with(&format!("(call $tell {call}) {more}"), rest)
}

const PROVE: &str = "(call $state_proof (i32.const 0) (i32.const 3) (i32.const 3) (i32.const 3) (i32.const 8192))";
const LATEST: &str = "(call $latest (i32.const 0) (i32.const 3) (i32.const 8192))";
const BLOCK_PROOF: &str = "(call $block_proof (i32.const 0) (i32.const 3) (i32.const 16) (i32.const 8192))";
/// Of the run's own root.
const UPDATE: &str =
    "(call $update (i32.const 4096) (i32.add (i32.const 8160) (call $get_historical (i32.const 4096))))";

fn run_history(text: &str, host: &mut dyn Host) -> coprocessor_sandbox::Run {
    sandbox().call(&load_in(sandbox(), text), call(Value::Null), host)
}

#[test]
fn a_domain_is_asked_for_its_state_and_its_latest_block() {
    let mut host = History::default();
    // 64 bytes of hashes, a number, and the byte strings with their headers.
    assert_eq!(run_history(&historian(PROVE, ""), &mut host).result, Ok(Some(json!(65 + 3 + 4))));
    assert_eq!(run_history(&historian(LATEST, ""), &mut host).result, Ok(Some(json!(65 + 3))));
    // Two trees with their keys, the first with two siblings; and the trust.
    assert_eq!(run_history(&historian(BLOCK_PROOF, ""), &mut host).result, Ok(Some(json!(1 + 3 * 32 + 1 + 33 + 32))));
    assert_eq!(run_history(&historian(UPDATE, ""), &mut host).result, Ok(Some(json!(16 + 32 + 32 + 65 + 3 + 32))));
    // Another root: nil.
    let unknown = "(call $update (i32.const 4096) (i32.const 8192))";
    assert_eq!(run_history(&historian(unknown, ""), &mut host).result, Ok(Some(json!(1))));
}

#[test]
fn what_a_domain_does_not_show_is_a_code_and_its_reason_can_be_read() {
    let log = "(drop (call $log (i32.const 8192) (call $reason (i32.const 8192))))";
    for (body, call, code) in [
        (PROVE, "get_state_proof", -12),
        (LATEST, "get_latest_block", -14),
        (BLOCK_PROOF, "get_block_proof", -20),
        (UPDATE, "get_historical_update", -21),
    ] {
        let failing = Some(HostError::Refused { reason: "not today".into() });
        let run = run_history(&historian(body, log), &mut History { failing, ..History::default() });
        assert_eq!(run.result, Ok(Some(json!(code))));
        // `$tell` calls `ret`, which succeeds: then there is no reason any more.
        assert_eq!(run.log, [format!("{call} refused: not today"), String::new()]);
        let failing = Some(HostError::Refused { reason: "not today".into() });
        let read = format!("(drop {body}) {log}");
        let run = run_history(&historian("(i32.const 0)", &read), &mut History { failing, ..History::default() });
        assert_eq!(run.log, [format!("{call} refused: not today"), "not today".to_owned()]);
        let failing = Some(HostError::Failed { reason: "disk gone".into() });
        let run = run_history(&historian(body, ""), &mut History { failing, ..History::default() });
        assert_eq!(run.result, Err(RunError::Host { call, reason: "disk gone".into() }));
    }
}

#[test]
fn numbers_and_roots_are_read_whole_or_not_at_all() {
    for (ptr, code) in [(65_529, -6), (65_536, -6), (65_537, -4), (-1, -4)] {
        let body = BLOCK_PROOF.replace("i32.const 16", &format!("i32.const {ptr}"));
        assert_eq!(run_history(&historian(&body, ""), &mut History::default()).result, Ok(Some(json!(code))));
    }
    for (ptr, code) in [(65_505, -6), (-1, -4)] {
        let body = format!("(call $update (i32.const {ptr}) (i32.const 8192))");
        assert_eq!(run_history(&historian(&body, ""), &mut History::default()).result, Ok(Some(json!(code))));
    }
    for body in [BLOCK_PROOF, "(call $update (i32.const 4096) (i32.const 8192))"] {
        let body = body.replace("i32.const 8192", "i32.const 65536");
        assert_eq!(run_history(&historian(&body, ""), &mut History::default()).result, Ok(Some(json!(-2))));
    }
}

#[test]
fn a_host_without_domains_refuses_and_says_so() {
    for (body, call, code) in
        [(PROVE, "get_state_proof", -12), (LATEST, "get_latest_block", -14), (BLOCK_PROOF, "get_block_proof", -20)]
    {
        let run = run_history(&historian(body, ""), &mut Memory::default());
        assert_eq!(run.result, Ok(Some(json!(code))));
        assert_eq!(run.log, [format!("{call} refused: there is no domain `eth` here")]);
    }
    // And knows no root.
    let run = run_history(&historian(UPDATE, ""), &mut Memory::default());
    assert_eq!(run.result, Ok(Some(json!(1))));
}

#[test]
fn what_a_domain_uses_is_the_askers() {
    let usage = Usage { fuel: 1_000_000, host_calls: 7, network_calls: 2, network_failures: 1, ..Usage::default() };
    let mut host = History { usage, ..History::default() };
    let run = run_history(&historian(PROVE, ""), &mut host);
    assert!(run.usage.fuel > 1_000_000 && run.usage.fuel < 1_010_000, "{:?}", run.usage);
    assert_eq!((run.usage.host_calls, run.usage.network_calls, run.usage.network_failures), (2 + 7, 2, 1));
    let limits = host.limits.take().unwrap();
    let own = Limits::default();
    assert!(limits.fuel < own.fuel && limits.wall_clock < own.wall_clock && limits.host_calls == own.host_calls - 1);

    host.usage.fuel = u64::MAX;
    let run = run_history(&historian(PROVE, "(loop $l (br $l))"), &mut host);
    assert_eq!(run.result, Err(RunError::OutOfFuel { limit: own.fuel }));
}

/// A controller whose memory begins with `data`.
fn networked(data: &str, entrypoint: &str) -> String {
    let imports = format!(
        r#"(import "valence" "http" (func $http (param i32 i32 i32) (result i32)))
        (import "valence" "alchemy" (func $rpc (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "{}")"#,
        data.replace('"', "\\\"")
    );
    controller_with(entrypoint, &imports)
}

/// Asks with its arguments and gives the answer, or the code where there is none.
const PASS_ON: &str = "(local $len i32)
    (local.set $len (call $http (i32.const 2048) (call $args (i32.const 2048)) (i32.const 8192)))
    (if (i32.lt_s (local.get $len) (i32.const 0))
        (then (call $tell (local.get $len)))
        (else (drop (call $ret (i32.const 8192) (local.get $len)))))";

/// `eth-mainnet`, `eth_call` and `[1]` are at 0, 11 and 19.
const RPC: &str = "(local $len i32)
    (local.set $len (call $rpc (i32.const 0) (i32.const 11) (i32.const 11) (i32.const 8) (i32.const 19) (i32.const 3)
        (i32.const 8192)))
    (if (i32.lt_s (local.get $len) (i32.const 0))
        (then (call $tell (local.get $len)))
        (else (drop (call $ret (i32.const 8192) (local.get $len)))))";

const RPC_DATA: &str = "eth-mainneteth_call[1]";

fn run_on(text: &str, args: Value, host: &mut Network) -> coprocessor_sandbox::Run {
    sandbox().call(&load_in(sandbox(), text), call(args), host)
}

fn run_limited(limits: Limits, text: &str, host: &mut Network) -> coprocessor_sandbox::Run {
    sandbox().call(&load_in(sandbox(), text), Call { limits: Some(limits), ..call(json!({"url": "x"})) }, host)
}

#[test]
fn a_request_goes_out_and_its_answer_comes_in() {
    let mut host = Network { traffic: (10, 20), ..Network::default() };
    let args = json!({"url": "https://a.b/", "headers": {"accept": "application/json"}, "bearer": "t"});
    let run = run_on(&networked("", PASS_ON), args, &mut host);
    let expected = json!({"status": 201, "headers": {"a": "b"}, "body": {"url": "https://a.b/"}});
    assert_eq!(run.result, Ok(Some(expected)), "{:?}", run.log);
    assert_eq!(host.asked[0].authorization, Some(Authorization::Bearer("t".into())));
    let usage = run.usage;
    assert_eq!((usage.network_calls, usage.network_failures, usage.host_calls), (1, 0, 3));
    assert_eq!((usage.network_sent_bytes, usage.network_received_bytes), (10, 20));
}

#[test]
fn an_rpc_call_goes_out_and_its_result_comes_in() {
    let run = run_on(&networked(RPC_DATA, RPC), json!(null), &mut Network::default());
    assert_eq!(run.result, Ok(Some(json!({"chain": "eth-mainnet", "method": "eth_call", "params": [1]}))));
}

#[test]
fn a_host_without_a_network_refuses_and_says_so() {
    let run = run_with(&networked("", PASS_ON), json!({"url": "https://a.b/"}), &mut Memory::default());
    assert_eq!(run.result, Ok(Some(json!(-13))));
    assert_eq!(run.log, ["http refused: there is no network here"]);
    let run = run_with(&networked(RPC_DATA, RPC), json!(null), &mut Memory::default());
    assert_eq!(run.result, Ok(Some(json!(-18))));
    assert_eq!(run.log, ["alchemy refused: there is no endpoint for the chain `eth-mainnet`"]);
}

#[test]
fn each_way_to_fail_has_its_code_and_its_reason_in_the_log() {
    let reason = || "because".to_owned();
    for (error, http, rpc, verb, failures) in [
        (HostError::Refused { reason: reason() }, -13, -18, "refused", 0),
        (HostError::Unanswered { reason: reason() }, -13, -19, "failed", 1),
        (HostError::TooLarge { len: 1 << 40 }, -6, -6, "refused", 0),
    ] {
        let mut host = Network { failing: Some(error.clone()), ..Network::default() };
        let run = run_on(&networked("", PASS_ON), json!({"url": "x"}), &mut host);
        assert_eq!(run.result, Ok(Some(json!(http))));
        assert_eq!(run.log, [format!("http {verb}: {error}")]);
        assert_eq!(run.usage.network_failures, failures);
        let run = run_on(&networked(RPC_DATA, RPC), json!(null), &mut host);
        assert_eq!(run.result, Ok(Some(json!(rpc))));
        assert_eq!(run.log, [format!("alchemy {verb}: {error}")]);
    }
    let mut host = Network { failing: Some(HostError::Failed { reason: reason() }), ..Network::default() };
    let run = run_on(&networked("", PASS_ON), json!({"url": "x"}), &mut host);
    assert_eq!(run.result, Err(RunError::Host { call: "http", reason: reason() }));
}

#[test]
fn arguments_that_are_none_never_reach_the_host() {
    let mut host = Network::default();
    let run = run_on(&networked("", PASS_ON), json!({"method": "get"}), &mut host);
    assert_eq!((run.result, run.log), (Ok(Some(json!(-13))), vec!["http refused: `url` is missing".into()]));
    let no_json = "(call $tell (call $http (i32.const 0) (i32.const 1) (i32.const 8)))";
    let outside = "(call $tell (call $http (i32.const 0) (i32.const 65537) (i32.const 8)))";
    for (body, code) in [(no_json, -11), (outside, -6)] {
        let run = run_on(&networked("{", body), json!(null), &mut host);
        assert_eq!(run.result, Ok(Some(json!(code))), "{body}");
    }
    let call = |chain: u32, params: u32| {
        format!(
            "(call $tell (call $rpc (i32.const 0) (i32.const {chain}) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const {params}) (i32.const 8)))"
        )
    };
    for (body, code) in [(call(257, 1), -18), (call(1, 2), -11), (call(2, 1), -8)] {
        let run = run_on(&networked("1\\ff", &body), json!(null), &mut host);
        assert_eq!(run.result, Ok(Some(json!(code))), "{body}");
    }
    assert!(host.asked.is_empty() && host.allowances.is_empty());
}

#[test]
fn an_answer_is_never_written_outside_what_there_is() {
    let body = "(call $tell (call $http (i32.const 0) (i32.const 11) (i32.const 65530)))";
    let run = run_on(&networked(r#"{"url":"x"}"#, body), json!(null), &mut Network::default());
    assert_eq!(run.result, Ok(Some(json!(-2))));
}

#[test]
fn network_calls_are_counted_and_bounded() {
    let limits = Limits { network_calls: 2, ..Limits::default() };
    let text = networked(
        r#"{"url":"x"}"#,
        "(loop $l (drop (call $http (i32.const 0) (i32.const 11) (i32.const 8192))) (br $l))",
    );
    let mut host = Network::default();
    let run = run_limited(limits, &text, &mut host);
    assert_eq!(run.result, Err(RunError::NetworkCalls { limit: 2 }));
    assert_eq!((host.asked.len(), run.usage.network_calls), (2, 3));

    let limits = || Limits { network_sent_bytes: 100, network_received_bytes: 30, ..Limits::default() };
    let mut host = Network { traffic: (10, 20), ..Network::default() };
    let run = run_limited(limits(), &text, &mut host);
    assert_eq!(run.result, Err(RunError::NetworkBytes { direction: "received", limit: 30 }));
    let left: Vec<_> = host.allowances.iter().map(|left| (left.sent_bytes, left.received_bytes)).collect();
    assert_eq!(left, [(100, 30), (90, 10)]);
    let mut host = Network { traffic: (60, 0), ..Network::default() };
    let run = run_limited(limits(), &text, &mut host);
    assert_eq!(run.result, Err(RunError::NetworkBytes { direction: "sent", limit: 100 }));
    assert_eq!(run.usage.network_sent_bytes, 120);
}

#[test]
fn a_call_without_an_answer_ends_with_the_runs_time() {
    let limit = Duration::from_millis(300);
    let mut host = Network { silent: true, ..Network::default() };
    let run = run_limited(Limits { wall_clock: limit, ..Limits::default() }, &networked("", PASS_ON), &mut host);
    assert_eq!(run.result, Err(RunError::WallClock { limit }));
    // What it waited is all but what it took to come to its call.
    assert!(run.usage.wall_clock_micros >= 300_000 && run.usage.network_micros > 0, "{:?}", run.usage);
}

fn waiting(sandbox: &Sandbox, text: &str, host: &mut Network) -> Waiting {
    match sandbox.begin(&load_in(sandbox, text), call(json!({"url": "x"}))).advance(host) {
        Progress::Waiting(waiting) => waiting,
        Progress::Ended(run) => panic!("{run:?}"),
    }
}

#[test]
fn waiting_holds_no_thread_and_goes_on_on_another() {
    let sandbox = Sandbox::new(SandboxConfig { threads: 1, waiting: 3, ..SandboxConfig::default() }).unwrap();
    let text = networked("", PASS_ON);
    let mut host = Network::default();
    // All from one thread: each is left while it waits.
    let runs: Vec<_> = (0..8).map(|_| waiting(&sandbox, &text, &mut host)).collect();
    let busy = sandbox.begin(&load_in(&sandbox, &text), call(json!({"url": "x"}))).advance(&mut host);
    assert!(matches!(busy, Progress::Ended(run) if run.result == Err(RunError::Busy)));
    for mut run in runs {
        assert!(run.until() > std::time::Instant::now());
        let ended = std::thread::spawn(move || {
            let mut answered = Box::pin(run.answered());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(answered.as_mut().poll(&mut context).is_ready());
            drop(answered);
            run.resume().advance(&mut Network::default())
        });
        let Progress::Ended(run) = ended.join().unwrap() else { panic!("it has nothing more to wait for") };
        assert_eq!(run.result.unwrap().unwrap()["status"], json!(201));
    }
}

#[test]
fn a_run_that_is_dropped_while_it_waits_leaves_its_room() {
    let sandbox = Sandbox::new(SandboxConfig { threads: 1, waiting: 0, ..SandboxConfig::default() }).unwrap();
    let mut host = Network { silent: true, ..Network::default() };
    for _ in 0..10 {
        drop(waiting(&sandbox, &networked("", PASS_ON), &mut host));
    }
    assert_eq!(host.asked.len(), 10);
}

#[test]
fn a_run_that_is_resumed_without_its_answer_has_no_time_left() {
    let mut host = Network { silent: true, ..Network::default() };
    let resumed = waiting(sandbox(), &networked("", PASS_ON), &mut host).resume();
    let Progress::Ended(run) = resumed.advance(&mut host) else { panic!("it has nothing more to wait for") };
    assert!(matches!(run.result, Err(RunError::WallClock { .. })));
}

#[test]
fn waiting_takes_no_fuel() {
    let fuel = |failing| {
        let mut host = Network { failing, ..Network::default() };
        let text = networked(r#"{"url":"x"}"#, "(drop (call $http (i32.const 0) (i32.const 11) (i32.const 8192)))");
        run_on(&text, json!(null), &mut host).usage.fuel
    };
    assert_eq!(fuel(None), fuel(Some(HostError::Refused { reason: "no".into() })));
}
