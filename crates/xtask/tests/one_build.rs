//! Building and testing compile each dependency once.
//!
//! Cargo keeps a compiled package per set of features, and a development dependency can switch features on in packages
//! that the programs use too: then `cargo test` compiles them, and all that stands on them, a second time. For the SP1 SDK
//! that is minutes. So what `cargo xtask demo` and `cargo build` compile must be what `cargo test --workspace` compiles.
#![allow(missing_docs)]

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, process::Command};

/// What cargo would compile from outside this repository, each unit with a digest over all that makes it differ from another, its own dependencies
/// included.
fn units(arguments: &[&str]) -> BTreeMap<String, String> {
    let output = Command::new("cargo")
        .args(arguments)
        .args(["--workspace", "--locked", "--unit-graph", "-Zunstable-options"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // The unit graph is an unstable feature of cargo; no rustc is run for it.
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let graph: Value = serde_json::from_slice(&output.stdout).unwrap();
    let units = graph["units"].as_array().unwrap();
    let mut digests = vec![None; units.len()];
    let all = (0..units.len()).map(|at| (digest(units, at, &mut digests), &units[at]));
    all.filter(|(_, unit)| is_from_outside(unit)).map(|(digest, unit)| (digest, name(unit))).collect()
}

fn is_from_outside(unit: &Value) -> bool {
    !unit["pkg_id"].as_str().unwrap().starts_with("path+")
}

fn name(unit: &Value) -> String {
    let package = unit["pkg_id"].as_str().unwrap().rsplit('/').next().unwrap();
    format!("{package} ({} {}), features {}", unit["target"]["kind"][0], unit["target"]["name"], unit["features"])
}

fn digest(units: &[Value], at: usize, digests: &mut [Option<String>]) -> String {
    if let Some(digest) = &digests[at] {
        return digest.clone();
    }
    let unit = &units[at];
    let mut profile = unit["profile"].clone();
    // `dev` and `test` are the same but for the name, which cargo does not go by.
    profile.as_object_mut().unwrap().remove("name");
    let mut hash = Sha256::new();
    for part in [&unit["pkg_id"], &unit["target"], &profile, &unit["platform"], &unit["mode"], &unit["features"]] {
        hash.update(part.to_string());
        hash.update([0]);
    }
    let mut below: Vec<_> = unit["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| digest(units, usize::try_from(edge["index"].as_u64().unwrap()).unwrap(), digests))
        .collect();
    below.sort();
    hash.update(below.join(" "));
    let digest = hex::encode(hash.finalize());
    digests[at] = Some(digest.clone());
    digest
}

/// Units from outside this repository that `one` compiles and `other` does not.
fn compiled_twice(one: &[&str], other: &[&str]) -> Vec<String> {
    let (one, other) = (units(one), units(other));
    assert!(one.len() > 300, "only {} units: cargo did not show them all", one.len());
    let twice = one.into_iter().filter(|(digest, _)| !other.contains_key(digest));
    twice.map(|(_, name)| name).collect()
}

const DEMO: [&str; 5] = ["build", "--bin", "coprocessor", "--bin", "coprocessor-prover"];

#[test]
fn the_programs_and_the_tests_share_their_dependencies() {
    let twice = compiled_twice(&DEMO, &["test"]);
    assert!(
        twice.is_empty(),
        "`cargo test --workspace` would compile these again. A development dependency switches on features that the \
         programs do not have: give a workspace member a normal dependency with the same features (see `regex` in \
         crates/xtask/Cargo.toml).\n{}",
        twice.join("\n")
    );
}

#[test]
fn the_programs_without_sp1_share_their_dependencies_too() {
    let without: Vec<_> = DEMO.into_iter().chain(["--no-default-features"]).collect();
    let twice = compiled_twice(&without, &["test"]);
    assert!(twice.is_empty(), "the mock demo would compile these again:\n{}", twice.join("\n"));
}
