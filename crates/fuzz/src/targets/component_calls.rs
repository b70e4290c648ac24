//! Host calls of a component with values of chance: whatever it hands over, and wherever it wants answers to be put, it ends
//! within its limits, and the same way each time.
//!
//! One component plays a script from its own memory, which is given to it as its raw storage. Where the host asks it for room,
//! it answers with words of the script too.

use super::guest::{SANDBOX, Stranger, check, told};
use crate::{Input, Seed, Target, Writer};
use coprocessor_sandbox::{Call, Export, Limits, Module};
use coprocessor_types::{BlobDigest, ProgramId, Root};
use serde_json::json;
use std::sync::LazyLock;

pub(crate) const TARGET: Target =
    Target { name: "component_calls", about: "sandbox: host calls of a component, any values", run, seeds };

const PAGE: usize = 65_536;
/// Where the script is: the second page. Each step is a number and seven arguments, of four bytes each.
const SCRIPT: usize = PAGE;
const STEP: usize = 32;
/// Most steps: each is one host call.
const MOST: usize = 20;

/// Interface, function, its type in WIT, and the number of its arguments in the core module; the third of them is 64 bits wide
/// where so said.
const CALLS: [(&str, &str, &str, usize, bool); 16] = [
    ("console", "log", r#"(param "line" string)"#, 2, false),
    ("console", "panic", r#"(param "message" string)"#, 2, false),
    ("context", "program", "(result $hash)", 1, false),
    ("context", "root", "(result $hash)", 1, false),
    (
        "storage",
        "read-file",
        r#"(param "path" string) (result (result (option (list u8)) (error $failure)))"#,
        3,
        false,
    ),
    (
        "storage",
        "write-file",
        r#"(param "path" string) (param "content" (list u8)) (result (result (error $failure)))"#,
        5,
        false,
    ),
    ("storage", "read-raw", "(result (result (list u8) (error $failure)))", 1, false),
    ("storage", "write-raw", r#"(param "content" (list u8)) (result (result (error $failure)))"#, 3, false),
    ("storage", "read-image", "(result (result (list u8) (error $failure)))", 1, false),
    ("storage", "write-image", r#"(param "image" (list u8)) (result (result (error $failure)))"#, 3, false),
    ("http", "send", r#"(param "request" $request) (result (result $response (error $failure)))"#, 2, false),
    (
        "rpc",
        "call",
        r#"(param "chain" string) (param "method" string) (param "params" string) (result (result string (error $failure)))"#,
        7,
        false,
    ),
    (
        "chain",
        "latest-block",
        r#"(param "domain" string) (result (result (option $block) (error $failure)))"#,
        3,
        false,
    ),
    (
        "chain",
        "block-opening",
        r#"(param "domain" string) (param "number" u64) (result (result $opening (error $failure)))"#,
        4,
        true,
    ),
    ("chain", "root-update", r#"(param "root" $hash) (result (result (option $update) (error $failure)))"#, 3, false),
    (
        "chain",
        "prove-state",
        r#"(param "domain" string) (param "args" string) (result (result $state-proof (error $failure)))"#,
        5,
        false,
    ),
];

/// Named types of the interfaces, each exported from the instance that has it, as WIT's are.
const TYPES: [(&str, &str, &str); 9] = [
    ("", "failure", r#"(variant (case "refused" string) (case "unanswered" string) (case "too-large" string))"#),
    (
        "",
        "state-proof",
        r#"(record (field "domain" $hash) (field "number" u64) (field "state-root" $hash) (field "payload" (list u8)) (field "proof" (list u8)))"#,
    ),
    ("http", "basic-authorization", r#"(record (field "username" string) (field "password" (option string)))"#),
    ("http", "authorization", r#"(variant (case "bearer" string) (case "basic" $basic-authorization))"#),
    (
        "http",
        "request",
        r#"(record (field "method" string) (field "url" string) (field "query" $pairs) (field "headers" $pairs) (field "authorization" (option $authorization)) (field "body" (option (list u8))))"#,
    ),
    ("http", "response", r#"(record (field "status" u16) (field "headers" $pairs) (field "body" (list u8)))"#),
    (
        "chain",
        "block",
        r#"(record (field "domain" $hash) (field "number" u64) (field "state-root" $hash) (field "payload" (list u8)))"#,
    ),
    (
        "chain",
        "opening",
        r#"(record (field "trust" $hash) (field "block-key" $hash) (field "domain-siblings" (list $hash)) (field "domain-key" $hash) (field "root-siblings" (list $hash)))"#,
    ),
    (
        "chain",
        "update",
        r#"(record (field "id" (list u8)) (field "root" $hash) (field "previous" $hash) (field "block" $block) (field "trust" $hash))"#,
    ),
];

static PLAYER: LazyLock<Module> = LazyLock::new(|| {
    let wasm = wat::parse_str(player()).expect("the player is WebAssembly");
    let artifact = SANDBOX.compile(&wasm).expect("the player is a controller");
    SANDBOX.load(BlobDigest::of(&wasm), &artifact).expect("the player loads")
});

/// An instance with the types that its functions name and the functions.
fn interface(name: &str) -> String {
    let mut text = format!(
        r#"(import "coprocessor:controller/{name}@1.0.0" (instance ${name} (type $hash (list u8)) (type $pairs (list (tuple string string)))"#
    );
    for (of, ty, definition) in TYPES {
        if of.is_empty() || of == name {
            text += &format!(r#" (type ${ty}' {definition}) (export "{ty}" (type ${ty} (eq ${ty}')))"#);
        }
    }
    for (_, function, ty, ..) in CALLS.iter().filter(|call| call.0 == name) {
        text += &format!(r#" (export "{function}" (func {ty}))"#);
    }
    text + "))\n"
}

fn player() -> String {
    let mut interfaces: Vec<&str> = CALLS.iter().map(|call| call.0).collect();
    interfaces.dedup();
    let imports: String = interfaces.into_iter().map(interface).collect();
    let (mut lowered, mut given, mut imported, mut cases) =
        (String::new(), String::new(), String::new(), String::new());
    for (index, (of, function, _, arguments, wide)) in CALLS.iter().enumerate() {
        lowered += &format!(
            r#"(core func $c{index} (canon lower (func ${of} "{function}") (memory (core memory $room "memory")) (realloc (core func $room "realloc"))))
"#
        );
        given += &format!(r#"(export "c{index}" (func $c{index}))"#);
        let ty = |place: usize| if *wide && place == 2 { "i64" } else { "i32" };
        let params: String = (0..*arguments).map(|place| format!(" {}", ty(place))).collect();
        imported += &format!(
            r#"(import "host" "c{index}" (func $c{index} (param{params})))
"#
        );
        let values: String = (0..*arguments)
            .map(|place| format!("({}.load offset={} (local.get $at))", ty(place), 4 + 4 * place))
            .collect();
        cases += &format!("(if (i32.eq (local.get $call) (i32.const {index})) (then (call $c{index} {values})))\n");
    }
    format!(
        r#"(component
          {imports}
          (core module $rooms
            (memory (export "memory") 2)
            (global $asked (mut i32) (i32.const 0))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
              (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
              (if (i32.eq (global.get $asked) (i32.const 1)) (then (return (i32.const 1024))))
              (if (i32.eq (global.get $asked) (i32.const 2)) (then (return (i32.const {SCRIPT}))))
              (i32.load offset={SCRIPT} (i32.and (i32.mul (global.get $asked) (i32.const 4)) (i32.const 1020)))))
          (core instance $room (instantiate $rooms))
          {lowered}
          (core module $playing
            (import "room" "memory" (memory 2))
            {imported}
            (func (export "entrypoint") (param i32 i32) (result i32) (local $at i32) (local $left i32) (local $call i32)
              (call $c6 (i32.const 256))
              (local.set $at (i32.const {SCRIPT}))
              (local.set $left (i32.const {MOST}))
              (loop $next
                (local.set $call (i32.load (local.get $at)))
                {cases}
                (local.set $at (i32.add (local.get $at) (i32.const {STEP})))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br_if $next (local.get $left)))
              (i32.const 512))
            (func (export "get-witnesses") (param i32 i32) (result i32) (i32.const 512)))
          (core instance $play (instantiate $playing (with "room" (instance $room)) (with "host" (instance {given}))))
          (type $hash (list u8))
          (type $proof' (record (field "domain" $hash) (field "number" u64) (field "state-root" $hash) (field "payload" (list u8)) (field "proof" (list u8))))
          (import "state-proof" (type $proof (eq $proof')))
          (type $witness' (variant (case "data" (list u8)) (case "state-proof" $proof)))
          (import "witness" (type $witness (eq $witness')))
          (func (export "get-witnesses") (param "args" string) (result (result (list $witness) (error string)))
            (canon lift (core func $play "get-witnesses") (memory (core memory $room "memory")) (realloc (core func $room "realloc"))))
          (func (export "entrypoint") (param "args" string) (result (result string (error string)))
            (canon lift (core func $play "entrypoint") (memory (core memory $room "memory")) (realloc (core func $room "realloc")))))"#
    )
}

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let answers = input.array();
    let mut script = Vec::new();
    for _ in 0..MOST {
        script.extend((u32::from(input.byte()) % CALLS.len() as u32).to_le_bytes());
        for _ in 0..7 {
            script.extend(argument(&mut input).to_le_bytes());
        }
    }
    script.extend_from_slice(input.rest());
    script.truncate(PAGE);
    let host = Stranger { answers, raw: Some(script) };
    let limits = Limits { fuel: 1 << 20, host_calls: 100, ..SANDBOX.config().limits.clone() };
    let call = || Call {
        export: Export::Entrypoint,
        args: json!({}),
        program: ProgramId([1; 32]),
        root: Root([2; 32]),
        recorder: None,
        limits: Some(limits.clone()),
    };
    let first = SANDBOX.call(&PLAYER, call(), &mut host.clone());
    check(&limits, &first);
    let again = SANDBOX.call(&PLAYER, call(), &mut host.clone());
    assert_eq!(told(&again), told(&first), "the same run came to something else");
}

/// A pointer or a length: small, of the script's text, at a border, or any.
fn argument(input: &mut Input<'_>) -> u32 {
    let borders = [0, 512, PAGE as u32, 2 * PAGE as u32, 2 * PAGE as u32 - 1, 4096, 4097, u32::MAX];
    match input.below(4) {
        0 => input.byte().into(),
        1 => (SCRIPT + MOST * STEP) as u32 + u32::from(input.byte()),
        2 => *input.one(&borders),
        _ => input.word(),
    }
}

fn seeds() -> Vec<Seed> {
    /// An argument that is this number.
    const IS: u8 = 3;
    let script = |answers: [u8; 3], step: &dyn Fn(u32) -> (u8, [u32; 7]), text: &str| {
        let writer = (0..MOST as u32).map(step).fold(Writer::new().bytes(&answers), |writer, (call, arguments)| {
            arguments.iter().fold(writer.byte(call), |writer, argument| writer.byte(IS).word(*argument))
        });
        writer.bytes(text.as_bytes())
    };
    let text = (SCRIPT + MOST * STEP) as u32;
    // Never the panic, which would end it.
    let each = |index: u32| if index % 16 == 1 { 0 } else { (index % 16) as u8 };
    vec![
        script([2; 3], &|index| (each(index), [text, 2, text, 2, text, 2, 512]), "ab").seed("every-call"),
        script([5; 3], &|index| (each(index), [text, 2, text, 2, 512, 0, 512]), "ab").seed("every-call-refused"),
        script([4; 3], &|index| (each(index), [text, 2, 600, 0, 700, 0, 0]), "ab").seed("answers-too-long-for-it"),
        script([2; 3], &|_| (0, [u32::MAX; 7]), "").seed("texts-beyond-memory"),
        script([2; 3], &|_| (0, [text, 2, 0, 0, 0, 0, 0]), "\u{ff}").seed("half-a-character"),
        script([2; 3], &|_| (10, [text, 512, 0, 0, 0, 0, 0]), &"\0".repeat(80)).seed("a-request-of-nothing"),
        script([2; 3], &|_| (1, [text, 5, 0, 0, 0, 0, 0]), "panic").seed("a-panic"),
        script([2; 3], &|_| (14, [text, 32, 512, 0, 0, 0, 0]), &"r".repeat(32)).seed("updates-of-roots"),
        script([2; 3], &|_| (2, [512, 0, 0, 0, 0, 0, 0]), "").seed("a-hash-as-the-result"),
    ]
}
