//! The verifier that is written here beside the one that snarkjs writes: they say the same of good and of bad proofs.

use crate::{
    chain::{Address, Chain, Revert},
    fixtures::{
        Statement, beyond_base_field, beyond_scalar_field, claim, claim_at_later_root, claim_rerandomised, negated,
    },
};
use coprocessor_solidity::Word;

/// `verifyProof`'s calldata: a selector, eight words of the proof, the signals.
#[derive(Clone)]
struct Call {
    selector: [u8; 4],
    words: Vec<Word>,
}

const PROOF_WORDS: usize = 8;

impl Call {
    fn of(statement: &Statement) -> Self {
        let data = statement.proof.call(&statement.signals);
        let (selector, words) = data.split_first_chunk().unwrap();
        let words = words.chunks(32).map(|word| Word(word.try_into().unwrap())).collect();
        Self { selector: *selector, words }
    }

    fn with(&self, at: usize, change: impl FnOnce(Word) -> Word) -> Self {
        let mut changed = self.clone();
        changed.words[at] = change(changed.words[at]);
        changed
    }

    fn data(&self) -> Vec<u8> {
        self.selector.into_iter().chain(self.words.iter().flat_map(|word| word.0)).collect()
    }
}

/// A proof that says something else, or the same in a way that must not pass; and what was changed.
fn bad(good: &Call) -> Vec<(String, Call)> {
    let flipped = |mut word: Word| {
        word.0[31] ^= 1;
        word
    };
    let mut all = Vec::new();
    for at in 0..good.words.len() {
        all.push((format!("word {at} flipped"), good.with(at, flipped)));
        all.push((format!("word {at} largest"), good.with(at, |_| Word([0xff; 32]))));
        let beyond = if at < PROOF_WORDS { beyond_base_field } else { beyond_scalar_field };
        all.push((format!("word {at} beyond its field"), good.with(at, beyond)));
    }
    for at in 0..PROOF_WORDS {
        all.push((format!("word {at} zero"), good.with(at, |_| Word::ZERO)));
    }
    // The parts of b's coordinates the other way round, and points at infinity.
    for swapped in [[2, 3], [4, 5]] {
        let mut call = good.clone();
        call.words.swap(swapped[0], swapped[1]);
        all.push((format!("words {swapped:?} swapped"), call));
    }
    for infinite in [0..2, 2..6, 6..8, 0..8] {
        let mut call = good.clone();
        call.words[infinite.clone()].fill(Word::ZERO);
        all.push((format!("words {infinite:?} zero"), call));
    }
    all
}

/// Asserts that both verifiers answer alike to each call: yes to the good ones, no to the bad ones.
pub(crate) fn assert_agreement(chain: &Chain, verifiers: [Address; 2], good: &[Statement]) {
    let [yes, no] = [1, 0].map(|answer| Ok(Word::from(answer).0.to_vec()));
    let answers = |call: &Call| verifiers.map(|verifier| chain.ask(verifier, &call.data()));
    for (at, statement) in good.iter().enumerate() {
        let call = Call::of(statement);
        assert_eq!(answers(&call), [yes.clone(), yes.clone()], "good proof {at}");
        let cut = [&call.data()[..call.data().len() - 1]].map(|data| verifiers.map(|to| chain.ask(to, data)));
        assert_eq!(cut, [[Err(Revert(vec![])), Err(Revert(vec![]))]], "cut proof {at}");
    }
    for (what, call) in bad(&Call::of(&good[0])) {
        assert_eq!(answers(&call), [no.clone(), no.clone()], "{what}");
    }
}

#[test]
fn ours_and_snarkjs_say_the_same() {
    let Some(chain) = Chain::start() else { return };
    let verifiers = ["Verifier", "Groth16Verifier"].map(|contract| chain.deploy(contract, &[]));
    let (one, later) = (claim(), claim_at_later_root());
    let turned = Statement { proof: negated(&one.proof), ..one.clone() };
    let good = [one.clone(), later.clone(), claim_rerandomised(), turned];
    assert_agreement(&chain, verifiers, &good);

    let crossed = Call::of(&Statement { proof: later.proof, ..one });
    for verifier in verifiers {
        assert_eq!(chain.ask(verifier, &crossed.data()), Ok(Word::ZERO.0.to_vec()));
    }
}
