//! Proving.

use crate::curve::{self, Fr, G1Affine, G2Affine};
use crate::quotient::Quotient;
use crate::zkey::Entry;
use crate::{Proof, PublicValues, R1cs, ROOT_VALUES, Unsatisfied, VerifyingKey, Witness, ZKey};
use halo2curves::CurveAffine;
use halo2curves::ff::{Field, FromUniformBytes};

/// A circuit with its proving key, parsed, checked, and ready for any number of proofs. Made once for a circuit and kept.
#[derive(Debug)]
pub struct ProvingKey {
    r1cs: R1cs,
    quotient: Quotient,
    verifying: VerifyingKey,
    beta_g1: G1Affine,
    delta_g1: G1Affine,
    a: Query<G1Affine>,
    b_g1: Query<G1Affine>,
    b_g2: Query<G2Affine>,
    l: Query<G1Affine>,
    h: Query<G1Affine>,
}

/// Points that are summed up with values: each with the place of its value. Those at infinity are left out.
#[derive(Debug)]
struct Query<C> {
    places: Vec<u32>,
    points: Vec<C>,
}

/// Why a zkey and an r1cs file don't make a proving key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No public values for the root.
    #[error(
        "the circuit has {got} public values, expected at least two: the root's high and low 128 bits, before all others; \
         see coprocessor.circom"
    )]
    NoRoot {
        /// How many it has.
        got: usize,
    },
    /// Sizes that differ.
    #[error("the zkey is of another circuit: its {what} is {zkey}, that of the r1cs file {r1cs}")]
    Size {
        /// What differs.
        what: &'static str,
        /// In the zkey.
        zkey: u64,
        /// In the r1cs file.
        r1cs: u64,
    },
    /// Constraints that differ.
    #[error("the zkey is of another circuit: its matrix {matrix} differs from that of the r1cs file in row {row}")]
    Constraint {
        /// `A` or `B`.
        matrix: char,
        /// The first row that differs, or the first that only one of them has.
        row: u32,
    },
}

/// Why there is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The witness is not one of this circuit.
    #[error(transparent)]
    Unsatisfied(#[from] Unsatisfied),
    /// The system has no randomness.
    #[error("the system gives no randomness, without which a proof would tell the witness: {0}")]
    Randomness(String),
    /// A proof was made, and does not hold.
    #[error(
        "the proof that was made does not hold: the zkey is of another circuit with the same left sides, or damaged"
    )]
    KeyOfAnother,
}

impl ProvingKey {
    /// Puts a circuit and its key together.
    ///
    /// That the key is the circuit's is checked as far as the file tells: sizes, and all of the matrices A and B, which a zkey
    /// repeats. The matrix C is in its points alone: a key of a circuit with another C makes proofs that do not hold, which
    /// [`ProvingKey::prove`] notices.
    ///
    /// # Errors
    /// A circuit without a root among its public values; a zkey of another circuit.
    pub fn new(r1cs: R1cs, zkey: ZKey) -> Result<Self, KeyError> {
        let public_values = r1cs.public_values();
        if public_values < ROOT_VALUES {
            return Err(KeyError::NoRoot { got: public_values });
        }
        let rows = r1cs.constraints() + public_values + 1;
        let domain = rows.next_power_of_two();
        let sizes = [
            ("number of wires", u64::from(zkey.wires), r1cs.wires()),
            ("number of public values", u64::from(zkey.public_values), public_values),
            ("domain", u64::from(zkey.domain), domain),
        ];
        for (what, zkey, r1cs) in sizes {
            if zkey != r1cs as u64 {
                return Err(KeyError::Size { what, zkey, r1cs: r1cs as u64 });
            }
        }
        check_entries(&r1cs, zkey.entries)?;
        let first_private = zkey.public_values + 1;
        Ok(Self {
            quotient: Quotient::new(domain),
            verifying: zkey.verifying,
            beta_g1: zkey.beta_g1,
            delta_g1: zkey.delta_g1,
            a: Query::new(zkey.a, 0),
            b_g1: Query::new(zkey.b_g1, 0),
            b_g2: Query::new(zkey.b_g2, 0),
            l: Query::new(zkey.l, first_private),
            h: Query::new(zkey.h, 0),
            r1cs,
        })
    }

    /// The circuit.
    pub fn r1cs(&self) -> &R1cs {
        &self.r1cs
    }

    /// What verifies its proofs.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// Proves that the circuit has a witness with these public values: it is checked, proved, and the proof verified.
    ///
    /// Uses all of rayon's threads. Two proofs of one witness differ.
    ///
    /// # Errors
    /// A witness that is not one of this circuit; no randomness; a key that turns out to be another circuit's.
    pub fn prove(&self, witness: &Witness) -> Result<(Proof, PublicValues), ProveError> {
        self.r1cs.check(witness)?;
        let blinding = [random()?, random()?];
        let proof = self.prove_with(witness.values(), blinding);
        let public = PublicValues::of(witness, &self.r1cs);
        self.verifying.verify(&proof, &public).map_err(|_| ProveError::KeyOfAnother)?;
        Ok((proof, public))
    }

    fn prove_with(&self, values: &[Fr], [r, s]: [Fr; 2]) -> Proof {
        let (((a, b_g1), b_g2), (l, h)) = rayon::join(
            || {
                rayon::join(
                    || rayon::join(|| self.a.times(values), || self.b_g1.times(values)),
                    || self.b_g2.times(values),
                )
            },
            || rayon::join(|| self.l.times(values), || self.h.times(&self.quotient.of(&self.r1cs, values))),
        );
        let key = &self.verifying;
        let a = a + key.alpha + self.delta_g1 * r;
        let b_g1 = b_g1 + self.beta_g1 + self.delta_g1 * s;
        let b_g2 = b_g2 + key.beta + key.delta * s;
        let c = l + h + a * s + b_g1 * r - self.delta_g1 * (r * s);
        Proof { a: curve::affine(a), b: curve::affine(b_g2), c: curve::affine(c) }
    }
}

impl<C: CurveAffine> Query<C> {
    /// Of points whose values have consecutive places.
    fn new(points: Vec<C>, first: u32) -> Self {
        let places = (first..).zip(points);
        let (places, points) = places.filter(|(_, point)| !bool::from(point.is_identity())).unzip();
        Self { places, points }
    }

    fn times(&self, values: &[C::Scalar]) -> C::Curve {
        let values: Vec<_> = self.places.iter().map(|place| values[*place as usize]).collect();
        curve::multiply(&self.points, &values)
    }
}

/// That the entries of a zkey are those of the r1cs file's matrices, and one more for each public value and the constant, which
/// bind them to the proof. In whatever order.
fn check_entries(r1cs: &R1cs, mut found: Vec<Entry>) -> Result<(), KeyError> {
    let matrices = (0..).zip(r1cs.left());
    let rows = matrices.flat_map(|(matrix, of)| (0..of.rows()).map(move |row| (matrix, row, of.row(row))));
    let terms = rows.flat_map(|(matrix, row, terms)| {
        terms.iter().map(move |term| Entry { matrix, row: row as u32, wire: term.wire, value: term.coefficient })
    });
    let binding = (0..=r1cs.public_values()).map(|value| {
        let row = (r1cs.constraints() + value) as u32;
        Entry { matrix: 0, row, wire: value as u32, value: Fr::ONE }
    });
    let mut expected: Vec<Entry> = terms.chain(binding).collect();
    let place = |entry: &Entry| (entry.matrix, entry.row, entry.wire);
    expected.sort_by_key(place);
    found.sort_by_key(place);
    let differs = |at: &usize| expected.get(*at) != found.get(*at);
    let Some(at) = (0..expected.len().max(found.len())).find(differs) else { return Ok(()) };
    let first = expected.get(at).into_iter().chain(found.get(at)).min_by_key(|entry| place(entry));
    let first = first.expect("one of them has an entry there");
    Err(KeyError::Constraint { matrix: if first.matrix == 0 { 'A' } else { 'B' }, row: first.row })
}

fn random() -> Result<Fr, ProveError> {
    let mut bytes = [0; 64];
    getrandom::fill(&mut bytes).map_err(|error| ProveError::Randomness(error.to_string()))?;
    Ok(Fr::from_uniform_bytes(&bytes))
}
