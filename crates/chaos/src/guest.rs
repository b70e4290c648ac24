//! The guest that is asked for proofs: its controller writes down every delivery it gets, so that a second one would show.
//!
//! `get_witnesses` takes a JSON string: a letter for what is to happen, then a name in letters from `d` to `z` that the circuit
//! greets. `entrypoint` appends the task's id to one of sixteen files of the volume, chosen by the id's last digit; with
//! `fail` in the payload it traps after that, so that a file with such an id would show a write that should not be there.

use bytes::Bytes;

/// The circuit of `guests/hello`: greets one name, and panics at an empty one.
const CIRCUIT: &[u8] = include_bytes!("../../../guests/hello/artifacts/circuit.elf");

/// Turns of a loop within each export: long enough for kills to land in it, short beside a test's patience.
const TURNS: u32 = 8_000_000;

/// Characters of a task's id as text.
pub(crate) const ID_CHARS: usize = 36;

/// Files that the ids are spread over; by their names' last digit.
pub(crate) const LEDGERS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

/// First letter of the arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    /// Greet the name.
    Greet,
    /// The controller traps while it makes the witness.
    Trap,
    /// The witness is one that the circuit panics at.
    Refuse,
}

/// The volume's path of a ledger.
pub(crate) fn ledger_path(digit: char) -> String {
    format!("tasks/{digit}.txt")
}

/// Arguments for `get_witnesses`.
pub(crate) fn args(verb: Verb, name: &str) -> serde_json::Value {
    let letter = match verb {
        Verb::Greet => 'g',
        Verb::Trap => 't',
        Verb::Refuse => 'r',
    };
    format!("{letter}{name}").into()
}

/// The payload for `entrypoint`.
pub(crate) fn payload(fails: bool) -> serde_json::Value {
    if fails { serde_json::json!({"fail": "yes"}) } else { serde_json::Value::Null }
}

/// What the circuit's output is for a name.
pub(crate) fn greeting(name: &str) -> Vec<u8> {
    format!("Hello, {name}!").into_bytes()
}

/// A name that no other number has.
pub(crate) fn name_of(number: u64) -> String {
    const LETTERS: u64 = 23;
    let mut rest = number;
    (0..8)
        .map(|_| {
            let letter = b'd' + u8::try_from(rest % LETTERS).expect("less than 23");
            rest /= LETTERS;
            char::from(letter)
        })
        .collect()
}

/// The circuit.
pub(crate) fn circuit() -> Bytes {
    Bytes::from_static(CIRCUIT)
}

/// The controller.
pub(crate) fn controller() -> anyhow::Result<Bytes> {
    // Eight bytes each, so that one comparison of a number finds them.
    let (task, fail) = (i64::from_le_bytes(*br#""task":""#), i64::from_le_bytes(*br#""fail":""#));
    let wat = format!(
        r#"(module
        (import "valence" "args" (func $args (param i32) (result i32)))
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "get_storage_file" (func $read (param i32 i32 i32) (result i32)))
        (import "valence" "set_storage_file" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 64)
        (data (i32.const 0) "/tasks/?.txt")
        (data (i32.const 32) "[{{\"Data\":[")

        (func $spin (local $turns i32)
          (local.set $turns (i32.const {TURNS}))
          (loop $again
            (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
            (br_if $again (local.get $turns))))

        ;; Three digits and a comma for each letter of the name.
        (func (export "get_witnesses") (local $at i32) (local $out i32) (local $rest i32) (local $verb i32)
          (if (i32.lt_s (call $args (i32.const 4096)) (i32.const 3)) (then (unreachable)))
          (call $spin)
          (local.set $verb (i32.load8_u (i32.const 4097)))
          (if (i32.eq (local.get $verb) (i32.const 0x74)) (then (unreachable)))
          (local.set $at (i32.const 4098))
          (local.set $out (i32.const 42))
          (if (i32.ne (local.get $verb) (i32.const 0x72)) (then
            (loop $letters
              (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0x22)) (then
                (local.set $rest (i32.sub (i32.load8_u (local.get $at)) (i32.const 100)))
                (i32.store8 (local.get $out) (i32.const 0x31))
                (i32.store8 offset=1 (local.get $out)
                  (i32.add (i32.const 0x30) (i32.div_u (local.get $rest) (i32.const 10))))
                (i32.store8 offset=2 (local.get $out)
                  (i32.add (i32.const 0x30) (i32.rem_u (local.get $rest) (i32.const 10))))
                (i32.store8 offset=3 (local.get $out) (i32.const 0x2c))
                (local.set $out (i32.add (local.get $out) (i32.const 4)))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br $letters))))
            (local.set $out (i32.sub (local.get $out) (i32.const 1)))))
          ;; The end of the list, of the object and of the list around it, over the last comma.
          (i32.store8 (local.get $out) (i32.const 0x5d))
          (i32.store8 offset=1 (local.get $out) (i32.const 0x7d))
          (i32.store8 offset=2 (local.get $out) (i32.const 0x5d))
          (if (call $ret (i32.const 32) (i32.sub (i32.add (local.get $out) (i32.const 3)) (i32.const 32)))
            (then (unreachable))))

        (func (export "entrypoint")
          (local $at i32) (local $end i32) (local $task i32) (local $fails i32)
          (local $read i32) (local $tag i32) (local $start i32)
          (local.set $at (i32.const 4096))
          (local.set $end (i32.add (i32.const 4088) (call $args (i32.const 4096))))
          (loop $search
            (if (i64.eq (i64.load (local.get $at)) (i64.const {task}))
              (then (local.set $task (i32.add (local.get $at) (i32.const 8)))))
            (if (i64.eq (i64.load (local.get $at)) (i64.const {fail})) (then (local.set $fails (i32.const 1))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $search (i32.le_u (local.get $at) (local.get $end))))
          (if (i32.eqz (local.get $task)) (then (unreachable)))
          (i32.store8 (i32.const 7) (i32.load8_u offset={last_digit} (local.get $task)))
          ;; MessagePack: nil where there is no file, else a tag and a length of one, two or four bytes.
          (local.set $read (call $read (i32.const 0) (i32.const 12) (i32.const 2097152)))
          (if (i32.lt_s (local.get $read) (i32.const 1)) (then (unreachable)))
          (local.set $tag (i32.load8_u (i32.const 2097152)))
          (local.set $start (i32.const 2097153))
          (if (i32.eq (local.get $tag) (i32.const 0xc4)) (then (local.set $start (i32.const 2097154))))
          (if (i32.eq (local.get $tag) (i32.const 0xc5)) (then (local.set $start (i32.const 2097155))))
          (if (i32.eq (local.get $tag) (i32.const 0xc6)) (then (local.set $start (i32.const 2097157))))
          (local.set $end (i32.add (i32.const 2097152) (local.get $read)))
          (memory.copy (local.get $end) (local.get $task) (i32.const {ID_CHARS}))
          (local.set $end (i32.add (local.get $end) (i32.const {ID_CHARS})))
          (i32.store8 (local.get $end) (i32.const 0x0a))
          (call $spin)
          (if (call $write (i32.const 0) (i32.const 12) (local.get $start)
                (i32.sub (i32.add (local.get $end) (i32.const 1)) (local.get $start)))
            (then (unreachable)))
          (if (local.get $fails) (then (unreachable)))))"#,
        last_digit = ID_CHARS - 1,
    );
    Ok(wat::parse_str(wat)?.into())
}

/// The ids in a ledger, in the order of their deliveries.
///
/// # Errors
/// A line that is none: a write that was torn.
pub(crate) fn ids_of(ledger: &[u8]) -> Result<Vec<String>, String> {
    let torn = || format!("the file is torn: {:?}", String::from_utf8_lossy(&ledger[..ledger.len().min(200)]));
    let text = std::str::from_utf8(ledger).map_err(|_| torn())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(torn());
    }
    text.lines().map(|line| if line.len() == ID_CHARS { Ok(line.to_owned()) } else { Err(torn()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_controller_is_webassembly() {
        assert!(controller().unwrap().starts_with(b"\0asm"));
    }

    #[test]
    fn names_differ_and_have_letters_of_three_digits() {
        let names: BTreeSet<_> = (0..10_000).map(name_of).collect();
        assert_eq!(names.len(), 10_000);
        assert!(names.iter().all(|name| name.bytes().all(|letter| (100..=122).contains(&letter))));
    }

    #[test]
    fn a_torn_ledger_is_noticed() {
        let id = "0".repeat(ID_CHARS);
        assert_eq!(ids_of(b""), Ok(Vec::new()));
        assert_eq!(ids_of(format!("{id}\n{id}\n").as_bytes()).unwrap().len(), 2);
        for torn in [id.clone(), format!("{id}\n{}", &id[1..]), format!("{id}\n{}\n", &id[1..])] {
            assert!(ids_of(torn.as_bytes()).is_err(), "{torn}");
        }
    }
}
