//! Constraints and witnesses as circom and its generators write them, and bundles.

use super::circom;
use crate::{Input, Seed, Target, Writer};
use coprocessor_groth16::{Bundle, R1cs, Witness};

pub(crate) const TARGET: Target =
    Target { name: "r1cs", about: "groth16: constraints, witnesses and bundles of circom circuits", run, seeds };

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(3) {
        0 => constraints(input.rest()),
        1 => witness(input.rest()),
        _ => bundle(input.rest()),
    }
}

/// What is read is no larger than its file, and can be checked against any witness.
fn constraints(data: &[u8]) {
    let Ok(read) = R1cs::read(data) else { return };
    assert!(
        read.constraints() * 12 <= data.len() && read.wires() * 8 <= data.len(),
        "{read:?} of {} bytes",
        data.len()
    );
    assert!(read.public_values() + read.private_inputs() < read.wires());
    let mut values = vec![0; 32 * read.wires()];
    values[0] = 1;
    let one = Witness::from_bytes(&values).expect("zeros and a one are values");
    let _ = read.check(&one);
    values.truncate(32 * (read.wires() - 1));
    if let Ok(shorter) = Witness::from_bytes(&values) {
        assert!(read.check(&shorter).is_err(), "a witness of another length is none");
    }
}

/// Each value has one form, and is below the modulus: what is read is what stands at the end of the file.
fn witness(data: &[u8]) {
    let Ok(read) = Witness::read(data) else { return };
    let values: Vec<u8> = read.values().iter().flat_map(|value| value.to_bytes()).collect();
    assert!(data.windows(values.len()).any(|there| there == values), "values that are not in the file");
    assert_eq!(Witness::from_bytes(&values).as_ref(), Ok(&read));
    let circuit = R1cs::read(&circom::r1cs()).expect("it is written as circom does");
    let small: Vec<_> = values.chunks_exact(32).map_while(small).collect();
    if let [one, a, b, product] = small[..] {
        assert_eq!(circuit.check(&read).is_ok(), one == 1 && u128::from(a) * u128::from(b) == product.into());
    } else if values.len() != 4 * 32 {
        assert!(circuit.check(&read).is_err(), "a witness of another length is none");
    }
}

/// A value that 64 bits hold.
fn small(value: &[u8]) -> Option<u64> {
    let (low, high) = value.split_first_chunk()?;
    high.iter().all(|byte| *byte == 0).then_some(u64::from_le_bytes(*low))
}

fn bundle(data: &[u8]) {
    let Ok(read) = Bundle::read(data) else { return };
    assert!(Bundle::is_one(data));
    assert_eq!(read.to_bytes(), data, "two encodings of one bundle");
}

fn seeds() -> Vec<Seed> {
    let files = |r1cs: &[u8]| Bundle { r1cs, zkey: b"zkey", generator: b"wasm" }.to_bytes();
    let of = |kind: u8, bytes: &[u8]| Writer::new().byte(kind).bytes(bytes);
    let mut cut = circom::r1cs();
    cut.truncate(100);
    vec![
        of(0, &circom::r1cs()).seed("constraints"),
        of(0, &cut).seed("constraints-cut"),
        of(1, &circom::wtns()).seed("witness"),
        of(2, &files(b"r1cs")).seed("bundle"),
        of(2, &files(b"")).seed("bundle-of-nothing"),
    ]
}
