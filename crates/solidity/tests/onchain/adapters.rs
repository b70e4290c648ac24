//! What stands between an application and a verifier.

use crate::{
    chain::{Chain, Revert},
    fixtures::{claim, key, sp1_program},
    scene::{adapter, claim_call, rejected},
};
use coprocessor_solidity::{
    Word,
    abi::{
        Argument::{Bytes, Static},
        call,
    },
    sp1_call, verify_call,
};

#[test]
fn both_groth16_verifiers_serve() {
    let Some(chain) = Chain::start() else { return };
    let statement = claim();
    for verifier in ["Verifier", "Groth16Verifier"] {
        let adapter = adapter(&chain, chain.deploy(verifier, &[]));
        let verify =
            |program: Word, values: &[u8]| chain.ask(adapter, &verify_call(&program, values, &statement.bytes()));
        verify(key().hash(), &statement.public_values()).unwrap();
        let other = Word([1; 32]);
        let unknown = Revert::of("UnknownProgram(bytes32)", &[other]);
        assert_eq!(verify(other, &statement.public_values()), Err(unknown));
        for words in [1, 4, 6] {
            let values = vec![0; 32 * words];
            let wrong = Revert::of("WrongSignalCount(uint256,uint256)", &[Word::from(6), Word::from(words + 1)]);
            assert_eq!(verify(key().hash(), &values), Err(wrong));
        }
    }
}

/// An answer other than the word 1 is no yes, nor is none.
#[test]
fn what_is_no_verifier_lets_nothing_pass() {
    let Some(chain) = Chain::start() else { return };
    let statement = claim();
    let verify = verify_call(&key().hash(), &statement.public_values(), &statement.bytes());
    let ask = |answer: &[u8]| {
        let liar = chain.deploy("AnswersForTests", &[Bytes(answer)]);
        chain.ask(adapter(&chain, liar), &verify)
    };
    ask(Word::from(1).as_bytes()).unwrap();
    let long = [Word::from(1).as_bytes(), &[0; 32][..]].concat();
    for answer in [&[][..], &[1], &[0; 32], Word::from(2).as_bytes(), &[0xff; 32], &long] {
        assert_eq!(ask(answer), Err(rejected()), "{answer:?}");
    }
    // A verifier for another number of signals has no such function.
    let other = chain.deploy("MockSP1VerifierForTests", &[]);
    assert_eq!(chain.ask(adapter(&chain, other), &verify), Err(rejected()));
}

#[test]
fn an_address_without_code_is_refused_from_the_start() {
    let Some(chain) = Chain::start() else { return };
    let nobody = chain.account(3);
    let none = Revert::of("NotAContract(address)", &[nobody.0]);
    let (there, word) = (chain.deploy("Verifier", &[]).argument(), Static(Word::from(6)));
    let refused: [(&str, &[_]); 7] = [
        ("Groth16Adapter", &[nobody.argument(), word, word]),
        ("SP1Adapter", &[nobody.argument()]),
        ("Program", &[nobody.argument()]),
        ("Payout", &[nobody.argument(), there, word]),
        ("Payout", &[there, nobody.argument(), word]),
        ("ProofRootUpdater", &[nobody.argument(), word, there]),
        ("ProofRootUpdater", &[there, word, nobody.argument()]),
    ];
    for (contract, arguments) in refused {
        assert_eq!(chain.refused_deployment(contract, arguments), none, "{contract}");
    }
    let few = chain.refused_deployment("Groth16Adapter", &[there, Static(Word::from(1)), word]);
    assert_eq!(few, Revert::of("TooFewSignals(uint256)", &[Word::from(1)]));
}

#[test]
fn an_sp1_program_has_a_contract_of_its_own() {
    let Some(chain) = Chain::start() else { return };
    let mock = chain.deploy("MockSP1VerifierForTests", &[]);
    let program = chain.deploy("Program", &[mock.argument()]);
    let (statement, proof) = (claim(), [3; 200]);
    let values = statement.public_values();
    let verified = |values: &[u8], proof: &[u8]| {
        chain.ask(program, &call("verified(bytes,bytes)", &[Bytes(values), Bytes(proof)]))
    };
    assert_eq!(verified(&values, &proof), Err(rejected()));
    let expected = |values: &[u8]| {
        let expect = call("expect(bytes32,bytes,bytes)", &[Static(sp1_program()), Bytes(values), Bytes(&proof)]);
        chain.send(mock, &expect).unwrap();
    };
    expected(&values);
    // The calldata that is written for SP1's own contract is what the mock was told of.
    chain.ask(mock, &sp1_call(&sp1_program(), &values, &proof)).unwrap();
    chain.ask(program, &verify_call(&sp1_program(), &values, &proof)).unwrap();
    let answer = verified(&values, &proof).unwrap();
    assert_eq!(answer[..32], *statement.root().as_bytes());
    assert_eq!(answer[64..96], Word::from(values.len() - 32).0);
    assert_eq!(answer[96..], values[32..]);

    let other = Word([1; 32]);
    let unknown = Revert::of("UnknownProgram(bytes32)", &[other]);
    assert_eq!(chain.ask(program, &verify_call(&other, &values, &proof)), Err(unknown));
    let malformed = Revert::of("MalformedProof(uint256)", &[Word::from(4)]);
    assert_eq!(verified(&values, &proof[..4]), Err(malformed));
    expected(&[1; 31]);
    assert_eq!(verified(&[1; 31], &proof), Err(Revert::of("TooShort(uint256)", &[Word::from(31)])));
    // An application takes it in the place of the adapter.
    let registry = chain.deploy("RootRegistry", &[chain.account(0).argument()]);
    chain.send(registry, &call("accept(bytes32)", &[Static(statement.root())])).unwrap();
    let arguments = [program.argument(), registry.argument(), Static(sp1_program())];
    let payout = chain.deploy_from(chain.account(9), "Payout", &arguments);
    chain.fund(payout, 1_000_000_000_000_000);
    chain.send(payout, &claim_call(&values, &proof)).unwrap();
}
