//! Guests that tests deploy.

use std::{fs, path::Path};

/// Where [`counter`] keeps its count: four bytes, little-endian.
pub(crate) const COUNT_FILE: &str = "count.bin";

/// Turns of a loop that take long enough to be killed in.
pub(crate) const LONG: u64 = 1_000_000_000;

/// The hello controller: `{"name": "…"}` to a witness.
pub(crate) fn hello_controller() -> Vec<u8> {
    artifact("controller.wasm")
}

/// The hello circuit. It greets one name; an empty one is refused.
pub(crate) fn hello_circuit() -> Vec<u8> {
    artifact("circuit.elf")
}

/// A controller for the hello circuit whose entrypoint adds one to the count in [`COUNT_FILE`], so that a second delivery
/// would show. Both exports loop as often as told before they do their work.
pub(crate) fn counter(witness_turns: u64, deliver_turns: u64) -> Vec<u8> {
    controller(&format!(
        r#"
        (data (i32.const 0) "[{{\"Data\":[87]}}]")
        (data (i32.const 64) "/{COUNT_FILE}")
        (func $spin (param $turns i64)
          (loop $again
            (local.set $turns (i64.sub (local.get $turns) (i64.const 1)))
            (br_if $again (i64.gt_s (local.get $turns) (i64.const 0)))))
        (func (export "get_witnesses")
          (call $spin (i64.const {witness_turns}))
          (drop (call $ret (i32.const 0) (i32.const 15))))
        (func (export "entrypoint") (local $count i32)
          ;; MessagePack: nil where there is no file, else bin 8 with a length of one byte before the content.
          (if (i32.gt_s (call $get_file (i32.const 64) (i32.const 10) (i32.const 4096)) (i32.const 1))
            (then (local.set $count (i32.load (i32.const 4098)))))
          (call $spin (i64.const {deliver_turns}))
          (i32.store (i32.const 128) (i32.add (local.get $count) (i32.const 1)))
          (if (call $set_file (i32.const 64) (i32.const 10) (i32.const 128) (i32.const 4)) (then (unreachable))))"#
    ))
}

/// A controller whose `get_witnesses` is `body`; it can call `$ret`, `$log`, `$get_file`, `$set_file`, and
/// `$teleport`, which no host offers. Its `entrypoint` does nothing.
pub(crate) fn controller_that(body: &str) -> Vec<u8> {
    controller_with("", body)
}

/// As [`controller_that`], with more functions that `body` can call.
pub(crate) fn controller_with(more: &str, body: &str) -> Vec<u8> {
    controller(&format!(r#"{more} (func $main (export "get_witnesses") {body}) (func (export "entrypoint"))"#))
}

/// A controller for the hello circuit whose entrypoint returns `number`, one digit.
pub(crate) fn numbered(number: u8) -> Vec<u8> {
    controller(&format!(
        r#"
        (data (i32.const 0) "[{{\"Data\":[87]}}]")
        (data (i32.const 64) "{number}")
        (func (export "get_witnesses") (drop (call $ret (i32.const 0) (i32.const 15))))
        (func (export "entrypoint") (drop (call $ret (i32.const 64) (i32.const 1))))"#
    ))
}

fn controller(functions: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "log" (func $log (param i32 i32) (result i32)))
        (import "valence" "get_storage_file" (func $get_file (param i32 i32 i32) (result i32)))
        (import "valence" "set_storage_file" (func $set_file (param i32 i32 i32 i32) (result i32)))
        (import "valence" "teleport" (func $teleport))
        (memory (export "memory") 1)
        {functions})"#
    ))
    .unwrap()
}

/// A controller that gives back whatever it is called with: a program's, whose witness is its arguments, and a domain's, which
/// takes every block it is told of. But a block told of in less than ten bytes is refused, with a word in the log.
pub(crate) fn echo() -> Vec<u8> {
    wat::parse_str(
        r#"(module
        (import "valence" "args" (func $args (param i32) (result i32)))
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "log" (func $log (param i32 i32) (result i32)))
        (import "valence" "panic" (func $panic (param i32 i32)))
        (memory (export "memory") 300)
        (data (i32.const 0) "looking at it")
        (data (i32.const 16) "no such block on this chain")
        (func $echo (drop (call $ret (i32.const 64) (call $args (i32.const 64)))))
        (func (export "get_witnesses") (call $echo))
        (func (export "entrypoint"))
        (func (export "get_state_proof") (call $echo))
        (func (export "validate_block")
          (drop (call $log (i32.const 0) (i32.const 13)))
          (if (i32.lt_s (call $args (i32.const 64)) (i32.const 10))
            (then (call $panic (i32.const 16) (i32.const 27)) (unreachable)))
          (call $echo)))"#,
    )
    .unwrap()
}

/// A domain's controller that asks an address before it gives back what it is called with; a block told of in less than ten bytes is
/// refused.
pub(crate) fn asking_echo(url: &str) -> Vec<u8> {
    let request = format!(r#"{{"url":"{url}"}}"#);
    wat::parse_str(format!(
        r#"(module
        (import "valence" "args" (func $args (param i32) (result i32)))
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "panic" (func $panic (param i32 i32)))
        (import "valence" "http" (func $http (param i32 i32 i32) (result i32)))
        (memory (export "memory") 10)
        (data (i32.const 0) "no such block")
        (data (i32.const 64) "{}")
        (func $echo (local $len i32)
          (if (i32.lt_s (call $http (i32.const 64) (i32.const {}) (i32.const 65536)) (i32.const 0)) (then (unreachable)))
          (local.set $len (call $args (i32.const 1024)))
          (if (i32.lt_s (local.get $len) (i32.const 10)) (then (call $panic (i32.const 0) (i32.const 13)) (unreachable)))
          (drop (call $ret (i32.const 1024) (local.get $len))))
        (func (export "validate_block") (call $echo))
        (func (export "get_state_proof") (call $echo)))"#,
        request.replace('"', "\\\""),
        request.len()
    ))
    .unwrap()
}

/// A controller whose both exports send the HTTP request in their arguments so often, and return the answer; or panic with the
/// reason why there is none.
pub(crate) fn asker(times: usize) -> Vec<u8> {
    asking(
        times,
        r#"(import "valence" "http" (func $http (param i32 i32 i32) (result i32)))"#,
        "",
        "(call $http (i32.const 1024) (call $args (i32.const 1024)) (i32.const 65536))",
    )
}

/// A controller whose both exports call an RPC method of a chain without parameters, and return the result; or panic with the
/// reason why there is none.
pub(crate) fn rpc_asker(chain: &str, method: &str) -> Vec<u8> {
    let (chain_len, method_len) = (chain.len(), method.len());
    asking(
        1,
        r#"(import "valence" "alchemy" (func $rpc (param i32 i32 i32 i32 i32 i32 i32) (result i32)))"#,
        &format!(r#"(data (i32.const 0) "[]{chain}{method}")"#),
        &format!(
            "(call $rpc (i32.const 2) (i32.const {chain_len}) (i32.const {}) (i32.const {method_len}) (i32.const 0) (i32.const 2)
            (i32.const 65536))",
            2 + chain_len
        ),
    )
}

fn asking(times: usize, import: &str, data: &str, ask: &str) -> Vec<u8> {
    let all = "(call $ask)".repeat(times);
    wat::parse_str(format!(
        r#"(module
        (import "valence" "args" (func $args (param i32) (result i32)))
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "panic" (func $panic (param i32 i32)))
        (import "valence" "get_reason" (func $reason (param i32) (result i32)))
        {import}
        (memory (export "memory") 300) {data}
        (func $ask (local $len i32)
          (local.set $len {ask})
          (if (i32.lt_s (local.get $len) (i32.const 0))
            (then (call $panic (i32.const 65536) (call $reason (i32.const 65536)))))
          (drop (call $ret (i32.const 65536) (local.get $len))))
        (func (export "get_witnesses") {all})
        (func (export "entrypoint") {all}))"#
    ))
    .unwrap()
}

fn artifact(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/hello/artifacts").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
