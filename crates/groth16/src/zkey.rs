//! snarkjs's `.zkey`: the proving key of a circuit, and who contributed to it.

use crate::contribution::{self, Contribution};
use crate::curve::{self, BASE_MODULUS, Fr, G1Affine, G2Affine, Point, SCALAR_MODULUS};
use crate::sections::{Kind, Sections};
use crate::{FileError, VerifyingKey};
use halo2curves::bn256::Bn256;
use halo2curves::ff::Field;
use halo2curves::group::prime::PrimeCurveAffine;
use halo2curves::pairing::Engine;
use rayon::prelude::*;
use std::sync::LazyLock;

pub(crate) const KIND: Kind = Kind { name: "zkey", magic: *b"zkey", version: 1, sections: 1..=10 };

/// The largest circuit: for a larger one the field has no coset that its quotient could be evaluated on.
const MAX_DOMAIN: u32 = 1 << 27;

/// Bytes of an entry of the matrices: which, row, wire, value.
const ENTRY: u64 = 12 + 32;

/// A proving key as it lies in a zkey: every point is in its group, but nothing says yet which circuit it is for.
#[derive(Clone, Debug)]
pub struct ZKey {
    pub(crate) wires: u32,
    pub(crate) public_values: u32,
    pub(crate) domain: u32,
    pub(crate) verifying: VerifyingKey,
    pub(crate) beta_g1: G1Affine,
    pub(crate) delta_g1: G1Affine,
    pub(crate) entries: Vec<Entry>,
    pub(crate) a: Vec<G1Affine>,
    pub(crate) b_g1: Vec<G1Affine>,
    pub(crate) b_g2: Vec<G2Affine>,
    pub(crate) l: Vec<G1Affine>,
    pub(crate) h: Vec<G1Affine>,
    contributions: Vec<Contribution>,
}

/// An entry of the matrices `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// 0 for `a`, 1 for `b`.
    pub(crate) matrix: u32,
    pub(crate) row: u32,
    pub(crate) wire: u32,
    pub(crate) value: Fr,
}

impl ZKey {
    /// Reads and checks a file. Checking that points lie in their groups is most of the work, and is done on all cores.
    ///
    /// Memory in proportion to the file's length.
    ///
    /// # Errors
    /// A damaged file, another curve or proof system, counts that contradict each other, points that are none or at infinity where
    /// that would let proofs be forged, forms of one secret that differ.
    pub fn read(bytes: &[u8]) -> Result<Self, FileError> {
        let sections = Sections::find(&KIND, bytes)?;
        let mut system = sections.reader(1, "proof system")?;
        match system.u32()? {
            1 => system.end()?,
            got => return Err(FileError::ProofSystem { got }),
        }
        let header = Header::read(&sections)?;
        let [wires, public_values, domain] = [header.wires, header.public_values, header.domain].map(u64::from);
        let ic = points(&sections, 3, "IC", public_values + 1)?;
        if let Some(index) = ic.iter().position(|point: &G1Affine| point.is_identity().into()) {
            return Err(FileError::Infinity { what: "IC", index: index as u64 });
        }
        let zkey = Self {
            wires: header.wires,
            public_values: header.public_values,
            domain: header.domain,
            beta_g1: header.beta_g1,
            delta_g1: header.delta_g1,
            entries: entries(&sections, &header)?,
            a: points(&sections, 5, "A", wires)?,
            b_g1: points(&sections, 6, "B1", wires)?,
            b_g2: points(&sections, 7, "B2", wires)?,
            l: points(&sections, 8, "C", wires - public_values - 1)?,
            h: points(&sections, 9, "H", domain)?,
            contributions: contribution::read(sections.reader(10, "contributions")?)?,
            verifying: VerifyingKey::new(header.alpha_g1, [header.beta_g2, header.gamma_g2, header.delta_g2], ic),
        };
        zkey.check_secrets(&header)?;
        Ok(zkey)
    }

    /// What verifies the proofs that are made with this key.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// Who contributed randomness, first to last, by their own account: a zkey can't prove that these took place. `snarkjs zkey
    /// verify` can, with the powers of tau that it was made from.
    pub fn contributions(&self) -> &[Contribution] {
        &self.contributions
    }

    /// Whether anybody could know the key's secrets, and so forge proofs: nobody contributed, or no contribution is without the
    /// word `development` at the beginning of its name.
    pub fn is_for_development(&self) -> bool {
        let (g1, _) = curve::generators();
        self.delta_g1 == g1 || self.contributions.iter().all(Contribution::is_for_development)
    }

    /// The same secrets in both groups; the delta of the last contribution.
    fn check_secrets(&self, header: &Header) -> Result<(), FileError> {
        let (g1, g2) = curve::generators();
        let equal = |in_g1: &G1Affine, in_g2: &G2Affine| Bn256::pairing(in_g1, &g2) == Bn256::pairing(&g1, in_g2);
        if !equal(&header.beta_g1, &header.beta_g2) {
            return Err(FileError::Unequal { what: "beta" });
        }
        if !equal(&header.delta_g1, &header.delta_g2) {
            return Err(FileError::Unequal { what: "delta" });
        }
        let last = self.contributions.last().map_or(g1, |last| last.delta);
        if last != self.delta_g1 {
            return Err(FileError::Unequal { what: "delta, and that of the last contribution," });
        }
        Ok(())
    }
}

/// The second section.
struct Header {
    wires: u32,
    public_values: u32,
    domain: u32,
    alpha_g1: G1Affine,
    beta_g1: G1Affine,
    delta_g1: G1Affine,
    beta_g2: G2Affine,
    gamma_g2: G2Affine,
    delta_g2: G2Affine,
}

impl Header {
    fn read(sections: &Sections<'_>) -> Result<Self, FileError> {
        let mut reader = sections.reader(2, "header")?;
        reader.field(&BASE_MODULUS)?;
        reader.field(&SCALAR_MODULUS)?;
        let [wires, public_values, domain] = [reader.u32()?, reader.u32()?, reader.u32()?];
        if wires <= public_values {
            return Err(count("the number of wires", wires, format!("more than its {public_values} public values")));
        }
        if !domain.is_power_of_two() || domain > MAX_DOMAIN {
            return Err(count("the domain", domain, format!("a power of two, at most {MAX_DOMAIN}")));
        }
        let header = Self {
            wires,
            public_values,
            domain,
            alpha_g1: secret(reader.bytes(64)?, "alpha")?,
            beta_g1: secret(reader.bytes(64)?, "beta")?,
            beta_g2: secret(reader.bytes(128)?, "beta")?,
            gamma_g2: secret(reader.bytes(128)?, "gamma")?,
            delta_g1: secret(reader.bytes(64)?, "delta")?,
            delta_g2: secret(reader.bytes(128)?, "delta")?,
        };
        reader.end()?;
        Ok(header)
    }
}

/// A generator times a secret.
fn secret<P: Point>(bytes: &[u8], what: &'static str) -> Result<P, FileError> {
    let point = P::read(bytes).ok_or(FileError::Point { what, index: 0 })?;
    if point.is_identity().into() { Err(FileError::Infinity { what, index: 0 }) } else { Ok(point) }
}

/// A section of so many points.
fn points<P: Point>(sections: &Sections<'_>, id: u32, what: &'static str, count: u64) -> Result<Vec<P>, FileError> {
    let bytes = sections.exactly(id, what, count * P::BYTES as u64)?;
    let read: Vec<Option<P>> = bytes.par_chunks_exact(P::BYTES).map(P::read).collect();
    let index = read.iter().position(Option::is_none);
    match index {
        Some(index) => Err(FileError::Point { what, index: index as u64 }),
        None => Ok(read.into_iter().flatten().collect()),
    }
}

fn entries(sections: &Sections<'_>, header: &Header) -> Result<Vec<Entry>, FileError> {
    const NAME: &str = "matrices";
    let mut reader = sections.reader(4, NAME)?;
    let entries = reader.u32()?;
    let bytes = sections.exactly(4, NAME, 4 + u64::from(entries) * ENTRY)?;
    let read = |(index, bytes): (usize, &[u8])| {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let (matrix, row, wire) = (number(0), number(4), number(8));
        let bounds = [
            ("a matrix of an entry", matrix, 2),
            ("a row of an entry", row, header.domain),
            ("a wire of an entry", wire, header.wires),
        ];
        if let Some((what, got, below)) = bounds.into_iter().find(|(_, got, below)| got >= below) {
            return Err(count(what, got, format!("less than {below}")));
        }
        let value = value(bytes[12..].try_into().expect("32 bytes"));
        let value = value.ok_or(FileError::NotCanonical { file: KIND.name, what: NAME, index: index as u64 })?;
        Ok(Entry { matrix, row, wire, value })
    };
    bytes[4..].par_chunks_exact(12 + 32).enumerate().map(read).collect()
}

/// A value as snarkjs keeps it: times 2^512.
fn value(bytes: &[u8; 32]) -> Option<Fr> {
    static FACTOR: LazyLock<Fr> = LazyLock::new(|| {
        let factor = Fr::from(2).pow_vartime([512]);
        factor.invert().expect("a power of two is not zero in a field of odd order")
    });
    curve::scalar(bytes).map(|value| value * *FACTOR)
}

fn count(what: &'static str, got: u32, expected: String) -> FileError {
    FileError::Count { file: KIND.name, what, got: got.into(), expected }
}
