//! What proves, and what kind of proof it makes.

use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// A proving system. A circuit belongs to one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// SP1: the circuit is an ELF for its zkVM.
    Sp1,
    /// Groth16: the circuit is a circom bundle.
    Groth16,
}

/// What form a proof has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofKind {
    /// SP1: a list of shard proofs, as long as the execution; quickest to make.
    Core,
    /// SP1: one recursive proof of constant size.
    Compressed,
    /// A Groth16 proof: a circom circuit's own, or SP1's wrapping.
    Groth16,
    /// SP1 wrapped in PLONK.
    Plonk,
    /// Proves nothing. For development; accepted nowhere a real proof is asked for.
    Mock,
}

/// A text that names no backend or no proof kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseKindError {
    /// Not a backend.
    #[error("unknown backend; expected sp1 or groth16")]
    Backend,
    /// Not a proof kind.
    #[error("unknown proof kind; expected core, compressed, groth16, plonk or mock")]
    ProofKind,
}

impl Backend {
    /// The name in JSON, on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sp1 => "sp1",
            Self::Groth16 => "groth16",
        }
    }

    /// Whether a circuit of this backend can be proved in that form. Every circuit can have a mock proof.
    pub const fn offers(self, kind: ProofKind) -> bool {
        match (self, kind) {
            (_, ProofKind::Mock) | (Self::Sp1, _) | (Self::Groth16, ProofKind::Groth16) => true,
            (Self::Groth16, _) => false,
        }
    }
}

impl ProofKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Core, Self::Compressed, Self::Groth16, Self::Plonk, Self::Mock];

    /// The name in JSON, on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Compressed => "compressed",
            Self::Groth16 => "groth16",
            Self::Plonk => "plonk",
            Self::Mock => "mock",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ProofKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Backend {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        match text {
            "sp1" => Ok(Self::Sp1),
            "groth16" => Ok(Self::Groth16),
            _ => Err(ParseKindError::Backend),
        }
    }
}

impl FromStr for ProofKind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(ParseKindError::ProofKind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for kind in ProofKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for backend in [Backend::Sp1, Backend::Groth16] {
            assert_eq!(backend.as_str().parse(), Ok(backend));
        }
        assert!("Core".parse::<ProofKind>().is_err());
    }

    #[test]
    fn a_groth16_bundle_has_no_core_proof() {
        assert!(!Backend::Groth16.offers(ProofKind::Core));
        assert!(Backend::Groth16.offers(ProofKind::Mock));
        assert!(Backend::Sp1.offers(ProofKind::Plonk));
    }
}
