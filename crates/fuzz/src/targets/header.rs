//! Headers of Ethereum blocks, against a plain reader of RLP.

use super::rlp;
use crate::{Seed, Target};
use coprocessor_ethereum::{Header, MAX_HEADER, keccak256};

pub(crate) const TARGET: Target = Target { name: "header", about: "ethereum: block headers in RLP", run, seeds };

/// Lengths of the first fields; `None` for numbers and for extra data.
const LENGTHS: [Option<usize>; 15] = [
    Some(32),
    Some(32),
    Some(20),
    Some(32),
    Some(32),
    Some(32),
    Some(256),
    None,
    None,
    None,
    None,
    None,
    None,
    Some(32),
    Some(8),
];
const STATE_ROOT: usize = 3;
const DIFFICULTY: usize = 7;
const NUMBER: usize = 8;
const TIMESTAMP: usize = 11;

fn run(data: &[u8]) {
    let read = Header::from_rlp(data);
    let expected = rlp::strings(data).filter(|fields| data.len() <= MAX_HEADER && are_header(fields));
    let (header, fields) = match (&read, &expected) {
        (Ok(header), Some(fields)) => (header, fields),
        (Err(_), None) => return,
        _ => panic!("read {read:?}, while a plain reader found {expected:?}"),
    };
    assert_eq!(header.hash(), keccak256(data));
    assert_eq!(header.parent_hash().as_slice(), fields[0]);
    assert_eq!(header.state_root().as_slice(), fields[STATE_ROOT]);
    assert_eq!(header.transactions_root().as_slice(), fields[4]);
    assert_eq!(header.receipts_root().as_slice(), fields[5]);
    assert_eq!(Some(header.number()), number(fields[NUMBER], 8));
    assert_eq!(Some(header.timestamp()), number(fields[TIMESTAMP], 8));
}

fn are_header(fields: &[&[u8]]) -> bool {
    let lengths = fields.iter().zip(LENGTHS).all(|(field, length)| length.is_none_or(|length| field.len() == length));
    let small = [NUMBER, 9, 10, TIMESTAMP];
    (15..=47).contains(&fields.len())
        && lengths
        && number(fields[DIFFICULTY], 32).is_some()
        && small.iter().all(|at| number(fields[*at], 8).is_some())
}

/// A number without leading zeros, of at most so many bytes; of those longer than eight only the end.
fn number(bytes: &[u8], most: usize) -> Option<u64> {
    let proper = bytes.len() <= most && bytes.first() != Some(&0);
    proper.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A header with that state root, and that many fields after the first release's.
pub(crate) fn header(state_root: [u8; 32], later: usize) -> Vec<u8> {
    let mut fields: Vec<Vec<u8>> = LENGTHS.iter().map(|length| rlp::string(&vec![0x11; length.unwrap_or(2)])).collect();
    fields[STATE_ROOT] = rlp::string(&state_root);
    fields.extend((0..later).map(|at| rlp::string(&vec![0x22; at % 33])));
    rlp::list(&fields)
}

fn seeds() -> Vec<Seed> {
    let short = |change: fn(&mut Vec<u8>)| {
        let mut bytes = header([3; 32], 0);
        change(&mut bytes);
        bytes
    };
    vec![
        ("first-release".into(), header([1; 32], 0)),
        ("today".into(), header([2; 32], 6)),
        ("many-fields".into(), header([2; 32], 33)),
        ("truncated".into(), short(|bytes| bytes.truncate(500))),
        ("followed".into(), short(|bytes| bytes.push(0x80))),
        ("of-a-list".into(), rlp::list(&[rlp::list(&[])])),
    ]
}
