//! The example: what it takes, and what it refuses with which error.

use crate::{
    chain::Revert,
    fixtures::{
        AMOUNT, AUDIENCE, NULLIFIER, RECIPIENT, beyond_scalar_field, claim, claim_at_later_root, claim_rerandomised,
        key, negated, sp1_program,
    },
    scene::{FUNDS, Scene, rejected},
};
use coprocessor_solidity::{
    Word,
    abi::{
        Argument::{Bytes, Static},
        call, encode, keccak256,
    },
};
use serde_json::json;

/// The claim as the contract remembers it.
fn claimed(program: Word, nullifier: Word) -> Revert {
    let claim = keccak256(&encode(&[Static(program), Static(nullifier)]));
    Revert::of("AlreadyClaimed(bytes32)", &[Word(claim)])
}

#[test]
fn a_good_proof_is_taken_once() {
    let Some(scene) = Scene::groth16() else { return };
    let claim = claim();
    let words = claim.signals.words();
    scene.claim_statement(&claim).unwrap();
    assert_eq!(scene.owed(words[RECIPIENT]), words[AMOUNT]);

    let again = claimed(key().hash(), words[NULLIFIER]);
    assert_eq!(scene.claim_statement(&claim), Err(again.clone()));
    // Other proofs of the same statement, as good as the first.
    let other = claim_rerandomised();
    assert_ne!(other.bytes(), claim.bytes());
    assert_eq!(scene.claim_statement(&other), Err(again.clone()));
    assert_eq!(scene.claim(&claim.public_values(), &negated(&claim.proof).to_bytes()), Err(again.clone()));
    // The same claim, proved at a later root that is accepted too.
    assert_eq!(scene.claim_statement(&claim_at_later_root()), Err(again));
    assert_eq!(scene.owed(words[RECIPIENT]), words[AMOUNT]);
}

/// The replays above are refused as replays, not because these proofs don't hold.
#[test]
fn each_proof_of_the_statement_is_good_by_itself() {
    let statement = claim();
    let proofs = [claim_rerandomised().bytes(), negated(&statement.proof).to_bytes()];
    for proof in proofs {
        let Some(scene) = Scene::groth16() else { return };
        scene.claim(&statement.public_values(), &proof).unwrap();
    }
    let Some(scene) = Scene::groth16() else { return };
    scene.claim_statement(&claim_at_later_root()).unwrap();
}

#[test]
fn a_wrong_proof_is_refused() {
    let Some(scene) = Scene::groth16() else { return };
    let (claim, later) = (claim(), claim_at_later_root());
    // Of another statement.
    assert_eq!(scene.claim(&claim.public_values(), &later.bytes()), Err(rejected()));
    for at in 0..8 {
        let mut proof = claim.bytes();
        proof[32 * at + 31] ^= 1;
        assert_eq!(scene.claim(&claim.public_values(), &proof), Err(rejected()), "word {at}");
    }
    assert_eq!(scene.claim(&claim.public_values(), &[0; 256]), Err(rejected()));
    for length in [0, 255, 257] {
        let malformed = Revert::of("MalformedProof(uint256)", &[Word::from(length)]);
        assert_eq!(scene.claim(&claim.public_values(), &vec![1; length]), Err(malformed));
    }
    // None of it kept the good one from being taken.
    scene.claim_statement(&claim).unwrap();
}

#[test]
fn a_wrong_root_is_refused() {
    let Some(scene) = Scene::groth16() else { return };
    let claim = claim();
    let at_root = |root: Word| [root.as_bytes(), &claim.public_values()[32..]].concat();
    // One that the registry accepts, but not the proof's.
    assert_eq!(scene.claim(&at_root(claim_at_later_root().root()), &claim.bytes()), Err(rejected()));
    // One that the registry does not know.
    let unknown = Word([0x77; 32]);
    let refused = Revert::of("RootNotAccepted(bytes32)", &[unknown]);
    assert_eq!(scene.claim(&at_root(unknown), &claim.bytes()), Err(refused));
}

#[test]
fn a_root_that_is_not_or_no_longer_accepted_is_refused() {
    let Some(scene) = Scene::groth16() else { return };
    let claim = claim();
    scene.revoke(claim.root());
    let refused = Err(Revert::of("RootNotAccepted(bytes32)", &[claim.root()]));
    assert_eq!(scene.claim_statement(&claim), refused);

    let other = scene.chain.deploy("RootRegistry", &[scene.chain.account(0).argument()]);
    let arguments = [scene.verifier.argument(), other.argument(), Static(key().hash())];
    let payout = scene.chain.deploy("Payout", &arguments);
    assert_eq!(Scene { registry: other, payout, ..scene }.claim_statement(&claim), refused);
}

#[test]
fn a_wrong_output_is_refused() {
    let Some(scene) = Scene::groth16() else { return };
    let claim = claim();
    for signal in [AUDIENCE, NULLIFIER, RECIPIENT, AMOUNT] {
        let values = claim.public_values_with(signal, Word::from(1_000_001));
        assert_eq!(scene.claim(&values, &claim.bytes()), Err(rejected()), "signal {signal}");
    }
    let (values, malformed) = (claim.public_values(), |length| Revert::of("MalformedOutput(uint256)", &[length]));
    assert_eq!(scene.claim(&values[..160 - 32], &claim.bytes()), Err(malformed(Word::from(96))));
    assert_eq!(scene.claim(&[&values[..], &[0; 32]].concat(), &claim.bytes()), Err(malformed(Word::from(160))));
    assert_eq!(scene.claim(&[&values[..], &[0]].concat(), &claim.bytes()), Err(malformed(Word::from(129))));
    let short = Revert::of("TooShort(uint256)", &[Word::from(31)]);
    assert_eq!(scene.claim(&values[..31], &claim.bytes()), Err(short));
}

/// The value plus the field's order is the same to the circuit, and would be another nullifier.
#[test]
fn a_public_input_that_is_not_canonical_is_refused() {
    let Some(scene) = Scene::groth16() else { return };
    let claim = claim();
    scene.claim_statement(&claim).unwrap();
    for signal in [AUDIENCE, NULLIFIER, RECIPIENT, AMOUNT] {
        let beyond = beyond_scalar_field(claim.signals.words()[signal]);
        let values = claim.public_values_with(signal, beyond);
        let refused = if signal == NULLIFIER {
            Revert::of("NotInField(uint256,uint256)", &[Word::from(signal), beyond])
        } else {
            claimed(key().hash(), claim.signals.words()[NULLIFIER])
        };
        assert_eq!(scene.claim(&values, &claim.bytes()), Err(refused), "signal {signal}");
    }
    let Some(fresh) = Scene::groth16() else { return };
    for signal in [AUDIENCE, NULLIFIER, RECIPIENT, AMOUNT] {
        let beyond = beyond_scalar_field(claim.signals.words()[signal]);
        let refused = Revert::of("NotInField(uint256,uint256)", &[Word::from(signal), beyond]);
        assert_eq!(fresh.claim(&claim.public_values_with(signal, beyond), &claim.bytes()), Err(refused));
    }
}

#[test]
fn proofs_of_sp1_are_taken_by_the_same_application() {
    let Some((scene, mock)) = Scene::sp1() else { return };
    // The mock stands for a verifier that found these proofs good: the values are as a program would commit them.
    let (claim, proof) = (claim(), [7; 260]);
    let expect = |program: Word, values: &[u8]| {
        let expected = call("expect(bytes32,bytes,bytes)", &[Static(program), Bytes(values), Bytes(&proof)]);
        scene.chain.send(mock, &expected).unwrap();
    };
    let values = claim.public_values();
    // Of another program, or not good.
    expect(Word([0x5b; 32]), &values);
    assert_eq!(scene.claim(&values, &proof), Err(rejected()));
    // What SP1's own stand-in for development takes.
    for length in [0, 4] {
        let malformed = Revert::of("MalformedProof(uint256)", &[Word::from(length)]);
        assert_eq!(scene.claim(&values, &proof[..length]), Err(malformed));
    }
    expect(sp1_program(), &values);
    assert_eq!(scene.claim(&claim.public_values_with(AMOUNT, Word::from(1)), &proof), Err(rejected()));
    scene.claim(&values, &proof).unwrap();
    assert_eq!(scene.owed(claim.signals.words()[RECIPIENT]), claim.signals.words()[AMOUNT]);
    let again = claimed(sp1_program(), claim.signals.words()[NULLIFIER]);
    assert_eq!(scene.claim(&values, &proof), Err(again));
}

#[test]
fn what_a_good_proof_says_is_looked_at_too() {
    let Some((scene, mock)) = Scene::sp1() else { return };
    let (claim, proof) = (claim(), [7; 260]);
    let try_claim = |signal: usize, word: Word| {
        let values = claim.public_values_with(signal, word);
        let expected = call("expect(bytes32,bytes,bytes)", &[Static(sp1_program()), Bytes(&values), Bytes(&proof)]);
        scene.chain.send(mock, &expected).unwrap();
        scene.claim(&values, &proof)
    };
    let elsewhere = Word::from(1);
    assert_eq!(try_claim(AUDIENCE, elsewhere), Err(Revert::of("WrongAudience(uint256)", &[elsewhere])));
    let mut long = claim.signals.words()[RECIPIENT];
    long.0[11] = 1;
    assert_eq!(try_claim(RECIPIENT, long), Err(Revert::of("MalformedRecipient(uint256)", &[long])));
    let (much, there) = (Word::from(FUNDS + 1), Word::from(FUNDS));
    assert_eq!(try_claim(AMOUNT, much), Err(Revert::of("NotFunded(uint256,uint256)", &[much, there])));
    assert_eq!(
        try_claim(AMOUNT, Word([0xff; 32])),
        Err(Revert::of("NotFunded(uint256,uint256)", &[Word([0xff; 32]), there]))
    );
    try_claim(AMOUNT, there).unwrap();
    // All of it is promised now.
    let mut other = claim.public_values_with(NULLIFIER, Word::from(9));
    other[32 * (AMOUNT - 1)..].copy_from_slice(Word::from(1).as_bytes());
    let expected = call("expect(bytes32,bytes,bytes)", &[Static(sp1_program()), Bytes(&other), Bytes(&proof)]);
    scene.chain.send(mock, &expected).unwrap();
    let refused = Revert::of("NotFunded(uint256,uint256)", &[Word::from(1), Word::ZERO]);
    assert_eq!(scene.claim(&other, &proof), Err(refused));
}

#[test]
fn a_recipient_that_calls_back_is_paid_once() {
    let Some((scene, mock)) = Scene::sp1() else { return };
    let chain = &scene.chain;
    let thief = chain.deploy("ReentrantForTests", &[scene.payout.argument()]);
    let (values, proof) = (claim().public_values_with(RECIPIENT, thief.0), [7; 260]);
    let expected = call("expect(bytes32,bytes,bytes)", &[Static(sp1_program()), Bytes(&values), Bytes(&proof)]);
    chain.send(mock, &expected).unwrap();
    scene.claim(&values, &proof).unwrap();

    chain.send(thief, &call("withdraw()", &[])).unwrap();
    assert_eq!(chain.word(thief, "payments()", &[]), Word::from(1));
    let nothing = Revert::of("NothingOwed(address)", &[thief.0]);
    let refusal = chain.ask(thief, &call("refusal()", &[])).unwrap();
    assert_eq!(refusal[64..][..nothing.0.len()], nothing.0);
    let amount = claim().signals.words()[AMOUNT];
    let balance = chain.node.call("eth_getBalance", json!([thief.to_string(), "latest"])).unwrap();
    let digits = balance.as_str().unwrap().trim_start_matches("0x").to_owned();
    assert_eq!(Word::from_hex(&format!("{digits:0>64}")), Some(amount));
    assert_eq!((scene.owed(thief.0), chain.word(scene.payout, "totalOwed()", &[])), (Word::ZERO, Word::ZERO));
    // Who takes no ether keeps what it is owed.
    assert_eq!(
        chain.send(scene.payout, &call("withdraw()", &[])),
        Err(Revert::of("NothingOwed(address)", &[chain.account(0).0]))
    );
}
