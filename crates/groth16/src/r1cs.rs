//! Circom's `.r1cs`: the constraints of a circuit.

use crate::curve::{Fr, SCALAR_MODULUS};
use crate::sections::{Kind, Reader, Sections};
use crate::{FileError, Witness};
use rayon::prelude::*;

const KIND: Kind = Kind { name: "r1cs file", magic: *b"r1cs", version: 1, sections: 1..=5 };

/// Field elements and wire of a term, as it lies in the file.
const TERM: u64 = 4 + 32;

/// A circuit's constraints: `⟨a, w⟩ · ⟨b, w⟩ = ⟨c, w⟩` for each, over the witness `w` of all wires.
///
/// Wire 0 is the constant one; then come the circuit's public outputs, its public inputs, its private inputs, and whatever it
/// computes between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R1cs {
    wires: u32,
    public_outputs: u32,
    public_inputs: u32,
    private_inputs: u32,
    matrices: [Matrix; 3],
}

/// One side of all constraints, row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// Where each row ends in `terms`.
    ends: Vec<usize>,
    terms: Vec<Term>,
}

/// A wire times a coefficient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) wire: u32,
    pub(crate) coefficient: Fr,
}

/// A constraint that a witness does not satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsatisfied {
    /// It is of another circuit.
    #[error("the witness has {got} values, the circuit has {expected} wires")]
    Length {
        /// Values of the witness.
        got: usize,
        /// Wires of the circuit.
        expected: usize,
    },
    /// A constraint fails.
    #[error("the witness does not satisfy constraint {index} of {of}")]
    Constraint {
        /// The first that fails, counted from zero as in the file.
        index: usize,
        /// How many there are.
        of: usize,
    },
}

impl R1cs {
    /// Reads and checks a file.
    ///
    /// Memory in proportion to the file's length: nothing is set apart that a count in the file only claims.
    ///
    /// # Errors
    /// A damaged file, another field than BN254's, coefficients that are not canonical, wires that are not there, custom gates.
    pub fn read(bytes: &[u8]) -> Result<Self, FileError> {
        let sections = Sections::find(&KIND, bytes)?;
        for custom in [4, 5] {
            // The compiler writes both sections, with a count of zero, where there are none.
            if sections.get(custom).is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)) {
                return Err(FileError::CustomGates);
            }
        }
        let mut header = sections.reader(1, "header")?;
        header.field(&SCALAR_MODULUS)?;
        let [wires, public_outputs, public_inputs, private_inputs] =
            [header.u32()?, header.u32()?, header.u32()?, header.u32()?];
        let labels = header.u64()?;
        let constraints = header.u32()?;
        header.end()?;

        let named = 1 + u64::from(public_outputs) + u64::from(public_inputs) + u64::from(private_inputs);
        if u64::from(wires) < named {
            let expected = format!("at least {named}, for its constant, inputs and outputs");
            return Err(count("the number of wires", wires, expected));
        }
        check_labels(&sections, wires, labels)?;
        let matrices = read_constraints(sections.reader(2, "constraints")?, constraints, wires)?;
        Ok(Self { wires, public_outputs, public_inputs, private_inputs, matrices })
    }

    /// The modulus of the values on wires, little-endian: a witness of another field is none of any circuit here.
    pub const fn modulus() -> [u8; 32] {
        SCALAR_MODULUS
    }

    /// Constraints.
    pub fn constraints(&self) -> usize {
        self.matrices[0].rows()
    }

    /// Wires, that is values in a witness, the constant one included.
    pub fn wires(&self) -> usize {
        self.wires as usize
    }

    /// Public values: outputs, then inputs; the constant one not counted.
    pub fn public_values(&self) -> usize {
        self.public_outputs as usize + self.public_inputs as usize
    }

    /// Public values that are outputs of the circuit.
    pub fn public_outputs(&self) -> usize {
        self.public_outputs as usize
    }

    /// Inputs that are not public.
    pub fn private_inputs(&self) -> usize {
        self.private_inputs as usize
    }

    /// Checks that a witness satisfies every constraint.
    ///
    /// # Errors
    /// A witness of another length; the first constraint that fails.
    pub fn check(&self, witness: &Witness) -> Result<(), Unsatisfied> {
        let values = witness.values();
        if values.len() != self.wires() {
            return Err(Unsatisfied::Length { got: values.len(), expected: self.wires() });
        }
        let [a, b, c] = &self.matrices;
        let fails = |row: &usize| a.times(*row, values) * b.times(*row, values) != c.times(*row, values);
        match (0..self.constraints()).into_par_iter().find_first(fails) {
            Some(index) => Err(Unsatisfied::Constraint { index, of: self.constraints() }),
            None => Ok(()),
        }
    }

    /// The matrices `a` and `b`: those that a zkey repeats.
    pub(crate) fn left(&self) -> [&Matrix; 2] {
        [&self.matrices[0], &self.matrices[1]]
    }
}

impl Matrix {
    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn row(&self, row: usize) -> &[Term] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.terms[start..self.ends[row]]
    }

    /// One row's product with a witness that has a value for every wire.
    pub(crate) fn times(&self, row: usize, witness: &[Fr]) -> Fr {
        self.row(row).iter().map(|term| term.coefficient * witness[term.wire as usize]).sum()
    }
}

fn read_constraints(mut reader: Reader<'_>, constraints: u32, wires: u32) -> Result<[Matrix; 3], FileError> {
    // Each has three lengths at least.
    let fits = reader.left() / 12;
    if u64::from(constraints) > fits {
        let expected = format!("at most {fits}, for which there are bytes");
        return Err(count("the number of constraints", constraints, expected));
    }
    let mut matrices: [Matrix; 3] = Default::default();
    for _ in 0..constraints {
        for matrix in &mut matrices {
            let terms = reader.u32()?;
            if u64::from(terms) > reader.left() / TERM {
                let expected = format!("at most {}, for which there are bytes", reader.left() / TERM);
                return Err(count("the number of terms of a constraint", terms, expected));
            }
            for _ in 0..terms {
                let wire = reader.u32()?;
                if wire >= wires {
                    return Err(count("a wire of a constraint", wire, format!("less than {wires}")));
                }
                let coefficient = reader.element("coefficient", matrix.terms.len() as u64)?;
                matrix.terms.push(Term { wire, coefficient });
            }
            matrix.ends.push(matrix.terms.len());
        }
    }
    reader.end()?;
    Ok(matrices)
}

/// Wires' labels are for people who look for a signal's name; here they only have to be there.
fn check_labels(sections: &Sections<'_>, wires: u32, labels: u64) -> Result<(), FileError> {
    let map = sections.exactly(3, "labels of wires", 8 * u64::from(wires))?;
    for label in map.chunks_exact(8) {
        let label = u64::from_le_bytes(label.try_into().expect("chunks of eight"));
        if label >= labels {
            let expected = format!("less than {labels}");
            return Err(FileError::Count { file: KIND.name, what: "a wire's label", got: label, expected });
        }
    }
    Ok(())
}

fn count(what: &'static str, got: u32, expected: String) -> FileError {
    FileError::Count { file: KIND.name, what, got: got.into(), expected }
}
