//! The quotient polynomial of a witness, in the form that snarkjs's keys are made for.

use crate::R1cs;
use crate::curve::{Fr, SCALAR_MODULUS};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::fft::best_fft;
use num_bigint::BigUint;
use rayon::prelude::*;

/// The domain of a circuit's polynomials: its powers, computed once.
///
/// A key of snarkjs has its points for the values of `A·B − C` on the coset of the domain by a root of unity of twice its order. So
/// that is what is computed: no division, and no way back from values to coefficients.
#[derive(Debug)]
pub(crate) struct Quotient {
    log_size: u32,
    generator: Fr,
    inverse: Fr,
    /// The powers of the coset's offset, each by the domain's size divided.
    offsets: Vec<Fr>,
}

impl Quotient {
    /// Of a domain of that size: a power of two, such that the field has a root of unity of twice the order.
    pub(crate) fn new(size: usize) -> Self {
        let log_size = size.ilog2();
        let offset = root(log_size + 1);
        let generator = offset.square();
        let size_inverse = Fr::from(size as u64).invert().expect("a size is below the modulus");
        let offsets = std::iter::successors(Some(size_inverse), |power| Some(*power * offset)).take(size).collect();
        let inverse = generator.invert().expect("a root of unity is not zero");
        Self { log_size, generator, inverse, offsets }
    }

    /// The values of `A·B − C` on the coset, for a witness that satisfies the constraints.
    pub(crate) fn of(&self, r1cs: &R1cs, witness: &[Fr]) -> Vec<Fr> {
        let [a, b] = r1cs.left();
        let rows = r1cs.constraints();
        let times = |matrix: &crate::r1cs::Matrix| {
            let mut values: Vec<_> = (0..rows).into_par_iter().map(|row| matrix.times(row, witness)).collect();
            values.resize(self.offsets.len(), Fr::ZERO);
            values
        };
        let (mut a, mut b) = rayon::join(|| times(a), || times(b));
        // The rows that bind the public values to the proof: each times zero is zero.
        let public = r1cs.public_values() + 1;
        a[rows..rows + public].copy_from_slice(&witness[..public]);
        let mut c: Vec<_> = a.par_iter().zip(&b).map(|(a, b)| a * b).collect();
        rayon::join(|| rayon::join(|| self.shift(&mut a), || self.shift(&mut b)), || self.shift(&mut c));
        a.par_iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = *a * b - c);
        a
    }

    /// From a polynomial's values on the domain to those on the coset.
    fn shift(&self, values: &mut [Fr]) {
        best_fft(values, self.inverse, self.log_size);
        values.par_iter_mut().zip(&self.offsets).for_each(|(value, power)| *value *= power);
        best_fft(values, self.generator, self.log_size);
    }
}

/// The root of unity of order `2^log_order` that snarkjs takes: a power of the smallest number that is not a square.
fn root(log_order: u32) -> Fr {
    let less = BigUint::from_bytes_le(&SCALAR_MODULUS) - 1u32;
    let half = (less.clone() / 2u32).to_u64_digits();
    let numbers = (1..).map(Fr::from);
    let mut no_squares = numbers.filter(|number| number.pow_vartime(&half) == -Fr::ONE);
    let no_square = no_squares.next().expect("every second number is not a square");
    let odd = (less >> Fr::S).to_u64_digits();
    (log_order..Fr::S).fold(no_square.pow_vartime(odd), |root, _| root.square())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_have_their_order() {
        assert_eq!(root(0), Fr::ONE);
        assert_eq!(root(1), -Fr::ONE);
        for log_order in 2..=Fr::S {
            assert_eq!(root(log_order).square(), root(log_order - 1));
        }
    }

    #[test]
    fn shifting_gives_the_values_on_the_coset() {
        let quotient = Quotient::new(8);
        let polynomial = |at: Fr| at.pow_vartime([5]) * Fr::from(3) - at * Fr::from(11) + Fr::from(7);
        let domain: Vec<_> = (0..8u64).map(|power| root(3).pow_vartime([power])).collect();
        let mut values: Vec<_> = domain.iter().map(|at| polynomial(*at)).collect();
        quotient.shift(&mut values);
        let expected: Vec<_> = domain.iter().map(|at| polynomial(*at * root(4))).collect();
        assert_eq!(values, expected);
    }
}
