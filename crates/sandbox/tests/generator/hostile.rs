//! Generators of strangers.

use coprocessor_sandbox::{Generated, GeneratorError, Generators, Limits, SandboxConfig};
use serde_json::json;
use std::time::Duration;

/// What a generator does in some of its functions; the others are plain.
#[derive(Default)]
struct Parts<'a> {
    /// Other items of the module.
    items: &'a str,
    version: &'a str,
    shared: &'a str,
    words: &'a str,
    init: &'a str,
    set: &'a str,
    wires: &'a str,
    wire: &'a str,
    letter: &'a str,
}

impl Parts<'_> {
    /// A generator with one input, `a`, and two wires.
    fn text(&self) -> String {
        let or = |part: &str, plain: &str| if part.is_empty() { plain.to_owned() } else { part.to_owned() };
        format!(
            r#"(module
                (import "runtime" "exceptionHandler" (func $give_up (param i32)))
                (import "runtime" "printErrorMessage" (func $say))
                (import "runtime" "writeBufferMessage" (func $log))
                (import "runtime" "showSharedRWMemory" (func $show))
                (memory (export "memory") 1)
                (global $at (mut i32) (i32.const 0))
                (data (i32.const 512) "not today\00")
                {items}
                (func (export "getVersion") (result i32) {version})
                (func (export "getSharedRWMemoryStart") (result i32) {shared})
                (func (export "getFieldNumLen32") (result i32) {words})
                (func (export "readSharedRWMemory") (param i32) (result i32)
                    (i32.load (i32.add (i32.const 64) (i32.mul (i32.const 4) (local.get 0)))))
                (func (export "getRawPrime") (i64.store (i32.const 64) (i64.const 101)))
                (func (export "init") (param i32) {init})
                (func (export "getInputSignalSize") (param i32 i32) (result i32) (i32.const 1))
                (func (export "getInputSize") (result i32) (i32.const 1))
                (func (export "setInputSignal") (param i32 i32 i32) {set})
                (func (export "getWitnessSize") (result i32) {wires})
                (func (export "getWitness") (param i32) {wire})
                (func $letter (export "getMessageChar") (result i32) {letter}))"#,
            items = self.items,
            version = or(self.version, "(i32.const 2)"),
            shared = or(self.shared, "(i32.const 64)"),
            words = or(self.words, "(i32.const 2)"),
            init = self.init,
            set = or(self.set, "(i64.store (i32.const 256) (i64.load (i32.const 64)))"),
            wires = or(self.wires, "(i32.const 2)"),
            wire = or(
                self.wire,
                "(i64.store (i32.const 64) (if (result i64) (local.get 0) (then (i64.load (i32.const 256))) (else (i64.const 1))))"
            ),
            letter = or(
                self.letter,
                "(global.set $at (i32.add (global.get $at) (i32.const 1))) (i32.load8_u (i32.add (i32.const 511) (global.get $at)))"
            ),
        )
    }

    fn run(&self) -> Result<Generated, GeneratorError> {
        let limits = Limits {
            fuel: 50_000_000,
            wall_clock: Duration::from_secs(20),
            memory_bytes: 4 * 65536,
            table_elements: 100,
            stack_bytes: 256 * 1024,
            log_bytes: 1000,
            ..Limits::default()
        };
        let config = SandboxConfig { limits, threads: 1, waiting: 0, ..SandboxConfig::default() };
        let wasm = wat::parse_str(self.text()).unwrap();
        Generators::new(config).unwrap().compile(&wasm)?.witness(&json!({ "a": 7 }), None)
    }

    fn refused(&self) -> GeneratorError {
        self.run().unwrap_err()
    }
}

const FOREVER: &str = "(loop $again (br $again))";

#[test]
fn a_plain_one_works() {
    let made = Parts::default().run().unwrap();
    assert_eq!(made.modulus, 101u64.to_le_bytes());
    assert_eq!(made.values, [1u64.to_le_bytes(), 7u64.to_le_bytes()].concat());
    assert!(made.log.is_empty());
}

#[test]
fn loops_end_wherever_they_are() {
    for parts in [
        Parts { init: FOREVER, ..Parts::default() },
        Parts { set: FOREVER, ..Parts::default() },
        Parts { wire: FOREVER, ..Parts::default() },
        Parts { items: "(func $start (loop $again (br $again))) (start $start)", ..Parts::default() },
        Parts { version: "(loop $again (br $again)) (i32.const 2)", ..Parts::default() },
        Parts { init: "(call $say)", letter: "(loop $again (br $again)) (i32.const 0)", ..Parts::default() },
    ] {
        assert_eq!(parts.refused(), GeneratorError::OutOfFuel { limit: 50_000_000 });
    }
    let limits = Limits { fuel: u64::MAX / 2, wall_clock: Duration::from_millis(50), ..Limits::default() };
    let generators = Generators::new(SandboxConfig { threads: 1, waiting: 0, ..SandboxConfig::default() }).unwrap();
    let wasm = wat::parse_str(Parts { init: FOREVER, ..Parts::default() }.text()).unwrap();
    let refused = generators.compile(&wasm).unwrap().witness(&json!({ "a": 1 }), Some(&limits)).unwrap_err();
    assert_eq!(refused, GeneratorError::WallClock { limit: Duration::from_millis(50) });
    assert!(!refused.is_deterministic());
}

#[test]
fn gigabytes_are_not_given() {
    let grown = "(if (i32.eq (memory.grow (i32.const 30000)) (i32.const -1)) (then (unreachable)))";
    let memory = GeneratorError::Memory { limit: 4 * 65536 };
    assert_eq!(Parts { init: grown, ..Parts::default() }.refused(), memory);
    // Nor a witness of gigabytes taken.
    assert_eq!(Parts { wires: "(i32.const -1)", ..Parts::default() }.refused(), memory);
    let items = "(table $t 1 funcref)";
    let grown = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 100000)) (i32.const -1)) (then (unreachable)))";
    assert_eq!(Parts { items, init: grown, ..Parts::default() }.refused(), GeneratorError::Table { limit: 100 });
    let items = "(func $deep (call $deep))";
    let refused = Parts { items, init: "(call $deep)", ..Parts::default() }.refused();
    assert_eq!(refused, GeneratorError::Stack { limit: 256 * 1024 });
}

#[test]
fn elements_are_handed_over_within_its_memory() {
    for start in ["(i32.const 65535)", "(i32.const 65529)", "(i32.const -1)"] {
        let refused = Parts { shared: start, ..Parts::default() }.refused();
        assert!(
            matches!(&refused, GeneratorError::Invalid { message } if message.contains("outside its memory")),
            "{refused}"
        );
    }
    for words in ["(i32.const 0)", "(i32.const 17)", "(i32.const -1)"] {
        let refused = Parts { words, ..Parts::default() }.refused();
        assert!(matches!(&refused, GeneratorError::Invalid { message } if message.contains("words")), "{refused}");
    }
}

#[test]
fn it_says_why_it_gives_up() {
    let init = "(call $say) (call $give_up (i32.const 4))";
    let message = "an assertion or a constraint fails: not today".into();
    assert_eq!(Parts { init, ..Parts::default() }.refused(), GeneratorError::Unsatisfied { message });
    let refused = Parts { init: "(call $give_up (i32.const 7))", ..Parts::default() }.refused();
    assert!(matches!(refused, GeneratorError::Failed { code: 7, .. }), "{refused}");
    let refused = Parts { init: "(unreachable)", ..Parts::default() }.refused();
    assert!(matches!(refused, GeneratorError::Trap { .. }), "{refused}");
    assert_eq!(Parts { version: "(i32.const 1)", ..Parts::default() }.refused(), GeneratorError::Version { got: 1 });
}

#[test]
fn what_it_logs_is_kept_up_to_a_limit() {
    let items = r#"(data (i32.const 522) "\0a\00")"#;
    let init = "(call $log) (i64.store (i32.const 64) (i64.const 12345678901)) (call $show) (call $log)";
    assert_eq!(Parts { items, init, ..Parts::default() }.run().unwrap().log, ["not today 12345678901"]);
    let flood = GeneratorError::Log { limit: 1000 };
    // Of one line, of many lines, of lines of nothing, and of values.
    assert_eq!(Parts { init: "(call $log)", letter: "(i32.const 97)", ..Parts::default() }.refused(), flood);
    let again = "(loop $again (global.set $at (i32.const 0)) (call $log) (br $again))";
    assert_eq!(Parts { init: again, ..Parts::default() }.refused(), flood);
    let nothing = "(loop $again (global.set $at (i32.const 10)) (call $log) (br $again))";
    assert_eq!(Parts { items, init: nothing, ..Parts::default() }.refused(), flood);
    assert_eq!(Parts { init: "(loop $again (call $show) (br $again))", ..Parts::default() }.refused(), flood);
}

#[test]
fn what_is_no_generator_is_refused() {
    let generators = Generators::new(SandboxConfig { threads: 1, waiting: 0, ..SandboxConfig::default() }).unwrap();
    let refused = |text: &str| generators.compile(&wat::parse_str(text).unwrap()).unwrap_err().to_string();
    assert!(refused(r#"(module (import "wasi" "fd_write" (func)))"#).contains("`wasi.fd_write`"));
    assert!(refused(r#"(module (import "runtime" "exceptionHandler" (func)))"#).contains("exceptionHandler"));
    assert!(refused(r#"(module (import "runtime" "another" (func)))"#).contains("another"));
    assert!(matches!(generators.compile(b"not wasm"), Err(GeneratorError::Invalid { .. })));
    assert!(matches!(generators.compile(&vec![0; 17 << 20]), Err(GeneratorError::TooLarge { .. })));
    let empty = generators.compile(&wat::parse_str("(module)").unwrap()).unwrap();
    let refused = empty.witness(&json!({}), None).unwrap_err().to_string();
    assert!(refused.contains("exports no `memory`"), "{refused}");
    let without = generators.compile(&wat::parse_str(r#"(module (memory (export "memory") 1))"#).unwrap()).unwrap();
    let refused = without.witness(&json!({}), None).unwrap_err().to_string();
    assert!(refused.contains("getVersion"), "{refused}");
}
