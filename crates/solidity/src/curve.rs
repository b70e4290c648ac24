//! Points of BN254, as Ethereum's precompiled contracts take them.

use crate::Word;
use num_bigint::BigUint;

/// The order of the field that coordinates are in.
pub(crate) const BASE_FIELD: Word = Word([
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d, 0x97, 0x81, 0x6a,
    0x91, 0x68, 0x71, 0xca, 0x8d, 0x3c, 0x20, 0x8c, 0x16, 0xd8, 0x7c, 0xfd, 0x47,
]);

/// The order of the groups, and of the field that public signals are in.
pub(crate) const SCALAR_FIELD: Word = Word([
    0x30, 0x64, 0x4e, 0x72, 0xe1, 0x31, 0xa0, 0x29, 0xb8, 0x50, 0x45, 0xb6, 0x81, 0x81, 0x58, 0x5d, 0x28, 0x33, 0xe8,
    0x48, 0x79, 0xb9, 0x70, 0x91, 0x43, 0xe1, 0xf5, 0x93, 0xf0, 0x00, 0x00, 0x01,
]);

/// A point of the first group. Infinity is (0, 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct G1 {
    /// First coordinate.
    pub x: Word,
    /// Second coordinate.
    pub y: Word,
}

/// A point of the second group. A coordinate is `c0 + c1·u`, here `[c0, c1]`. Infinity is all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct G2 {
    /// First coordinate.
    pub x: [Word; 2],
    /// Second coordinate.
    pub y: [Word; 2],
}

impl G1 {
    /// The words of the precompiled contracts: x, y.
    pub fn words(&self) -> [Word; 2] {
        [self.x, self.y]
    }

    pub(crate) fn is_infinity(&self) -> bool {
        self.words() == [Word::ZERO; 2]
    }

    /// Whether the coordinates are below the field's order and the point is on y² = x³ + 3. The group is the whole curve.
    pub(crate) fn is_on_curve(&self) -> bool {
        if self.words().iter().any(|word| *word >= BASE_FIELD) {
            return false;
        }
        let order = BASE_FIELD.to_number();
        let (x, y) = (self.x.to_number(), self.y.to_number());
        self.is_infinity() || &y * &y % &order == (&x * &x * &x + 3u32) % &order
    }
}

impl G2 {
    /// The words of the precompiled contracts, which want `c1` before `c0`.
    pub fn words(&self) -> [Word; 4] {
        let ([x0, x1], [y0, y1]) = (self.x, self.y);
        [x1, x0, y1, y0]
    }

    pub(crate) fn is_infinity(&self) -> bool {
        self.words() == [Word::ZERO; 4]
    }

    /// Whether the coordinates are below the field's order and the point is on y² = x³ + 3/(9 + u). Whether it is in the group
    /// too is checked by the precompiled contract at every use.
    pub(crate) fn is_on_curve(&self) -> bool {
        if self.words().iter().any(|word| *word >= BASE_FIELD) {
            return false;
        }
        let (x, y) = (Square::from(self.x), Square::from(self.y));
        let twist = Square(9u32.into(), 1u32.into());
        let left = twist.times(&y).times(&y);
        let right = twist.times(&x).times(&x).times(&x).plus(&Square(3u32.into(), 0u32.into()));
        self.is_infinity() || left == right
    }
}

/// An element of the field's quadratic extension by u² = −1.
#[derive(PartialEq)]
struct Square(BigUint, BigUint);

impl From<[Word; 2]> for Square {
    fn from([c0, c1]: [Word; 2]) -> Self {
        Self(c0.to_number(), c1.to_number())
    }
}

impl Square {
    fn times(&self, other: &Self) -> Self {
        let order = BASE_FIELD.to_number();
        let minus = &order * &order - &self.1 * &other.1;
        Self((&self.0 * &other.0 + minus) % &order, (&self.0 * &other.1 + &self.1 * &other.0) % &order)
    }

    fn plus(&self, other: &Self) -> Self {
        let order = BASE_FIELD.to_number();
        Self((&self.0 + &other.0) % &order, (&self.1 + &other.1) % &order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Word {
        Word::from_decimal(text).unwrap()
    }

    fn generator() -> G2 {
        G2 {
            x: [
                number("10857046999023057135944570762232829481370756359578518086990519993285655852781"),
                number("11559732032986387107991004021392285783925812861821192530917403151452391805634"),
            ],
            y: [
                number("8495653923123431417604973247489272438418190587263600148770280649306958101930"),
                number("4082367875863433681332203403145435568316851327593401208105741076214120093531"),
            ],
        }
    }

    #[test]
    fn the_generators_are_on_their_curves() {
        assert!(G1 { x: Word::from(1), y: Word::from(2) }.is_on_curve());
        assert!(generator().is_on_curve());
    }

    #[test]
    fn points_beside_the_curve_are_not() {
        assert!(!G1 { x: Word::from(1), y: Word::from(3) }.is_on_curve());
        let [x0, x1] = generator().x;
        assert!(!G2 { x: [x1, x0], ..generator() }.is_on_curve());
        assert!(!G2 { y: generator().x, ..generator() }.is_on_curve());
    }

    #[test]
    fn a_coordinate_and_itself_plus_the_order_are_not_the_same() {
        let beyond = Word::from_number(&(BASE_FIELD.to_number() + 1u32)).unwrap();
        assert!(!G1 { x: beyond, y: Word::from(2) }.is_on_curve());
        assert!(!G1 { x: BASE_FIELD, y: BASE_FIELD }.is_on_curve());
    }

    #[test]
    fn the_orders_are_bn254s() {
        let base = "21888242871839275222246405745257275088696311157297823662689037894645226208583";
        let scalar = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
        assert_eq!((BASE_FIELD, SCALAR_FIELD), (number(base), number(scalar)));
    }
}
