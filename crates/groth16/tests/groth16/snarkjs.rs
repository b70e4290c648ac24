//! Both ways with snarkjs: keys it made, proofs of either verified by the other, good ones and bad ones.

use crate::examples::{Example, kept};
use crate::r1cs::{Circuit, circuits};
use coprocessor_groth16::{Proof, ProvingKey, PublicValues, R1cs, VerifyingKey, Witness, ZKey};
use coprocessor_test_servers::{install_npm, run_script, skip_or_fail};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// Makes a key for each circuit in a folder, and a proof with it. Powers of tau are made once and kept beside the packages.
const PROVE: &str = r#"
const snarkjs = require("snarkjs");
const fs = require("fs");
(async () => {
    const { folder, circuits, tau } = JSON.parse(fs.readFileSync(0));
    if (!fs.existsSync(tau)) {
        const own = `${folder}/tau`;
        const curve = await snarkjs.curves.getCurveFromName("bn128");
        await snarkjs.powersOfTau.newAccumulator(curve, 7, `${own}_0`);
        await snarkjs.powersOfTau.contribute(`${own}_0`, `${own}_1`, "test", "test");
        await snarkjs.powersOfTau.preparePhase2(`${own}_1`, own);
        fs.copyFileSync(own, `${tau}.${process.pid}`);
        fs.renameSync(`${tau}.${process.pid}`, tau);
    }
    const made = [];
    for (let at = 0; at < circuits; at++) {
        const file = (end) => `${folder}/${at}.${end}`;
        await snarkjs.zKey.newZKey(file("r1cs"), tau, file("fresh"));
        await snarkjs.zKey.contribute(file("fresh"), file("zkey"), "test", "test");
        const key = await snarkjs.zKey.exportVerificationKey(file("zkey"));
        made.push({ key, ...(await snarkjs.groth16.prove(file("zkey"), file("wtns"))) });
    }
    process.stdout.write(JSON.stringify(made), () => process.exit(0));
})().catch((error) => { console.error(error); process.exit(1); });
"#;

/// What it says of each claim; a claim that it can't read does not hold.
const VERIFY: &str = r#"
const snarkjs = require("snarkjs");
const fs = require("fs");
(async () => {
    const said = [];
    for (const { key, public: values, proof } of JSON.parse(fs.readFileSync(0))) {
        said.push(await snarkjs.groth16.verify(key, values, proof).catch(() => false));
    }
    process.stdout.write(JSON.stringify(said), () => process.exit(0));
})().catch((error) => { console.error(error); process.exit(1); });
"#;

fn packages() -> Option<PathBuf> {
    skip_or_fail(install_npm("circom", &["circom2@0.2.23", "snarkjs@0.7.6", "circomlib@2.0.5"]))
}

/// Circuits with the keys that snarkjs made for them, and what it proved of each.
struct Made {
    folder: TempDir,
    proofs: Vec<Value>,
}

impl Made {
    fn of(packages: &std::path::Path, circuits: &[Circuit]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (at, circuit) in circuits.iter().enumerate() {
            fs::write(folder.path().join(format!("{at}.r1cs")), circuit.r1cs()).unwrap();
            fs::write(folder.path().join(format!("{at}.wtns")), circuit.wtns()).unwrap();
        }
        let input = json!({ "folder": folder.path(), "circuits": circuits.len(), "tau": packages.join("tau-7") });
        let output = run_script(packages, PROVE, input.to_string().as_bytes()).unwrap();
        Self { folder, proofs: serde_json::from_slice(&output).unwrap() }
    }

    fn file(&self, at: usize, end: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(format!("{at}.{end}"))).unwrap()
    }

    fn key(&self, at: usize) -> ProvingKey {
        let zkey = ZKey::read(&self.file(at, "zkey")).unwrap();
        ProvingKey::new(R1cs::read(&self.file(at, "r1cs")).unwrap(), zkey).unwrap()
    }
}

/// A circuit with a key and a witness; `None` where there is no snarkjs.
pub(crate) fn small() -> Option<(Vec<u8>, Vec<u8>, Witness)> {
    let packages = packages()?;
    let made = Made::of(&packages, &chosen(1));
    Some((made.file(0, "r1cs"), made.file(0, "zkey"), Witness::read(&made.file(0, "wtns")).unwrap()))
}

fn chosen(count: usize) -> Vec<Circuit> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| circuits().new_tree(&mut runner).unwrap().current()).collect()
}

fn read<T, E: std::fmt::Debug>(value: &Value, from: impl Fn(&[u8]) -> Result<T, E>) -> Result<T, E> {
    from(value.to_string().as_bytes())
}

fn holds(claim: &Value) -> bool {
    let key = read(&claim["key"], VerifyingKey::from_json).unwrap();
    let (values, proof) = (read(&claim["public"], PublicValues::from_json), read(&claim["proof"], Proof::from_json));
    values.is_ok_and(|values| proof.is_ok_and(|proof| key.verify(&proof, &values).is_ok()))
}

/// A claim, false ones beside it, and the same with `other`, a proof of the same.
fn with_false_ones(claim: Value, other: &Value) -> Vec<(Value, bool)> {
    let changed = |pointer: &str, to: Value| {
        let mut changed = claim.clone();
        *changed.pointer_mut(pointer).unwrap() = to;
        (changed, false)
    };
    let more = |text: &Value| Value::from((text.as_str().unwrap().parse::<u128>().unwrap() + 1).to_string());
    let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
    vec![
        changed("/public/0", more(&claim["public"][0])),
        changed("/public/1", more(&claim["public"][1])),
        changed("/public/0", modulus.into()),
        changed("/proof/pi_a", claim["proof"]["pi_c"].clone()),
        changed("/proof/pi_a/0", "7".into()),
        changed("/proof/pi_b", other["proof"]["pi_b"].clone()),
        (changed("/proof", other["proof"].clone()).0, true),
        (claim, true),
    ]
}

#[test]
fn both_agree_on_good_and_on_bad_proofs_of_circuits_made_by_chance() {
    let Some(packages) = packages() else { return };
    let circuits = chosen(12);
    let made = Made::of(&packages, &circuits);
    let mut claims = Vec::new();
    for (at, theirs) in made.proofs.iter().enumerate() {
        let key = made.key(at);
        assert_eq!(&read(&theirs["key"], VerifyingKey::from_json).unwrap(), key.verifying_key());
        let witness = Witness::read(&made.file(at, "wtns")).unwrap();
        let (first, values) = key.prove(&witness).unwrap();
        let (second, _) = key.prove(&witness).unwrap();
        assert_ne!(first, second, "a proof that can be told from its witness is no secret");
        assert_eq!(read(&theirs["publicSignals"], PublicValues::from_json), Ok(values.clone()));

        let form = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let (keys, values) = ([theirs["key"].clone(), form(key.verifying_key().to_json())], form(values.to_json()));
        let claim = |key: &Value, proof: Value| json!({ "key": key, "public": values, "proof": proof });
        let by_us = claim(&keys[0], form(first.to_json()));
        let by_them = claim(&keys[1], theirs["proof"].clone());
        claims.extend(with_false_ones(by_us.clone(), &by_them));
        claims.extend(with_false_ones(by_them, &by_us));
    }
    let asked: Vec<_> = claims.iter().map(|(claim, _)| claim).collect();
    let said = run_script(&packages, VERIFY, serde_json::to_string(&asked).unwrap().as_bytes()).unwrap();
    let said: Vec<bool> = serde_json::from_slice(&said).unwrap();
    assert_eq!(said.len(), claims.len());
    for (at, ((claim, expected), theirs)) in claims.iter().zip(said).enumerate() {
        assert_eq!((holds(claim), theirs), (*expected, *expected), "claim {at}: {claim:#}");
    }
}

#[test]
fn the_examples_prove_with_one_key_again_and_again() {
    let Some(packages) = packages() else { return };
    for name in ["threshold", "membership"] {
        let folder = tempfile::tempdir().unwrap();
        let bundle = kept(&format!("{name}.bundle"));
        let bundle = coprocessor_groth16::Bundle::read(&bundle).unwrap();
        fs::write(folder.path().join("wasm"), bundle.generator).unwrap();
        fs::write(folder.path().join("input"), kept(&format!("{name}/input.json"))).unwrap();
        const WITNESS: &str = r#"
            const fs = require("fs");
            const folder = fs.readFileSync(0, "utf8");
            const input = JSON.parse(fs.readFileSync(`${folder}/input`));
            require("snarkjs").wtns.calculate(input, `${folder}/wasm`, `${folder}/wtns`).then(() => process.exit(0));
        "#;
        run_script(&packages, WITNESS, folder.path().to_str().unwrap().as_bytes()).unwrap();
        let witness = Witness::read(&fs::read(folder.path().join("wtns")).unwrap()).unwrap();
        let key = Example::load(name).key();
        let expected = PublicValues::from_json(&kept(&format!("{name}/public.json"))).unwrap();
        for _ in 0..3 {
            let (proof, values) = key.prove(&witness).unwrap();
            assert_eq!(values, expected);
            assert_eq!(key.verifying_key().verify(&proof, &values), Ok(()));
        }
    }
}
