//! BN254, as circom's and snarkjs's files have it: every element canonical, every point checked.

use halo2curves::bn256::{Fq, Fq2, G1, G2};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::group::{Curve, Group, prime::PrimeCurveAffine};
use halo2curves::serde::SerdeObject;
use halo2curves::{CurveAffine, msm::msm_best};
use num_bigint::BigUint;
use std::sync::LazyLock;

/// A value of a wire: an element of BN254's scalar field.
pub use halo2curves::bn256::Fr;
pub(crate) use halo2curves::bn256::{G1Affine, G2Affine};

/// The order of the group, little-endian: values on wires are below it.
pub(crate) const SCALAR_MODULUS: [u8; 32] = [
    0x01, 0x00, 0x00, 0xf0, 0x93, 0xf5, 0xe1, 0x43, 0x91, 0x70, 0xb9, 0x79, 0x48, 0xe8, 0x33, 0x28, 0x5d, 0x58, 0x81,
    0x81, 0xb6, 0x45, 0x50, 0xb8, 0x29, 0xa0, 0x31, 0xe1, 0x72, 0x4e, 0x64, 0x30,
];

/// The modulus of points' coordinates, little-endian.
pub(crate) const BASE_MODULUS: [u8; 32] = [
    0x47, 0xfd, 0x7c, 0xd8, 0x16, 0x8c, 0x20, 0x3c, 0x8d, 0xca, 0x71, 0x68, 0x91, 0x6a, 0x81, 0x97, 0x5d, 0x58, 0x81,
    0x81, 0xb6, 0x45, 0x50, 0xb8, 0x29, 0xa0, 0x31, 0xe1, 0x72, 0x4e, 0x64, 0x30,
];

/// Digits that a decimal number below either modulus has at most.
const DIGITS: usize = 77;

/// The curve's parameter, which its moduli are polynomials of.
const PARAMETER: u64 = 4_965_661_367_192_848_881;

/// A group of the curve: how its points lie in a zkey and are written in JSON.
pub(crate) trait Point: CurveAffine {
    /// Bytes of a point in a zkey.
    const BYTES: usize;

    /// Reads a point of a zkey: affine coordinates in Montgomery's form, all zero for infinity. `None` for what is not canonical, not
    /// on the curve, or outside the group.
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl Point for G1Affine {
    const BYTES: usize = 64;

    /// The curve has no points outside its group.
    fn read(bytes: &[u8]) -> Option<Self> {
        Self::from_raw_bytes(bytes)
    }
}

impl Point for G2Affine {
    const BYTES: usize = 128;

    fn read(bytes: &[u8]) -> Option<Self> {
        Self::from_raw_bytes(bytes).filter(is_in_group)
    }
}

/// A value of a wire, little-endian. `None` for the modulus and above.
pub(crate) fn scalar(bytes: &[u8; 32]) -> Option<Fr> {
    Fr::from_repr((*bytes).into()).into()
}

/// A value of a wire in decimal, as [`base_decimal`].
pub(crate) fn scalar_decimal(text: &str) -> Option<Fr> {
    scalar(&decimal(text)?)
}

/// A coordinate in decimal. `None` for anything but digits, for leading zeros, for the modulus and above.
pub(crate) fn base_decimal(text: &str) -> Option<Fq> {
    Fq::from_repr(decimal(text)?.into()).into()
}

/// In decimal.
pub(crate) fn to_decimal<F: PrimeField>(value: &F) -> String {
    BigUint::from_bytes_le(value.to_repr().as_ref()).to_string()
}

/// `Σ points·scalars`; none of the points is infinity.
pub(crate) fn multiply<C: CurveAffine>(points: &[C], scalars: &[C::Scalar]) -> C::Curve {
    if points.is_empty() { C::Curve::identity() } else { msm_best(scalars, points) }
}

/// Elements of a group from what adds up to them.
pub(crate) fn affine<C: Curve>(point: C) -> C::AffineRepr {
    point.to_affine()
}

/// Whether a point of the twist has the group's order.
///
/// By the criterion of El Housni, Guillevic and Piellard for curves of this family: `[x+1]P + ψ([x]P) + ψ²([x]P) = ψ³([2x]P)`, where ψ
/// is the Frobenius endomorphism seen from the twist; 64 doublings instead of the 254 of multiplying by the order.
pub(crate) fn is_in_group(point: &G2Affine) -> bool {
    let point = point.to_curve();
    let once = (0..u64::BITS - PARAMETER.leading_zeros()).rev().fold(G2::identity(), |sum, bit| {
        let sum = sum.double();
        if PARAMETER >> bit & 1 == 1 { sum + point } else { sum }
    });
    let (first, second) = (frobenius(once), frobenius(frobenius(once)));
    once + point + first + second == frobenius(second).double()
}

/// ψ: untwist, raise the coordinates to the base field's order, twist.
fn frobenius(mut point: G2) -> G2 {
    /// ξ^((p−1)/3) and ξ^((p−1)/2), for the ξ = 9 + u that makes the twist.
    static TWIST: LazyLock<[Fq2; 2]> = LazyLock::new(|| {
        let less = BigUint::from_bytes_le(&BASE_MODULUS) - 1u32;
        let xi = Fq2::new(Fq::from(9), Fq::ONE);
        [3u32, 2].map(|by| xi.pow_vartime((less.clone() / by).to_u64_digits()))
    });
    for coordinate in [&mut point.x, &mut point.y, &mut point.z] {
        coordinate.conjugate();
    }
    point.x *= TWIST[0];
    point.y *= TWIST[1];
    point
}

fn decimal(text: &str) -> Option<[u8; 32]> {
    let canonical = text == "0" || !text.starts_with('0');
    if !canonical || text.is_empty() || text.len() > DIGITS || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let mut bytes = BigUint::parse_bytes(text.as_bytes(), 10)?.to_bytes_le();
    bytes.resize(32.max(bytes.len()), 0);
    bytes.try_into().ok()
}

/// A point of G1 from its coordinates, or `None` where it is none.
pub(crate) fn g1(x: Fq, y: Fq) -> Option<G1Affine> {
    Option::from(G1Affine::from_xy(x, y))
}

/// A point of G2's group from its coordinates, or `None` where it is none.
pub(crate) fn g2(x: Fq2, y: Fq2) -> Option<G2Affine> {
    Option::<G2Affine>::from(G2Affine::from_xy(x, y)).filter(is_in_group)
}

/// The two elements that an element of the extension field is made of.
pub(crate) fn parts(value: &Fq2) -> [Fq; 2] {
    [*value.c0(), *value.c1()]
}

/// The generators.
pub(crate) fn generators() -> (G1Affine, G2Affine) {
    (affine(G1::generator()), affine(G2::generator()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moduli_are_the_fields() {
        for (bytes, text) in [(SCALAR_MODULUS, Fr::MODULUS), (BASE_MODULUS, Fq::MODULUS)] {
            let modulus = BigUint::from_bytes_le(&bytes);
            assert_eq!(format!("0x{modulus:064x}"), text);
            assert_eq!(modulus.to_string().len(), DIGITS);
        }
        let x = BigUint::from(PARAMETER);
        let order = x.pow(4) * 36u32 + x.pow(3) * 36u32 + x.pow(2) * 18u32 + x * 6u32 + 1u32;
        assert_eq!(order, BigUint::from_bytes_le(&SCALAR_MODULUS));
    }

    #[test]
    fn nothing_from_the_modulus_up_is_an_element() {
        let modulus = BigUint::from_bytes_le(&SCALAR_MODULUS);
        let below = (modulus.clone() - 1u32).to_string();
        assert_eq!(scalar_decimal(&below), Some(-Fr::ONE));
        assert_eq!(to_decimal(&-Fr::ONE), below);
        for text in [modulus.to_string(), (modulus + 1u32).to_string(), "1".repeat(400), "9".repeat(77)] {
            assert_eq!(scalar_decimal(&text), None, "{text}");
        }
        for text in ["", "00", "01", "-1", "+1", " 1", "1 ", "0x1", "1e3", "١"] {
            assert_eq!(scalar_decimal(text), None, "{text:?}");
        }
        assert_eq!(scalar(&SCALAR_MODULUS), None);
        assert_eq!(scalar(&[0xff; 32]), None);
    }

    /// The twist has many points that the group has not; multiplying by the order tells, slowly.
    #[test]
    fn points_outside_the_group_are_known() {
        let by_order = |point: G2| point * -Fr::ONE + point == G2::identity();
        let mut outside = 0;
        for x in 1..40u64 {
            let x = Fq2::new(Fq::from(x), Fq::from(x * 7));
            let y = Option::<Fq2>::from((x.square() * x + G2Affine::b()).sqrt());
            let Some(point) = y.and_then(|y| Option::<G2Affine>::from(G2Affine::from_xy(x, y))) else { continue };
            assert_eq!(is_in_group(&point), by_order(point.to_curve()));
            outside += usize::from(!is_in_group(&point));
            assert_eq!(g2(point.x, point.y).is_some(), is_in_group(&point));
        }
        assert!(outside > 5, "{outside}");
        for times in 1..40u64 {
            assert!(is_in_group(&(G2::generator() * Fr::from(times * times * 0x1234_5678_9abc)).to_affine()));
        }
        assert!(is_in_group(&G2Affine::identity()));
    }

    #[test]
    fn off_the_curve_is_no_point() {
        assert!(g1(Fq::ONE, Fq::from(2)).is_some());
        assert!(g1(Fq::ONE, Fq::from(3)).is_none());
        let mut bytes = generators().1.to_raw_bytes();
        assert!(G2Affine::read(&bytes).is_some());
        bytes[0] ^= 1;
        assert!(G2Affine::read(&bytes).is_none());
        assert!(G2Affine::read(&bytes[1..]).is_none());
        assert!(G1Affine::read(&[0xff; 64]).is_none());
        assert!(G1Affine::read(&[0; 64]).is_some_and(|point| bool::from(point.is_identity())));
    }
}
