//! Proofs, and what verifies them.

use crate::PublicValues;
use crate::curve::{self, Fr, G1Affine, G2Affine};
use halo2curves::bn256::{Bn256, Gt};
use halo2curves::group::prime::PrimeCurveAffine;
use halo2curves::pairing::{Engine, MillerLoopResult, MultiMillerLoop};

/// A Groth16 proof. Its points are in their groups, and none is at infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    pub(crate) a: G1Affine,
    pub(crate) b: G2Affine,
    pub(crate) c: G1Affine,
}

/// What verifies a circuit's proofs. Its points are in their groups, and none is at infinity.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyingKey {
    pub(crate) alpha: G1Affine,
    pub(crate) beta: G2Affine,
    pub(crate) gamma: G2Affine,
    pub(crate) delta: G2Affine,
    /// One for the constant, one for each public value.
    pub(crate) ic: Vec<G1Affine>,
    /// `e(alpha, beta)`, which every verification needs.
    pub(crate) alpha_beta: Gt,
}

/// Why a proof is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Another number of public values than the circuit has.
    #[error("{got} public values, the verifying key is for {expected}")]
    PublicValues {
        /// How many came with the proof.
        got: usize,
        /// How many the circuit has.
        expected: usize,
    },
    /// The proof is not one of these public values by this circuit.
    #[error("the proof does not hold for these public values and this verifying key")]
    Invalid,
}

impl VerifyingKey {
    /// `ic` has one point at least; no point is at infinity.
    pub(crate) fn new(alpha: G1Affine, [beta, gamma, delta]: [G2Affine; 3], ic: Vec<G1Affine>) -> Self {
        Self { alpha, beta, gamma, delta, ic, alpha_beta: Bn256::pairing(&alpha, &beta) }
    }

    /// Public values of a proof.
    pub fn public_values(&self) -> usize {
        self.ic.len() - 1
    }

    /// Verifies a proof of these public values.
    ///
    /// All that is trusted is this key: sizes come from it, [`Proof`] has no points outside their groups, and [`PublicValues`] has each
    /// value in one form only.
    ///
    /// # Errors
    /// Another number of public values; a proof that does not hold.
    pub fn verify(&self, proof: &Proof, public: &PublicValues) -> Result<(), VerifyError> {
        let (got, expected) = (public.values().len(), self.public_values());
        if got != expected {
            return Err(VerifyError::PublicValues { got, expected });
        }
        let inputs = curve::affine(self.inputs(public.values()));
        let terms = [(&-proof.a, &proof.b), (&inputs, &self.gamma), (&proof.c, &self.delta)];
        let product = Bn256::multi_miller_loop(&terms).final_exponentiation();
        if product == -self.alpha_beta { Ok(()) } else { Err(VerifyError::Invalid) }
    }

    fn inputs(&self, values: &[Fr]) -> <G1Affine as PrimeCurveAffine>::Curve {
        self.ic[0].to_curve() + curve::multiply(&self.ic[1..], values)
    }
}
