//! Why nothing is written.

/// Why a key, a proof or a name is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SolidityError {
    /// Not JSON, or other JSON than expected.
    #[error("it is not the JSON that snarkjs writes: {source}")]
    Json {
        /// What is wrong and where.
        source: serde_json::Error,
    },
    /// Another proving system.
    #[error("it is of the protocol {got:?}; only groth16 is taken here")]
    Protocol {
        /// What the file says.
        got: String,
    },
    /// Another curve. Chains have precompiled contracts for this one alone.
    #[error(
        "it is over the curve {got:?}; EVM chains verify bn128 (BN254), so the circuit has to be compiled for that"
    )]
    Curve {
        /// What the file says.
        got: String,
    },
    /// A text that is no number of 256 bits.
    #[error("{at} is no decimal number below 2^256: {got:?}")]
    Number {
        /// Which.
        at: String,
        /// The text, shortened.
        got: String,
    },
    /// A point in coordinates that are not affine.
    #[error(
        "{at} is not in affine coordinates (the last one 1, or the point at infinity); export it with snarkjs again"
    )]
    NotAffine {
        /// Which.
        at: String,
    },
    /// Coordinates that are no point.
    #[error("{at} is not on the curve: the file is damaged, or of another curve")]
    NotOnCurve {
        /// Which.
        at: String,
    },
    /// A point of a verifying key that must not be infinity.
    #[error("{at} is the point at infinity: whoever has such a key can make proofs of anything")]
    Infinity {
        /// Which.
        at: &'static str,
    },
    /// The key's points for public signals are not one more than there are signals.
    #[error("a key for {signals} public signals has {} points in IC, this one has {got}", signals + 1)]
    IcCount {
        /// What `nPublic` says.
        signals: usize,
        /// How many there are.
        got: usize,
    },
    /// A key straight out of the set-up's first step.
    #[error(
        "gamma and delta are the same point, so anybody can make proofs of anything: nobody contributed to this key's second \
         phase. Contribute (`snarkjs zkey contribute`), and export the verifying key of the result"
    )]
    NoContribution,
    /// A signal that a proof does not bind.
    #[error(
        "public signal {index} is bound by nothing (its point in IC is infinity): a proof would hold whatever it says. Use the \
         signal in the circuit"
    )]
    UnboundSignal {
        /// Its index, from 0.
        index: usize,
    },
    /// No root.
    #[error("there are {got} public signals, and the first two have to be the root's high and low 128 bits")]
    NoRoot {
        /// How many there are.
        got: usize,
    },
    /// A contract that would be larger than chains take.
    #[error(
        "{got} public signals make a contract too large for a chain; at most {} are taken. Commit to a hash of them",
        crate::MAX_SIGNALS
    )]
    TooManySignals {
        /// How many there are.
        got: usize,
    },
    /// A signal that is not below the field's order.
    #[error("public signal {index} is not below the field's order, so it is not how its value is written")]
    NotInField {
        /// Its index, from 0.
        index: usize,
    },
    /// A half of a root with more than 128 bits.
    #[error("public signal {index} is half of the root and has more than 128 bits")]
    RootHalf {
        /// Its index: 0 or 1.
        index: usize,
    },
    /// Public values that are no signals.
    #[error(
        "public values of a Groth16 circuit are a root of 32 bytes and 32 bytes for each output; these are {got} bytes"
    )]
    PublicValuesLength {
        /// Their length in bytes.
        got: usize,
    },
    /// A name that Solidity does not take.
    #[error("a contract's name is 1 to 64 letters, digits and '_', beginning with a letter; got {got:?}")]
    ContractName {
        /// The name, shortened.
        got: String,
    },
}

/// As much of a text as an error should repeat.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(90).collect()
}
