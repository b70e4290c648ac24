//! What it costs. The same figures at every run: compilers, keys, proofs and addresses are fixed. They stand in docs/ONCHAIN.md.

use crate::{
    chain::{Chain, number, transaction},
    fixtures::{claim, sp1_program},
    scene::{Scene, claim_call},
};
use coprocessor_solidity::{
    Word,
    abi::{
        Argument::{Bytes, Static},
        call,
    },
};
use serde_json::json;

/// More than any of these calls takes.
const GAS: u64 = 1_000_000;

#[test]
fn the_documented_figures_are_those_measured() {
    let Some(chain) = Chain::start() else { return };
    let statement = claim();
    let data = statement.proof.call(&statement.signals);
    let verify = |contract: &str| {
        let verifier = chain.deploy(contract, &[]);
        chain.used(transaction(chain.account(0), verifier, &data, GAS))
    };
    let (ours, theirs) = (verify("Verifier"), verify("Groth16Verifier"));
    assert!(ours <= theirs, "ours takes {ours} gas, snarkjs's {theirs}");
    let groth16 = Scene::groth16().unwrap();
    let by_groth16 = groth16.claim_statement(&statement).unwrap();
    let (sp1, mock) = Scene::sp1().unwrap();
    let (values, proof) = (statement.public_values(), [7; 356]);
    let expected = call("expect(bytes32,bytes,bytes)", &[Static(sp1_program()), Bytes(&values), Bytes(&proof)]);
    sp1.chain.send(mock, &expected).unwrap();
    let by_sp1 = sp1.claim(&values, &proof).unwrap();
    let registry = |signature: &str, root: u8| {
        let data = call(signature, &[Static(Word([root; 32]))]);
        groth16.chain.send(groth16.registry, &data).unwrap()
    };
    let rows = [
        ("`verifyProof` of 6 signals, written by `export solidity`", ours),
        ("`verifyProof` of 6 signals, written by snarkjs 0.7.6", theirs),
        ("`Payout.claim` with a Groth16 proof", by_groth16),
        ("`Payout.claim` with an SP1 proof, without what SP1's verifier takes", by_sp1),
        ("`RootRegistry.accept`", registry("accept(bytes32)", 0x51)),
        ("`RootRegistry.revoke`", registry("revoke(bytes32)", 0x51)),
    ];
    let rows: Vec<_> = rows.iter().map(|(what, gas)| format!("| {what} | {} |", thousands(*gas))).collect();
    let page = include_str!("../../../../docs/ONCHAIN.md");
    let missing: Vec<_> = rows.iter().filter(|row| !page.lines().any(|line| line == **row)).collect();
    assert!(missing.is_empty(), "docs/ONCHAIN.md has other figures than these:\n{}", rows.join("\n"));
}

/// A verifier that runs out of gas says no instead of failing, so a node's estimate for it is worth nothing. An application
/// fails, so a node's estimate for it is good.
#[test]
fn an_applications_estimate_is_enough() {
    let Some(scene) = Scene::groth16() else { return };
    let (chain, statement) = (&scene.chain, claim());
    let call = claim_call(&statement.public_values(), &statement.bytes());
    let mut request = transaction(chain.account(1), scene.payout, &call, GAS);
    request.as_object_mut().unwrap().remove("gas");
    let estimate = number(&chain.node.call("eth_estimateGas", json!([request])).unwrap());
    chain.used(transaction(chain.account(1), scene.payout, &call, estimate));
    let words = statement.signals.words();
    assert_eq!(scene.owed(words[crate::fixtures::RECIPIENT]), words[crate::fixtures::AMOUNT]);
}

fn thousands(number: u64) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}
