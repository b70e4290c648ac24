//! Runs that are recorded, and run again without the host they met.

use crate::harness::*;
use coprocessor_sandbox::{
    Answer, Asked, BlockProof, Call, Difference, End, Exchange, Host, HostError, HttpAnswer, HttpRequest, LatestBlock,
    Limits, NetworkAllowance, NetworkReply, Progress, Recorder, Recording, RecordingError, Remote, ReplayError,
    Replayed, RootUpdate, RpcRequest, RunError, StateProofReply, Usage, replay,
};
use coprocessor_types::{BlockNumber, BlockOpening, DomainId, Root, StateProof, TrustId};
use serde_json::{Value, json};
use std::future::{pending, ready};
use std::time::Duration;

/// More than any of these runs meets.
const LIMIT: usize = 1 << 20;

/// Host calls that [`everything`] makes.
const CALLS: usize = 13;

/// Answers everything, or fails everything as told, or answers nothing of what is waited for.
#[derive(Default)]
struct World {
    files: Memory,
    failing: Option<HostError>,
    silent: bool,
}

impl World {
    fn say<T: Send + 'static>(&self, answer: T) -> Remote<Result<T, HostError>> {
        if self.silent {
            return Box::pin(pending());
        }
        Box::pin(ready(self.failing.clone().map_or(Ok(answer), Err)))
    }

    fn reply<T: Send + 'static>(&self, answer: T) -> Remote<NetworkReply<T>> {
        let said = self.say(answer);
        Box::pin(async { NetworkReply { answer: said.await, sent_bytes: 10, received_bytes: 20 } })
    }
}

fn block() -> LatestBlock {
    LatestBlock { domain: DomainId([1; 32]), number: u64::MAX, state_root: [2; 32], payload: vec![3; 300] }
}

impl Host for World {
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

    fn volume_image(&mut self) -> Result<Vec<u8>, HostError> {
        self.files.failing.clone().map_or(Ok(vec![9; 1000]), Err)
    }

    fn set_volume_image(&mut self, _: &[u8]) -> Result<(), HostError> {
        self.files.failing.clone().map_or(Ok(()), Err)
    }

    fn http(&mut self, _: HttpRequest, _: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        let headers = vec![("a".to_owned(), "b".to_owned()), ("set-cookie".to_owned(), "c".to_owned())];
        self.reply(HttpAnswer { status: 201, headers, body: b"{\"x\":[0.1,1]}".to_vec() })
    }

    fn rpc(&mut self, _: RpcRequest, _: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        // Not what parsing its decimals gives back on every way, unless the bits are kept.
        self.reply(json!({"f": 1.797_693_134_862_315_6e308, "$f64": [5e-324, -0.0, u64::MAX]}))
    }

    fn state_proof(&mut self, _: String, _: Value, _: Limits) -> Remote<StateProofReply> {
        let LatestBlock { domain, number, state_root, payload } = block();
        let said = self.say(StateProof { domain, number, state_root, payload, proof: vec![4; 70] });
        let usage = Usage { fuel: 12_345, host_calls: 3, network_calls: 1, ..Usage::default() };
        Box::pin(async { StateProofReply { answer: said.await, usage } })
    }

    fn latest_block(&mut self, _: String) -> Remote<Result<Option<LatestBlock>, HostError>> {
        self.say(Some(block()))
    }

    fn block_proof(&mut self, _: String, _: BlockNumber) -> Remote<Result<BlockProof, HostError>> {
        let opening = BlockOpening {
            trust: TrustId([5; 32]),
            domain_siblings: vec![Root([6; 32]); 3],
            root_siblings: vec![Root([7; 32]); 2],
        };
        self.say(BlockProof { block_key: [8; 32], domain_key: [9; 32], opening })
    }

    fn root_update(&mut self, root: Root) -> Remote<Result<Option<RootUpdate>, HostError>> {
        let update = RootUpdate { id: [1; 16], root, previous: Root([3; 32]), block: block(), trust: TrustId([5; 32]) };
        self.say(Some(update))
    }
}

/// `eth` is at 0, `[1]` at 3, a block's number at 8, a request at 16; answers come to 8192. What each call writes there is hashed into
/// what is told.
fn everything(extra: &str) -> String {
    let request = r#"{\"url\":\"https://u:p@a.b/c?key=k&d=e\",\"method\":\"POST\",\"bearer\":\"sesame\",\"body\":\"sent\",\"headers\":{\"X-Api-Key\":\"sesame\",\"accept\":\"*/*\"}}"#;
    let length = request.replace("\\\"", "\"").len();
    let answers = [
        "(call $get_file (i32.const 0) (i32.const 3) (i32.const 8192))".to_owned(),
        "(call $set_file (i32.const 0) (i32.const 3) (i32.const 3) (i32.const 3))".to_owned(),
        "(call $get_file (i32.const 0) (i32.const 3) (i32.const 8192))".to_owned(),
        "(call $get_raw (i32.const 8192))".to_owned(),
        "(call $set_raw (i32.const 3) (i32.const 3))".to_owned(),
        format!("(call $http (i32.const 16) (i32.const {length}) (i32.const 8192))"),
        "(call $rpc (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3) (i32.const 3) (i32.const 3) (i32.const 8192))"
            .to_owned(),
        "(call $state_proof (i32.const 0) (i32.const 3) (i32.const 3) (i32.const 3) (i32.const 8192))".to_owned(),
        "(call $latest (i32.const 0) (i32.const 3) (i32.const 8192))".to_owned(),
        "(call $block_proof (i32.const 0) (i32.const 3) (i32.const 8) (i32.const 8192))".to_owned(),
        "(call $update (i32.const 300) (i32.const 8192))".to_owned(),
        "(call $get_image (i32.const 8192))".to_owned(),
        "(call $set_image (i32.const 0) (i32.const 6))".to_owned(),
    ];
    let calls: String = answers.iter().map(|call| format!("(call $digest {call})\n")).collect();
    let rest = format!(
        r#"(import "valence" "http" (func $http (param i32 i32 i32) (result i32)))
        (import "valence" "alchemy" (func $rpc (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "valence" "get_state_proof" (func $state_proof (param i32 i32 i32 i32 i32) (result i32)))
        (import "valence" "get_latest_block" (func $latest (param i32 i32 i32) (result i32)))
        (import "valence" "get_block_proof" (func $block_proof (param i32 i32 i32 i32) (result i32)))
        (import "valence" "get_historical_update" (func $update (param i32 i32) (result i32)))
        (import "valence" "get_storage" (func $get_image (param i32) (result i32)))
        (import "valence" "set_storage" (func $set_image (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "eth[1]")
        (data (i32.const 16) "{request}")
        (data (i32.const 300) "{root}")
        (global $sum (mut i32) (i32.const 7))
        (func $digest (param $len i32) (local $at i32)
          (global.set $sum (i32.add (i32.mul (global.get $sum) (i32.const 31)) (local.get $len)))
          (block $end (loop $next
            (br_if $end (i32.ge_s (local.get $at) (local.get $len)))
            (global.set $sum (i32.add (i32.mul (global.get $sum) (i32.const 31))
                (i32.load8_u (i32.add (i32.const 8192) (local.get $at)))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $next))))"#,
        root = "\\22".repeat(32)
    );
    let body = format!(
        "(drop (call $log (i32.const 0) (i32.const 3))) {calls}
         (call $digest (call $args (i32.const 8192)))
         {extra}
         (call $tell (i32.and (global.get $sum) (i32.const 0x3fffffff)))"
    );
    controller_with(&body, &rest)
}

fn record_within(limits: Option<Limits>, text: &str, host: &mut dyn Host) -> Recording {
    let recorder = Recorder::new(LIMIT);
    let call = Call { recorder: Some(recorder.clone()), limits, ..call(json!({"name": "né", "n": [0.1, 1]})) };
    let module = load_in(sandbox(), text);
    let run = sandbox().call(&module, call.clone(), host);
    let recording = recorder.finish(&run).unwrap();
    assert_eq!(recording.end, End::of(&run));
    let mut bytes = recording.to_bytes();
    assert_eq!(Recording::from_bytes(&bytes).unwrap(), recording);
    Recording::attach(&mut bytes, &wasm(text));
    let whole = Recording { wasm: Some(wasm(text)), ..recording };
    assert_eq!(whole.to_bytes(), bytes);
    assert_eq!(Recording::from_bytes(&bytes).unwrap(), whole);
    whole
}

fn record(text: &str, host: &mut dyn Host) -> Recording {
    record_within(None, text, host)
}

fn again(recording: &Recording) -> Replayed {
    replay(recording, recording.wasm.as_ref().unwrap()).unwrap()
}

/// With another controller.
fn with(recording: &Recording, text: &str) -> Replayed {
    let replayed = replay(recording, &wasm(text)).unwrap();
    assert!(!replayed.same_controller);
    replayed
}

fn untimed(end: End) -> End {
    End { usage: Usage { wall_clock_micros: 0, network_micros: 0, ..end.usage }, ..end }
}

fn is_the_same(recording: &Recording) -> Replayed {
    let replayed = again(recording);
    assert_eq!(replayed.difference, None);
    assert!(replayed.same_controller);
    assert_eq!(untimed(replayed.end.clone()), untimed(recording.end.clone()));
    replayed
}

#[test]
fn every_host_call_is_recorded_and_answered_again() {
    let mut world = World::default();
    world.files.raw = Some(vec![1, 2]);
    let recording = record(&everything(""), &mut world);
    let asked: Vec<_> = recording.calls.iter().map(|call| call.asked.to_string()).collect();
    assert_eq!(asked.len(), CALLS, "{asked:#?}");
    assert!(recording.calls.iter().all(|call| call.answer.is_some()), "{:#?}", recording.calls);
    assert!(recording.end.result.is_ok() && recording.end.log == ["eth"], "{:?}", recording.end);
    assert_eq!(recording.args, r#"{"n":[0.1,1],"name":"né"}"#);
    assert_eq!(is_the_same(&recording).answered, CALLS);
}

#[test]
fn failed_calls_and_failed_runs_are_the_same_again() {
    let reason = || "because".to_owned();
    for failing in [
        HostError::Refused { reason: reason() },
        HostError::Unanswered { reason: reason() },
        HostError::TooLarge { len: 1 << 40 },
        HostError::Failed { reason: reason() },
    ] {
        let files = Memory { failing: Some(failing.clone()), ..Memory::default() };
        let mut world = World { files, failing: Some(failing.clone()), silent: false };
        let recording = record(&everything(""), &mut world);
        let failed = matches!(failing, HostError::Failed { .. });
        assert_eq!(recording.end.result.is_err(), failed, "{:?}", recording.end);
        assert_eq!(is_the_same(&recording).answered, if failed { 1 } else { CALLS });
    }
    for (extra, code) in [
        ("(unreachable)", "guest_trap"),
        ("(call $panic (i32.const 0) (i32.const 3))", "guest_panic"),
        ("(drop (call $ret (i32.const 0) (i32.const 3)))", ""),
    ] {
        let recording = record(&everything(extra), &mut World::default());
        match &recording.end.result {
            Err(failed) => assert_eq!(failed.code, code),
            Ok(_) => assert_eq!(code, ""),
        }
        is_the_same(&recording);
    }
    let limits = Limits { fuel: 3000, ..Limits::default() };
    let recording = record_within(Some(limits), &everything("(loop $l (br $l))"), &mut World::default());
    assert!(recording.end.result.as_ref().is_err_and(|failed| failed.code == "out_of_fuel"));
    is_the_same(&recording);
}

#[test]
fn a_call_that_was_never_answered_is_not_answered_again() {
    let mut world = World { silent: true, ..World::default() };
    let limits = Limits { wall_clock: Duration::from_millis(40), ..Limits::default() };
    let recording = record_within(Some(limits.clone()), &everything(""), &mut world);
    let last = recording.calls.last().unwrap();
    assert!(matches!((&last.asked, &last.answer), (Asked::Http { .. }, None)), "{last:?}");
    let replayed = again(&recording);
    assert_eq!((replayed.difference, replayed.end.result), (None, recording.end.result.clone()));
    let expected = RunError::WallClock { limit: limits.wall_clock };
    assert_eq!(recording.end.result.unwrap_err().message, expected.to_string());
}

#[test]
fn a_run_that_waited_on_other_threads_is_recorded_too() {
    let text = everything("");
    let recorder = Recorder::new(LIMIT);
    let mut execution =
        sandbox().begin(&load_in(sandbox(), &text), Call { recorder: Some(recorder.clone()), ..call(json!(1)) });
    let mut world = World::default();
    let run = loop {
        let (progress, back) = std::thread::spawn(move || (execution.advance(&mut world), world)).join().unwrap();
        world = back;
        match progress {
            Progress::Ended(run) => break run,
            Progress::Waiting(mut waiting) => {
                let mut answered = Box::pin(waiting.answered());
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(answered.as_mut().poll(&mut context).is_ready());
                drop(answered);
                execution = waiting.resume();
            }
        }
    };
    let recording = Recording { wasm: Some(wasm(&text)), ..recorder.finish(&run).unwrap() };
    is_the_same(&recording);
}

#[test]
fn secrets_of_the_controller_are_not_in_it() {
    let recording = record(&everything(""), &mut World::default());
    let bytes = Recording { wasm: None, ..recording.clone() }.to_bytes();
    let text = String::from_utf8(bytes).unwrap();
    for secret in ["sesame", "u:p", "key=k", "sent\""] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(text.contains("accept") && text.contains("d=e") && text.contains("X-Api-Key"), "{text}");
    // It is not known again either: another secret is no difference.
    let other = everything("").replace("sesame", "simsim");
    assert_eq!(with(&recording, &other).difference, None);
}

#[test]
fn a_changed_controller_is_told_by_its_first_difference() {
    let recording = record(&everything(""), &mut World::default());
    let read = "(call $digest (call $get_raw (i32.const 8192)))";
    assert!(everything("").contains(read));

    let changed = with(&recording, &everything("").replace(read, ""));
    let Some(Difference::Call { number: 4, recorded: Some(recorded), now }) = changed.difference else {
        panic!("{:?}", changed.difference)
    };
    assert_eq!((*recorded, changed.answered), (Asked::RawStorage, 3));
    assert!(matches!(*now, Asked::SetRawStorage { .. }));
    assert!(changed.end.result.unwrap_err().message.contains("the recording has no answer"));

    let changed = with(&recording, &everything(read));
    let Some(Difference::Call { number: 14, recorded: None, now }) = changed.difference else {
        panic!("{:?}", changed.difference)
    };
    assert_eq!(*now, Asked::RawStorage);

    let changed = with(&recording, &controller("(call $tell (i32.const 1))"));
    assert!(matches!(changed.difference, Some(Difference::FewerCalls { number: 1, .. })), "{:?}", changed.difference);

    // A remote call that is another.
    let changed = with(&recording, &everything("").replace("d=e", "d=f"));
    let said = changed.difference.unwrap().to_string();
    assert!(said.starts_with("host call 6 was `http POST https://(hidden)@a.b/c?key=(hidden)&d=e"), "{said}");

    let changed = with(&recording, &everything("(global.set $sum (i32.const 5))"));
    let Some(Difference::Result { now, .. }) = changed.difference else { panic!("{:?}", changed.difference) };
    assert_eq!(now, "5");

    // What a new version logs and computes is its own affair.
    let changed = with(&recording, &everything("(drop (call $log (i32.const 0) (i32.const 1)))"));
    assert_eq!((changed.difference, changed.end.log.len()), (None, 2));
    assert!(changed.end.usage.fuel > recording.end.usage.fuel);
}

#[test]
fn of_the_same_controller_nothing_may_differ() {
    let recording = record(&everything(""), &mut World::default());
    let mut other = recording.clone();
    other.end.usage.fuel += 1;
    assert!(matches!(again(&other).difference, Some(Difference::Usage { what: "fuel", .. })));
    let mut other = recording.clone();
    other.end.log.push("more".to_owned());
    let expected = Difference::Log { line: 2, recorded: Some("more".to_owned()), now: None };
    assert_eq!(again(&other).difference, Some(expected));
    let mut other = recording;
    other.args = "null".to_owned();
    assert!(matches!(again(&other).difference, Some(Difference::Result { .. })));
}

#[test]
fn what_is_longer_than_a_recording_may_be_is_not_recorded() {
    for limit in [0, 1000, 5000] {
        let recorder = Recorder::new(limit);
        let call = Call { recorder: Some(recorder.clone()), ..call(json!("x".repeat(limit / 2))) };
        let run = sandbox().call(&load_in(sandbox(), &everything("")), call, &mut World::default());
        assert!(run.result.is_ok());
        assert_eq!(recorder.finish(&run).unwrap_err(), RecordingError::TooLarge { limit });
    }
    let run = run(&controller(""));
    assert_eq!(Recorder::new(LIMIT).finish(&run).unwrap_err(), RecordingError::Nothing);
}

#[test]
fn limits_and_controllers_that_cannot_be_are_refused() {
    let mut recording = record(&controller("(call $tell (i32.const 1))"), &mut World::default());
    assert!(matches!(replay(&recording, b"no module"), Err(ReplayError::Module(_))));
    recording.limits.stack_bytes = 1;
    assert!(matches!(replay(&recording, recording.wasm.as_ref().unwrap()), Err(ReplayError::Sandbox(_))));
}

fn lines(recording: &Recording) -> Vec<String> {
    String::from_utf8(recording.to_bytes()).unwrap().lines().map(|line| format!("{line}\n")).collect()
}

fn read(lines: &[String]) -> Result<Recording, RecordingError> {
    Recording::from_bytes(lines.concat().as_bytes())
}

#[test]
fn a_damaged_recording_says_what_is_wrong_with_it() {
    let recording = record(&everything(""), &mut World::default());
    let whole = lines(&recording);
    assert_eq!(read(&whole).unwrap(), recording);
    let changed = |line: usize, from: &str, to: &str| {
        let mut lines = whole.clone();
        assert!(lines[line].contains(from), "{}", lines[line]);
        lines[line] = lines[line].replace(from, to);
        read(&lines).unwrap_err()
    };
    let not = |error| matches!(error, RecordingError::NotARecording { .. });
    assert!(not(Recording::from_bytes(b"").unwrap_err()));
    assert!(not(Recording::from_bytes(b"\0asm\n").unwrap_err()));
    assert!(not(Recording::from_bytes(b"{}\n").unwrap_err()));
    assert_eq!(changed(0, r#""version":1"#, r#""version":2"#), RecordingError::Version { got: 2 });
    assert!(matches!(changed(0, "entrypoint", "entrypoint2"), RecordingError::Damaged { .. }));
    assert!(matches!(changed(0, r#""root""#, r#""toor""#), RecordingError::Line { line: 1, .. }));
    assert!(matches!(changed(3, "read_file", "write_file"), RecordingError::Line { line: 4, .. }));
    assert!(matches!(changed(4, "raw_storage", "root_update"), RecordingError::Line { line: 5, .. }));
    assert!(matches!(changed(CALLS + 1, "eth", "eht"), RecordingError::Damaged { .. }));
    assert!(matches!(changed(CALLS + 3, r#""wasm":"AG"#, r#""wasm":"BG"#), RecordingError::OtherController { .. }));
    // A call fewer, an answer to another call, lines after the end.
    assert!(matches!(read(&[&whole[..3], &whole[4..]].concat()).unwrap_err(), RecordingError::Damaged { .. }));
    assert!(matches!(read(&[&whole[..], &whole[3..4]].concat()).unwrap_err(), RecordingError::Line { line: 18, .. }));
    assert_eq!(read(&whole[..9]).unwrap_err(), RecordingError::CutOff { lines: 9 });
    let mut swapped = recording.clone();
    swapped.calls[0] = Exchange { answer: recording.calls[1].answer.clone(), ..recording.calls[0].clone() };
    assert!(matches!(swapped.calls[0].answer, Some(Answer::Written(_))));
    assert!(matches!(Recording::from_bytes(&swapped.to_bytes()).unwrap_err(), RecordingError::Line { line: 2, .. }));
    for error in [changed(0, r#""version":1"#, r#""version":2"#), read(&whole[..9]).unwrap_err()] {
        assert!(
            error.to_string().contains("replay it with") || error.to_string().contains("fetch it again"),
            "{error}"
        );
    }
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    fn recording() -> &'static Recording {
        static RECORDING: std::sync::OnceLock<Recording> = std::sync::OnceLock::new();
        RECORDING.get_or_init(|| record(&everything(""), &mut World::default()))
    }

    proptest! {
        /// Whatever the bytes, reading them ends, and what is read is what those bytes say.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(Recording::from_bytes(&bytes).is_err());
        }

        #[test]
        fn a_recording_with_bytes_that_are_others(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = recording().to_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            // A digest in capitals is the same digest.
            if let Ok(read) = Recording::from_bytes(&bytes) {
                prop_assert_eq!(&read, recording());
            }
        }

        #[test]
        fn a_recording_that_is_cut(at in any::<prop::sample::Index>()) {
            let whole = recording().to_bytes();
            let cut = &whole[..at.index(whole.len())];
            let lines = lines(recording());
            let without_wasm = lines[..lines.len() - 1].concat().len();
            match Recording::from_bytes(cut) {
                Ok(read) => {
                    prop_assert_eq!(cut.len(), without_wasm);
                    prop_assert_eq!(read, Recording { wasm: None, ..recording().clone() });
                }
                Err(_) => prop_assert_ne!(cut.len(), without_wasm),
            }
        }

        /// Answers that nobody ever gave: the replay ends one way or another, within its limits.
        #[test]
        fn answers_that_are_others(
            content in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..70_000)),
            fuel in 0..10_000_u64,
            number in 0..CALLS,
        ) {
            let mut recording = recording().clone();
            recording.limits.fuel = fuel;
            for call in recording.calls.iter_mut().skip(number) {
                if let Some(Answer::Content(said)) = &mut call.answer {
                    *said = serde_json::from_value(json!({"ok": content.as_ref().map(|bytes| {
                        use base64::Engine as _;
                        base64::engine::general_purpose::STANDARD.encode(bytes)
                    })})).unwrap();
                }
            }
            let replayed = again(&recording);
            prop_assert!(replayed.end.usage.fuel <= fuel);
        }
    }
}
