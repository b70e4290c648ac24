//! Proving keys from strangers.

use crate::examples::{Example, THRESHOLD};
use crate::file::{File, put};
use crate::r1cs::MODULUS;
use coprocessor_groth16::{FileError, Fr, KeyError, ProveError, ProvingKey, R1cs, Unsatisfied, ZKey};
use halo2curves::bn256::{Fq, Fq2, G1Affine, G2Affine};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::serde::SerdeObject;
use proptest::prelude::*;

/// A point of the twist outside the group, as JSON has its coordinates.
pub(crate) const OUTSIDE_X: [&str; 2] = ["1", "0"];
pub(crate) const OUTSIDE_Y: [&str; 2] = [
    "18278151005453108793778860132295291098363647455926340152056652516292830556603",
    "5912654199736721486680175016176231956195085055698687135131307249486702594212",
];

/// Where the header's points begin.
const ALPHA: usize = 84;
const BETA_G2: usize = ALPHA + 128;
const DELTA_G1: usize = BETA_G2 + 256;
const DELTA_G2: usize = DELTA_G1 + 64;

fn outside() -> Vec<u8> {
    let number = |[c0, c1]: [&str; 2]| Fq2::new(Fq::from_str_vartime(c0).unwrap(), Fq::from_str_vartime(c1).unwrap());
    let point = G2Affine { x: number(OUTSIDE_X), y: number(OUTSIDE_Y) };
    // It is on the curve.
    assert!(G2Affine::from_raw_bytes(&point.to_raw_bytes()).is_some());
    point.to_raw_bytes()
}

fn file() -> File {
    File::of(&THRESHOLD.zkey)
}

fn refused(bytes: &[u8]) -> FileError {
    ZKey::read(bytes).unwrap_err()
}

fn r1cs() -> R1cs {
    R1cs::read(&THRESHOLD.r1cs).unwrap()
}

#[test]
fn what_is_wrong_with_its_header_is_said() {
    let file = file();
    let header = |at: usize, number: u32| refused(&file.with(2, |bytes| put(bytes, at, number)));
    assert_eq!(refused(&file.with(1, |bytes| bytes[0] = 2)), FileError::ProofSystem { got: 2 });
    assert!(matches!(header(0, 48), FileError::Field { .. }));
    assert!(matches!(header(4, 1), FileError::Field { .. }));
    assert!(matches!(header(40, 1), FileError::Field { .. }));
    assert!(matches!(header(72, 4), FileError::Count { what: "the number of wires", got: 4, .. }));
    assert!(matches!(header(72, u32::MAX), FileError::SectionLength { name: "A", .. }));
    assert!(matches!(header(76, 5), FileError::SectionLength { name: "IC", .. }));
    for domain in [0, 511, 1 << 28, u32::MAX] {
        assert!(matches!(header(80, domain), FileError::Count { what: "the domain", .. }), "{domain}");
    }
    assert!(matches!(header(80, 1024), FileError::SectionLength { name: "H", .. }));
    assert!(matches!(refused(&file.with(2, |bytes| bytes.push(0))), FileError::LeftOver { bytes: 1, .. }));
    assert!(matches!(refused(&file.with(2, |bytes| bytes.truncate(bytes.len() - 1))), FileError::Truncated { .. }));
    for at in (0..THRESHOLD.zkey.len()).step_by(9973) {
        assert!(ZKey::read(&THRESHOLD.zkey[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn its_secrets_are_points_that_fit_each_other() {
    let file = file();
    let change = |at: usize, to: &[u8]| refused(&file.with(2, |bytes| bytes[at..at + to.len()].copy_from_slice(to)));
    assert_eq!(change(ALPHA, &[0; 64]), FileError::Infinity { what: "alpha", index: 0 });
    assert_eq!(change(BETA_G2, &[0; 128]), FileError::Infinity { what: "beta", index: 0 });
    assert_eq!(change(ALPHA, &[1; 64]), FileError::Point { what: "alpha", index: 0 });
    for (at, what) in [(BETA_G2, "beta"), (BETA_G2 + 128, "gamma"), (DELTA_G2, "delta")] {
        assert_eq!(change(at, &outside()), FileError::Point { what, index: 0 });
    }
    let generator = G1Affine::generator().to_raw_bytes();
    assert_eq!(change(ALPHA + 64, &generator), FileError::Unequal { what: "beta" });
    assert_eq!(change(DELTA_G1, &generator), FileError::Unequal { what: "delta" });
    let last = file.with(10, |bytes| bytes[68..132].copy_from_slice(&generator));
    assert_eq!(refused(&last), FileError::Unequal { what: "delta, and that of the last contribution," });
}

#[test]
fn each_of_its_points_is_in_its_group() {
    let file = file();
    for (id, what, size) in [(3, "IC", 64), (5, "A", 64), (6, "B1", 64), (7, "B2", 128), (8, "C", 64), (9, "H", 64)] {
        for index in [0, 3] {
            let off = file.with(id, |bytes| bytes[index * size..][..size].fill(1));
            assert_eq!(refused(&off), FileError::Point { what, index: index as u64 });
        }
        let longer = file.with(id, |bytes| bytes.extend(vec![0; size]));
        assert!(matches!(refused(&longer), FileError::SectionLength { name, .. } if name == what));
    }
    let out = file.with(7, |bytes| bytes[2 * 128..3 * 128].copy_from_slice(&outside()));
    assert_eq!(refused(&out), FileError::Point { what: "B2", index: 2 });
    // Without its point a public value could be anything.
    for index in 0..5 {
        let unbound = file.with(3, |bytes| bytes[index * 64..][..64].fill(0));
        assert_eq!(refused(&unbound), FileError::Infinity { what: "IC", index: index as u64 });
    }
}

#[test]
fn its_matrices_are_in_bounds_and_canonical() {
    let file = file();
    let entry = |at: usize, number: u32| refused(&file.with(4, |bytes| put(bytes, 4 + at, number)));
    assert!(matches!(entry(0, 2), FileError::Count { what: "a matrix of an entry", got: 2, .. }));
    assert!(matches!(entry(4, 512), FileError::Count { what: "a row of an entry", got: 512, .. }));
    assert!(matches!(entry(8, 435), FileError::Count { what: "a wire of an entry", got: 435, .. }));
    let count = refused(&file.with(4, |bytes| put(bytes, 0, u32::MAX)));
    assert!(matches!(count, FileError::SectionLength { name: "matrices", .. }));
    let above = refused(&file.with(4, |bytes| bytes[16..48].copy_from_slice(&MODULUS)));
    assert_eq!(above, FileError::NotCanonical { file: "zkey", what: "matrices", index: 0 });
}

#[test]
fn contributions_are_read_as_strictly() {
    let file = file();
    let change = |at: usize, byte: u8| refused(&file.with(10, |bytes| bytes[at] = byte));
    assert!(matches!(change(64, 2), FileError::Count { what: "the number of contributions", got: 2, .. }));
    assert!(matches!(change(68, 0xff), FileError::Point { what: "contributions", index: 0 }));
    let (kind, length) = (68 + 384, 68 + 388);
    assert!(matches!(change(kind, 9), FileError::Count { what: "a kind within a contribution", got: 9, .. }));
    assert!(matches!(change(length, 255), FileError::Truncated { .. }));
    assert!(matches!(change(length, 5), FileError::LeftOver { what: "a contribution", .. }));
    assert!(matches!(change(length + 4, 7), FileError::Count { got: 7, .. }));
    assert!(matches!(change(length + 6, 0xff), FileError::NotText { .. }));

    let real = file.with(10, |bytes| bytes[length + 6] = b'D');
    let real = ZKey::read(&real).unwrap();
    assert!(!real.is_for_development(), "{:?}", real.contributions());
}

#[test]
fn a_key_of_another_circuit_is_refused() {
    let other = Example::load("membership");
    let made = ProvingKey::new(r1cs(), ZKey::read(&other.zkey).unwrap());
    assert_eq!(made.unwrap_err(), KeyError::Size { what: "number of wires", zkey: 2402, r1cs: 435 });

    // One of equal shape: a coefficient differs, or a wire, or whether there is a term.
    let file = file();
    let entries = (file.clone().section(4).len() - 4) / 44;
    let made = |bytes: &[u8]| ProvingKey::new(r1cs(), ZKey::read(bytes).unwrap()).map(|_| ());
    let one = file.with(4, |bytes| bytes[16] ^= 1);
    assert_eq!(made(&one), Err(KeyError::Constraint { matrix: 'A', row: 0 }));
    let fewer = file.with(4, |bytes| {
        put(bytes, 0, entries as u32 - 1);
        bytes.truncate(bytes.len() - 44);
    });
    assert_eq!(made(&fewer), Err(KeyError::Constraint { matrix: 'A', row: 436 }));
    let second = file.with(4, |bytes| {
        let at = (0..entries).map(|entry| 4 + 44 * entry).find(|at| bytes[*at] == 1).unwrap();
        let wire = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
        put(bytes, at + 8, wire ^ 1);
    });
    assert!(matches!(made(&second), Err(KeyError::Constraint { matrix: 'B', .. })));
    // Another order is no other circuit.
    let turned = file.with(4, |bytes| {
        let entries: Vec<_> = bytes[4..].chunks(44).rev().flatten().copied().collect();
        bytes[4..].copy_from_slice(&entries);
    });
    assert_eq!(made(&turned), Ok(()));
}

/// The right sides are in a key's points alone. So are damages that leave points on the curve.
#[test]
fn a_key_that_only_proofs_can_tell_from_the_circuits_makes_none() {
    let circuit = crate::snarkjs::small();
    let Some((r1cs, zkey, witness)) = circuit else { return };
    let file = File::of(&zkey);
    let swapped = file.with(8, |bytes| {
        let (first, rest) = bytes.split_at_mut(64);
        first.swap_with_slice(&mut rest[..64]);
    });
    let key = |zkey: &[u8]| ProvingKey::new(R1cs::read(&r1cs).unwrap(), ZKey::read(zkey).unwrap()).unwrap();
    assert!(key(&zkey).prove(&witness).is_ok());
    assert_eq!(key(&swapped).prove(&witness).unwrap_err(), ProveError::KeyOfAnother);
    let mut values: Vec<u8> = witness.values().iter().flat_map(Fr::to_bytes).collect();
    let last = values.len() - 32;
    values[last..].copy_from_slice(&(witness.values().last().unwrap() + Fr::ONE).to_bytes());
    let other = coprocessor_groth16::Witness::from_bytes(&values).unwrap();
    assert!(matches!(key(&zkey).prove(&other), Err(ProveError::Unsatisfied(Unsatisfied::Constraint { .. }))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_bytes_make_it_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = THRESHOLD.zkey.clone();
        for (at, byte) in edits {
            // Mostly where the structure is.
            let at = at.index(bytes.len() * 2);
            let at = if at < bytes.len() { at } else { at % 900 };
            bytes[at] = byte;
        }
        if let Ok(read) = ZKey::read(&bytes) {
            let _ = ProvingKey::new(r1cs(), read);
        }
    }
}
