//! Splitting what a proof says, in both forms.

use crate::{
    chain::{Address, Chain, Revert},
    fixtures::{SCALAR_FIELD, claim},
};
use coprocessor_solidity::{
    Word,
    abi::{Argument::Bytes, call, selector},
};

struct Library {
    chain: Chain,
    at: Address,
}

impl Library {
    fn start() -> Option<Self> {
        let chain = Chain::start()?;
        let at = chain.deploy("PublicValuesForTests", &[]);
        Some(Self { chain, at })
    }

    fn bytes(&self, signature: &str, values: &[u8]) -> Result<Vec<Word>, Revert> {
        self.chain.ask(self.at, &call(signature, &[Bytes(values)])).map(|answer| words(&answer))
    }

    fn signals(&self, signals: &[Word]) -> Result<Vec<Word>, Revert> {
        let mut data = selector("splitSignals(uint256[])").to_vec();
        let head = [Word::from(32), Word::from(signals.len())];
        data.extend(head.iter().chain(signals).flat_map(|word| word.0));
        self.chain.ask(self.at, &data).map(|answer| words(&answer))
    }
}

fn words(bytes: &[u8]) -> Vec<Word> {
    bytes.chunks(32).map(|word| Word(word.try_into().expect("whole words"))).collect()
}

#[test]
fn both_forms_say_the_same() {
    let Some(library) = Library::start() else { return };
    let claim = claim();
    let (values, signals) = (claim.public_values(), claim.signals.words());
    let (head, outputs) = ([claim.root(), Word::from(64)], &signals[2..]);

    let split = library.bytes("split(bytes)", &values).unwrap();
    assert_eq!(split, [&head[..], &[Word::from(128)], outputs].concat());
    assert_eq!(library.signals(signals).unwrap(), [&head[..], &[Word::from(4)], outputs].concat());
    let joined = library.bytes("toSignals(bytes)", &values).unwrap();
    assert_eq!(joined, [&[Word::from(32), Word::from(6)], signals].concat());
}

#[test]
fn an_output_may_be_empty() {
    let Some(library) = Library::start() else { return };
    let root = [0xab; 32];
    let half = Word([[0; 16], [0xab; 16]].concat().try_into().unwrap());
    assert_eq!(library.bytes("split(bytes)", &root).unwrap(), [Word(root), Word::from(64), Word::ZERO]);
    assert_eq!(library.signals(&[half, half]).unwrap(), [Word(root), Word::from(64), Word::ZERO]);
    assert_eq!(library.bytes("toSignals(bytes)", &root).unwrap(), [Word::from(32), Word::from(2), half, half]);
}

#[test]
fn what_is_too_short_is_refused() {
    let Some(library) = Library::start() else { return };
    for length in [0, 31] {
        let short = Err(Revert::of("TooShort(uint256)", &[Word::from(length)]));
        assert_eq!(library.bytes("split(bytes)", &vec![1; length]), short);
        assert_eq!(library.bytes("toSignals(bytes)", &vec![1; length]), short);
    }
    let cut = Revert::of("NotWholeWords(uint256)", &[Word::from(33)]);
    assert_eq!(library.bytes("toSignals(bytes)", &[0; 65]), Err(cut));
    for count in [0, 1] {
        let few = Revert::of("TooFewSignals(uint256)", &[Word::from(count)]);
        assert_eq!(library.signals(&vec![Word::from(1); count]), Err(few));
    }
}

/// The bounds, each from both sides.
#[test]
fn every_value_has_one_way_to_be_written() {
    let Some(library) = Library::start() else { return };
    let field = Word::from_hex(SCALAR_FIELD).unwrap();
    let mut below = field;
    below.0[31] -= 1;
    let largest = Word([[0; 16], [0xff; 16]].concat().try_into().unwrap());
    let mut beyond = Word::ZERO;
    beyond.0[15] = 1;

    assert!(library.signals(&[largest, largest, below]).is_ok());
    for bad in [beyond, field, Word([0xff; 32])] {
        let refused = Err(Revert::of("RootHalfTooLarge(uint256)", &[bad]));
        assert_eq!(library.signals(&[bad, largest, below]), refused);
        assert_eq!(library.signals(&[largest, bad, below]), refused);
    }
    for bad in [field, Word([0xff; 32])] {
        for at in [2, 3] {
            let mut signals = [largest, largest, below, below];
            signals[at] = bad;
            let refused = Err(Revert::of("NotInField(uint256,uint256)", &[Word::from(at), bad]));
            assert_eq!(library.signals(&signals), refused);
            let values = [&[0xff; 32][..], signals[2].as_bytes(), signals[3].as_bytes()].concat();
            assert_eq!(library.bytes("toSignals(bytes)", &values), refused);
            // Bytes that are no signals are any bytes.
            assert!(library.bytes("split(bytes)", &values).is_ok());
        }
    }
}
