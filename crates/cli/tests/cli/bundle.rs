//! Bundles of circom's files, made without a coprocessor.

use crate::run::Place;
use coprocessor_groth16::Bundle;
use serde_json::{Value, json};
use std::{fs, path::Path};

fn built(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../groth16/circom/built/{name}.bundle"));
    fs::read(path).unwrap()
}

/// With the three files of each of both examples.
fn place() -> Place {
    let place = Place::bare();
    for name in ["threshold", "membership"] {
        let bundle = built(name);
        let Bundle { r1cs, zkey, generator } = Bundle::read(&bundle).unwrap();
        for (kind, content) in [("r1cs", r1cs), ("zkey", zkey), ("wasm", generator)] {
            place.write(&format!("{name}.{kind}"), content);
        }
    }
    place
}

#[test]
fn three_files_become_one_and_who_contributed_is_told() {
    let place = place();
    let files = ["bundle", "--r1cs", "threshold.r1cs", "--zkey", "threshold.zkey", "--wasm", "threshold.wasm"];
    let ran = place.run(&[&files[..], &["--json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["constraints"], &told["public_values"]), (&json!(432), &json!(4)));
    assert_eq!((&told["development"], &told["written_to"]), (&json!(true), &json!("circuit.bundle")));
    assert_eq!(fs::read(place.path().join("circuit.bundle")).unwrap(), built("threshold"));
    let ran = place.run(&files);
    assert!(ran.stdout.contains("This key is for development"), "{}", ran.stdout);
    assert!(ran.stdout.contains("next: cargo coprocessor deploy --controller FILE --circuit circuit.bundle"));
}

#[test]
fn files_that_do_not_fit_are_named_and_nothing_is_written() {
    let place = place();
    place.write("half.r1cs", &fs::read(place.path().join("threshold.r1cs")).unwrap()[..100]);
    for (r1cs, zkey, named) in [
        ("membership.r1cs", "threshold.zkey", "threshold.zkey"),
        ("half.r1cs", "threshold.zkey", "half.r1cs"),
        ("threshold.zkey", "threshold.zkey", "threshold.zkey"),
        ("threshold.r1cs", "threshold.wasm", "threshold.wasm"),
        ("none.r1cs", "threshold.zkey", "none.r1cs"),
    ] {
        let ran = place.run(&["bundle", "--r1cs", r1cs, "--zkey", zkey, "--wasm", "threshold.wasm"]);
        assert_eq!(ran.code, 2, "{}", ran.stdout);
        assert!(ran.stderr.contains(named), "{}", ran.stderr);
        assert!(!place.path().join("circuit.bundle").exists());
    }
}
