//! Host calls with pointers and lengths of chance: what the host writes lies where the controller said, and nowhere else.
//!
//! One controller plays a script from its own memory. Before and after each step it gives the host all of its memory, and
//! after it the call's answer, so that what happened is compared with what may happen.

use super::guest::{IMPORTS, SANDBOX};
use crate::{Input, Seed, Target, Writer};
use coprocessor_sandbox::{
    BlockProof, Call, Export, Host, HostError, HttpAnswer, HttpRequest, LatestBlock, Limits, Module, NetworkAllowance,
    NetworkReply, Remote, RootUpdate, RpcRequest, StateProofReply, Usage,
};
use coprocessor_types::{BlobDigest, BlockOpening, DomainId, ProgramId, Root, StateProof, TrustId};
use serde_json::{Value, json};
use std::{future::ready, sync::LazyLock};

pub(crate) const TARGET: Target =
    Target { name: "host_calls", about: "sandbox: host calls with any pointers and lengths", run, seeds };

const PAGE: usize = 65_536;
const MEMORY: usize = 2 * PAGE;
/// Where the script is: the second page. Each step is a number and seven arguments, of four bytes each.
const SCRIPT: usize = PAGE;
const STEP: usize = 32;
/// Most steps: each takes three host calls.
const MOST: usize = 30;

const PROGRAM: ProgramId = ProgramId([0x11; 32]);
const ROOT: Root = Root([0x22; 32]);

/// The host calls that a script names by their places here; whether each writes at the last of its arguments.
const CALLS: [(&str, usize, bool); 14] = [
    ("$args", 1, true),
    ("$get_controller", 1, true),
    ("$get_historical", 1, true),
    ("$get_file", 3, true),
    ("$get_raw", 1, true),
    ("$http", 3, true),
    ("$rpc", 7, true),
    ("$latest", 3, true),
    ("$proof", 5, true),
    ("$ret", 2, false),
    ("$log", 2, false),
    ("$set_file", 4, false),
    ("$block_proof", 4, true),
    ("$update", 2, true),
];

static PLAYER: LazyLock<Module> = LazyLock::new(|| {
    let wasm = wat::parse_str(player()).expect("the player is WebAssembly");
    let artifact = SANDBOX.compile(&wasm).expect("the player is a controller");
    SANDBOX.load(BlobDigest::of(&wasm), &artifact).expect("the player loads")
});

fn player() -> String {
    let step = |at: usize| format!("(i32.load offset={} (local.get $step))", 4 * (at + 1));
    let cases = CALLS.iter().enumerate().map(|(number, (name, arguments, _))| {
        let arguments: String = (0..*arguments).map(step).collect();
        format!(
            "(if (i32.eq (local.get $call) (i32.const {number})) (then (local.set $answer (call {name} {arguments}))))"
        )
    });
    let cases: String = cases.collect();
    format!(
        r#"(module {IMPORTS}
             (memory (export "memory") 2 2)
             (func $show (param $answer i32)
               ;; All of memory, and then as many bytes of it as the answer says: the host looks at how many.
               (drop (call $set_raw (i32.const 0) (i32.const {MEMORY})))
               (drop (call $set_raw (i32.const 0) (i32.and (local.get $answer) (i32.const {mask})))))
             (func (export "get_witnesses"))
             (func (export "entrypoint") (local $step i32) (local $end i32) (local $call i32) (local $answer i32)
               (local.set $step (i32.const {SCRIPT}))
               (local.set $end (i32.add (i32.const {SCRIPT}) (call $get_raw (i32.const {SCRIPT}))))
               (call $show (i32.const 0))
               (block $done (loop $next
                 (br_if $done (i32.gt_u (i32.add (local.get $step) (i32.const {STEP})) (local.get $end)))
                 ;; Looked at once: a call may overwrite the script.
                 (local.set $call (i32.rem_u (i32.load (local.get $step)) (i32.const {calls})))
                 {cases}
                 (call $show (local.get $answer))
                 (local.set $step (i32.add (local.get $step) (i32.const {STEP})))
                 (br $next)))))"#,
        mask = MEMORY - 1,
        calls = CALLS.len()
    )
}

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let length = input.short();
    let mut host =
        Witness { script: Vec::new(), given: vec![0xa5; length.into()], before: None, after: None, steps: 0 };
    let steps = input.below(MOST + 1);
    for _ in 0..steps {
        host.script.extend(input.word().to_le_bytes());
        for _ in 0..7 {
            host.script.extend(argument(&mut input, steps).to_le_bytes());
        }
    }
    host.script.extend_from_slice(input.rest());
    // The script's own end is looked for in steps, so what follows it is text for the calls to point at.
    host.script.truncate(PAGE);
    let limits = Limits { fuel: 1 << 30, host_calls: 100_000, log_bytes: 1 << 20, ..SANDBOX.config().limits.clone() };
    let call = Call {
        export: Export::Entrypoint,
        args: args(),
        program: PROGRAM,
        root: ROOT,
        recorder: None,
        limits: Some(limits),
    };
    let played = SANDBOX.call(&PLAYER, call, &mut host);
    assert!(host.before.is_some(), "the script was not played: {played:?}");
}

/// A pointer or a length: small, of a text in the script, at a border, or any.
fn argument(input: &mut Input<'_>, steps: usize) -> u32 {
    let borders = [0, PAGE as u32, MEMORY as u32, MEMORY as u32 - 1, MEMORY as u32 - 32, 4096, 4097, u32::MAX];
    match input.below(4) {
        0 => input.byte().into(),
        1 => (SCRIPT + steps * STEP) as u32 + u32::from(input.byte()),
        2 => *input.one(&borders),
        _ => input.word(),
    }
}

fn args() -> Value {
    json!({"some": "arguments"})
}

/// Is shown the controller's memory around each step.
struct Witness {
    script: Vec<u8>,
    /// What every call for content is answered with.
    given: Vec<u8>,
    /// The memory before the step.
    before: Option<Vec<u8>>,
    /// The memory after it, until the answer is shown.
    after: Option<Vec<u8>>,
    /// Steps seen.
    steps: usize,
}

impl Witness {
    /// The memory comes first, and then as many bytes as the answer says.
    fn see(&mut self, content: &[u8]) {
        let Some(after) = self.after.take() else {
            assert_eq!(content.len(), MEMORY, "the memory is not shown whole");
            self.after = Some(content.to_vec());
            return;
        };
        if let Some(before) = self.before.replace(after) {
            let after = self.before.as_deref().expect("it was just put there");
            check(&before, after, self.steps, content.len());
            self.steps += 1;
        }
    }

    fn block(&self) -> LatestBlock {
        LatestBlock { domain: DomainId([7; 32]), number: 1, state_root: [1; 32], payload: self.given.clone() }
    }

    fn reply<T>(&self, answer: T) -> NetworkReply<T> {
        NetworkReply { answer: Ok(answer), sent_bytes: 1, received_bytes: 1 }
    }
}

/// Compares the memory around one step with what the step's call may do.
fn check(before: &[u8], after: &[u8], step: usize, answer: usize) {
    let at = SCRIPT + step * STEP;
    let word = |place: usize| {
        let bytes = before[at + 4 * place..].first_chunk().expect("a step lies in the memory");
        u32::from_le_bytes(*bytes) as usize
    };
    let (name, arguments, writes) = CALLS[word(0) % CALLS.len()];
    // Codes are small and negative: as lengths they are just below the memory's.
    let refused = answer >= MEMORY - 64;
    let written = if writes && !refused { word(arguments)..word(arguments) + answer } else { 0..0 };
    assert!(written.end <= MEMORY, "{name} says that it wrote at {written:?}");
    let same = before[..written.start] == after[..written.start] && before[written.end..] == after[written.end..];
    assert!(same, "{name} wrote beside {written:?}");
    let expected = match name {
        "$args" => args().to_string().into_bytes(),
        "$get_controller" => PROGRAM.0.to_vec(),
        "$get_historical" => ROOT.0.to_vec(),
        _ => return,
    };
    assert!(refused || after[written] == expected, "{name} wrote something else");
}

impl Host for Witness {
    fn read_file(&mut self, _: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok(Some(self.given.clone()))
    }

    fn write_file(&mut self, _: &str, _: &[u8]) -> Result<(), HostError> {
        Ok(())
    }

    /// The script first, as nothing was shown yet.
    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        let content = if self.before.is_none() { &self.script } else { &self.given };
        Ok(Some(content.clone()))
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        self.see(content);
        Ok(())
    }

    fn http(&mut self, _: HttpRequest, _: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        let answer = HttpAnswer { status: 200, headers: Vec::new(), body: self.given.clone() };
        Box::pin(ready(self.reply(answer)))
    }

    fn rpc(&mut self, _: RpcRequest, _: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        Box::pin(ready(self.reply(json!(self.given.len()))))
    }

    fn state_proof(&mut self, _: String, _: Value, _: Limits) -> Remote<StateProofReply> {
        let proof = StateProof {
            domain: DomainId([7; 32]),
            number: 300,
            state_root: [200; 32],
            payload: Vec::new(),
            proof: self.given.clone(),
        };
        Box::pin(ready(StateProofReply { answer: Ok(proof), usage: Usage::default() }))
    }

    fn latest_block(&mut self, _: String) -> Remote<Result<Option<LatestBlock>, HostError>> {
        Box::pin(ready(Ok(Some(self.block()))))
    }

    fn block_proof(&mut self, _: String, _: u64) -> Remote<Result<BlockProof, HostError>> {
        let siblings = vec![Root([0xee; 32]); self.given.len() % 64];
        let opening =
            BlockOpening { trust: TrustId([1; 32]), domain_siblings: siblings.clone(), root_siblings: siblings };
        Box::pin(ready(Ok(BlockProof { block_key: [1; 32], domain_key: [2; 32], opening })))
    }

    fn root_update(&mut self, root: Root) -> Remote<Result<Option<RootUpdate>, HostError>> {
        let block = self.block();
        let update = RootUpdate { id: [9; 16], root, previous: Root([3; 32]), block, trust: TrustId([1; 32]) };
        Box::pin(ready(Ok(Some(update))))
    }
}

fn seeds() -> Vec<Seed> {
    /// An argument that is this number.
    const IS: u8 = 3;
    let script = |length: u16, steps: &[(u32, [u32; 7])], text: &str| {
        let writer = Writer::new().short(length).byte(steps.len() as u8);
        let writer = steps.iter().fold(writer, |writer, (call, arguments)| {
            arguments.iter().fold(writer.word(*call), |writer, argument| writer.byte(IS).word(*argument))
        });
        writer.bytes(text.as_bytes())
    };
    let text = (SCRIPT + STEP) as u32;
    let end = MEMORY as u32;
    let plain: Vec<(u32, [u32; 7])> = (0..CALLS.len() as u32).map(|call| (call, [64, 2, 300, 2, 64, 2, 700])).collect();
    let one = |call: u32, arguments: [u32; 7]| [(call, arguments)];
    vec![
        script(100, &plain, "").seed("every-call"),
        script(0, &one(0, [u32::MAX; 7]), "").seed("beyond-all"),
        script(40, &one(1, [end - 32; 7]), "").seed("up-to-the-end"),
        script(40, &one(1, [end - 31; 7]), "").seed("one-beyond-the-end"),
        script(60_000, &one(4, [0; 7]), "").seed("over-itself"),
        script(65_535, &one(3, [0, 2, 65_530, 0, 0, 0, 0]), "").seed("over-the-script"),
        script(200, &one(5, [text, 11, 0, 0, 0, 0, 0]), r#"{"url":"x"}"#).seed("http"),
        script(200, &one(6, [text, 2, text, 2, text + 2, 2, 9]), "ab[]").seed("rpc"),
        script(200, &one(7, [text, 2, end - 200, 0, 0, 0, 0]), "ab").seed("latest-block"),
        script(200, &one(8, [text, 2, text + 2, 4, 5, 0, 0]), "abnull").seed("state-proof"),
        script(200, &one(12, [text, 2, 0, end - 300, 0, 0, 0]), "ab").seed("block-proof"),
        script(200, &one(13, [text, end - 100, 0, 0, 0, 0, 0]), "ab").seed("update-of-a-root"),
        script(0, &one(9, [text, 4, 0, 0, 0, 0, 0]), "1234").seed("result"),
        script(0, &one(11, [text, 5000, 0, 0, 0, 0, 0]), "ab").seed("a-path-too-long"),
    ]
}
