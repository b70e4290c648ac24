//! Constraints from strangers, and circuits made by chance.

use crate::examples::THRESHOLD;
use crate::file::{File, put};
use coprocessor_groth16::{FileError, Fr, R1cs, Unsatisfied, Witness};
use proptest::prelude::*;

/// The field's modulus, little-endian.
pub(crate) const MODULUS: [u8; 32] = [
    0x01, 0x00, 0x00, 0xf0, 0x93, 0xf5, 0xe1, 0x43, 0x91, 0x70, 0xb9, 0x79, 0x48, 0xe8, 0x33, 0x28, 0x5d, 0x58, 0x81,
    0x81, 0xb6, 0x45, 0x50, 0xb8, 0x29, 0xa0, 0x31, 0xe1, 0x72, 0x4e, 0x64, 0x30,
];

type Terms = Vec<(u32, Fr)>;

/// A circuit, and a witness of it.
#[derive(Clone, Debug)]
pub(crate) struct Circuit {
    pub(crate) public_outputs: u32,
    pub(crate) public_inputs: u32,
    pub(crate) constraints: Vec<[Terms; 3]>,
    pub(crate) witness: Vec<Fr>,
}

impl Circuit {
    /// As circom writes it.
    pub(crate) fn r1cs(&self) -> Vec<u8> {
        let mut file = File::new(b"r1cs", 1);
        let wires = self.witness.len() as u32;
        let private = wires - 1 - self.public_outputs - self.public_inputs;
        let mut header = [&32u32.to_le_bytes()[..], &MODULUS].concat();
        for number in [wires, self.public_outputs, self.public_inputs, private] {
            header.extend(number.to_le_bytes());
        }
        header.extend(u64::from(wires).to_le_bytes());
        header.extend((self.constraints.len() as u32).to_le_bytes());
        let mut constraints = Vec::new();
        for terms in self.constraints.iter().flatten() {
            constraints.extend((terms.len() as u32).to_le_bytes());
            for (wire, coefficient) in terms {
                constraints.extend(wire.to_le_bytes());
                constraints.extend(coefficient.to_bytes());
            }
        }
        file.sections =
            vec![(1, header), (2, constraints), (3, (0..u64::from(wires)).flat_map(u64::to_le_bytes).collect())];
        file.bytes()
    }

    /// As snarkjs writes it.
    pub(crate) fn wtns(&self) -> Vec<u8> {
        let mut file = File::new(b"wtns", 2);
        let header = [&32u32.to_le_bytes()[..], &MODULUS, &(self.witness.len() as u32).to_le_bytes()].concat();
        file.sections = vec![(1, header), (2, self.witness.iter().flat_map(|value| value.to_bytes()).collect())];
        file.bytes()
    }
}

/// Each constraint multiplies two sums over wires before, and makes one wire of the product; some rows are empty, some wires in none.
pub(crate) fn circuits() -> impl Strategy<Value = Circuit> {
    let number = prop_oneof![0u64..3, any::<u64>()].prop_map(|number| Fr::from(number) - Fr::from(1));
    let sum = prop::collection::vec((any::<prop::sample::Index>(), number.clone()), 0..4);
    let given = prop::collection::vec(number, 2..6);
    (0u32..3, 0u32..3, given, prop::collection::vec((sum.clone(), sum), 1..40)).prop_map(
        |(outputs, inputs, given, rows)| {
            let mut circuit = Circuit {
                public_outputs: 2 + outputs,
                public_inputs: inputs,
                constraints: Vec::new(),
                witness: vec![Fr::from(1)],
            };
            // Public wires that no constraint makes anything of are bound all the same.
            circuit
                .witness
                .extend((0..circuit.public_outputs + circuit.public_inputs).map(|at| Fr::from(u64::from(at) * 77)));
            circuit.witness.extend(given);
            for (a, b) in rows {
                let wires = circuit.witness.len();
                let terms = |sum: Vec<(prop::sample::Index, Fr)>| {
                    let mut terms: Terms = sum.into_iter().map(|(at, value)| (at.index(wires) as u32, value)).collect();
                    terms.sort_by_key(|(wire, _)| *wire);
                    terms.dedup_by_key(|(wire, _)| *wire);
                    terms
                };
                let (a, b) = (terms(a), terms(b));
                let value =
                    |terms: &Terms| terms.iter().map(|(wire, by)| circuit.witness[*wire as usize] * by).sum::<Fr>();
                let product = value(&a) * value(&b);
                circuit.witness.push(product);
                circuit.constraints.push([a, b, vec![(wires as u32, Fr::from(1))]]);
            }
            circuit
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn circuits_are_read_as_written_and_hold_for_their_witness_alone(circuit in circuits(), at: prop::sample::Index) {
        let read = R1cs::read(&circuit.r1cs()).unwrap();
        prop_assert_eq!((read.constraints(), read.wires()), (circuit.constraints.len(), circuit.witness.len()));
        prop_assert_eq!(read.public_values() as u32, circuit.public_outputs + circuit.public_inputs);
        let witness = Witness::read(&circuit.wtns()).unwrap();
        prop_assert_eq!(read.check(&witness), Ok(()));

        // The wire that a constraint makes has another value: that constraint fails, and none before it.
        let row = at.index(circuit.constraints.len());
        let mut other = circuit.clone();
        let made = other.constraints[row][2][0].0 as usize;
        other.witness[made] += Fr::from(1);
        let witness = Witness::read(&other.wtns()).unwrap();
        let failed = Unsatisfied::Constraint { index: row, of: circuit.constraints.len() };
        prop_assert_eq!(read.check(&witness), Err(failed));

        other.witness.pop();
        let witness = Witness::read(&other.wtns()).unwrap();
        let expected = read.wires();
        prop_assert_eq!(read.check(&witness), Err(Unsatisfied::Length { got: expected - 1, expected }));
    }

    #[test]
    fn no_bytes_make_it_panic(circuit in circuits(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut: prop::sample::Index) {
        let mut bytes = circuit.r1cs();
        let cut = cut.index(bytes.len());
        prop_assert!(R1cs::read(&bytes[..cut]).is_err());
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = R1cs::read(&bytes) {
            let witness = Witness::read(&circuit.wtns()).unwrap();
            let _ = read.check(&witness);
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let file = File::of(&THRESHOLD.r1cs);
    let refused = |bytes: &[u8]| R1cs::read(bytes).unwrap_err();
    let header = |at: usize, number: u32| refused(&file.with(1, |bytes| put(bytes, at, number)));
    let count =
        |what, got, expected: &str| FileError::Count { file: "r1cs file", what, got, expected: expected.into() };

    assert!(matches!(refused(b"elf\x7f\x01\0\0\0\0\0\0\0"), FileError::Magic { got: [b'e', ..], .. }));
    assert!(matches!(refused(b""), FileError::Truncated { needed: 4, left: 0, .. }));
    let mut other = file.clone();
    other.head[4] = 2;
    assert_eq!(refused(&other.bytes()), FileError::Version { file: "r1cs file", got: 2, expected: 1 });
    let mut other = file.clone();
    other.sections.push(file.sections[0].clone());
    assert_eq!(refused(&other.bytes()), FileError::SectionTwice { file: "r1cs file", id: file.sections[0].0 });
    let mut other = file.clone();
    other.sections.push((77, Vec::new()));
    assert_eq!(refused(&other.bytes()), FileError::UnknownSection { file: "r1cs file", id: 77 });
    let mut other = file.clone();
    other.sections.retain(|(id, _)| *id != 2);
    assert_eq!(refused(&other.bytes()), FileError::NoSection { file: "r1cs file", id: 2, name: "constraints" });
    let mut other = file.clone();
    other.sections.push((4, vec![1, 0, 0, 0]));
    assert_eq!(refused(&other.bytes()), FileError::CustomGates);
    let left = [&THRESHOLD.r1cs[..], &[0]].concat();
    assert!(matches!(refused(&left), FileError::LeftOver { bytes: 1, .. }));

    assert!(matches!(header(0, 48), FileError::Field { .. }));
    assert!(matches!(header(4, 5), FileError::Field { .. }));
    assert!(matches!(header(36, 3), FileError::Count { what: "the number of wires", got: 3, .. }));
    assert!(matches!(header(36, u32::MAX), FileError::SectionLength { name: "labels of wires", .. }));
    assert!(matches!(header(48, u32::MAX), FileError::Count { what: "the number of wires", .. }));
    assert!(matches!(header(52, 0), FileError::Count { what: "a wire's label", .. }));
    assert!(matches!(header(60, u32::MAX), FileError::Count { what: "the number of constraints", .. }));
    assert!(matches!(header(60, 1), FileError::LeftOver { what: "constraints", .. }));

    let body = |at: usize, number: u32| refused(&file.with(2, |bytes| put(bytes, at, number)));
    assert!(matches!(body(0, u32::MAX), FileError::Count { what: "the number of terms of a constraint", .. }));
    assert_eq!(body(4, 435), count("a wire of a constraint", 435, "less than 435"));
    let above = file.with(2, |bytes| bytes[8..40].copy_from_slice(&MODULUS));
    assert_eq!(refused(&above), FileError::NotCanonical { file: "r1cs file", what: "coefficient", index: 0 });
}

#[test]
fn a_witness_is_canonical_and_begins_with_one() {
    let file = |values: &[[u8; 32]]| Witness::from_bytes(values.as_flattened());
    let one = Fr::from(1).to_bytes();
    assert_eq!(file(&[one, [0; 32]]).unwrap().values(), [Fr::from(1), Fr::from(0)]);
    assert!(matches!(file(&[]), Err(FileError::Count { .. })));
    assert!(matches!(file(&[[0; 32]]), Err(FileError::Count { .. })));
    let expected = FileError::NotCanonical { file: "witness file", what: "value", index: 1 };
    assert_eq!(file(&[one, MODULUS]), Err(expected));
    assert!(Witness::from_bytes(&one[1..]).is_err());
    assert!(!format!("{:?}", file(&[one]).unwrap()).contains("0x"));
}
