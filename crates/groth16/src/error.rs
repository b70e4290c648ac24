//! Why a file is not what it says it is.

/// Why bytes are not a file of circom or snarkjs that can be used here. Nothing of such a file is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It ends too early.
    #[error("the {file} ends within {what}: {needed} bytes are needed there, {left} are left; is the upload complete?")]
    Truncated {
        /// Kind of file.
        file: &'static str,
        /// What was being read.
        what: &'static str,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        left: u64,
    },
    /// It is a file of another kind.
    #[error("not a {file}: it begins with {got:02x?}, expected {expected:02x?}")]
    Magic {
        /// Kind of file.
        file: &'static str,
        /// Its first four bytes.
        got: [u8; 4],
        /// What a file of this kind begins with.
        expected: [u8; 4],
    },
    /// A version of the format that is not known here.
    #[error("the {file} is of version {got} of its format, expected {expected}")]
    Version {
        /// Kind of file.
        file: &'static str,
        /// Its version.
        got: u32,
        /// The version that is read here.
        expected: u32,
    },
    /// A section that files of this kind don't have.
    #[error("the {file} has a section {id}, which is not known here")]
    UnknownSection {
        /// Kind of file.
        file: &'static str,
        /// Its number.
        id: u32,
    },
    /// A section twice.
    #[error("the {file} has section {id} twice")]
    SectionTwice {
        /// Kind of file.
        file: &'static str,
        /// Its number.
        id: u32,
    },
    /// Sections in another order than that of their numbers, where there is one order only.
    #[error("section {id} of the {file} comes after one with a higher number")]
    SectionOrder {
        /// Kind of file.
        file: &'static str,
        /// Its number.
        id: u32,
    },
    /// A section that every file of this kind has.
    #[error("the {file} has no section {id} ({name})")]
    NoSection {
        /// Kind of file.
        file: &'static str,
        /// Its number.
        id: u32,
        /// What is in it.
        name: &'static str,
    },
    /// A section whose length does not follow from the header.
    #[error("section {name} of the {file} has {got} bytes, expected {expected}")]
    SectionLength {
        /// Kind of file.
        file: &'static str,
        /// What is in it.
        name: &'static str,
        /// Its length in bytes.
        got: u64,
        /// The length that its header asks for.
        expected: u64,
    },
    /// Bytes after the last thing that was to be read.
    #[error("{bytes} bytes are left over after {what} of the {file}")]
    LeftOver {
        /// Kind of file.
        file: &'static str,
        /// What was read last.
        what: &'static str,
        /// How many there are.
        bytes: u64,
    },
    /// Another field than BN254's.
    #[error("the {file} is over another field ({got}); compile for BN254, which circom calls bn128")]
    Field {
        /// Kind of file.
        file: &'static str,
        /// The field's modulus, or its size.
        got: String,
    },
    /// Gates that Groth16 has not.
    #[error("the circuit has custom gates, which Groth16 cannot prove; compile it without custom templates")]
    CustomGates,
    /// A key for another proof system.
    #[error("the zkey is for proof system {got}, expected 1 (Groth16); make it with `snarkjs groth16 setup`")]
    ProofSystem {
        /// Its number.
        got: u32,
    },
    /// A count that contradicts another, or is out of its bounds.
    #[error("{what} of the {file} is {got}, expected {expected}")]
    Count {
        /// Kind of file.
        file: &'static str,
        /// What is counted.
        what: &'static str,
        /// The count.
        got: u64,
        /// What it may be.
        expected: String,
    },
    /// A field element that is not below the modulus.
    #[error("{what} {index} of the {file} is not below the field's modulus")]
    NotCanonical {
        /// Kind of file.
        file: &'static str,
        /// What it is.
        what: &'static str,
        /// Which one.
        index: u64,
    },
    /// Coordinates that are no point of the curve's group.
    #[error("point {index} of {what} of the zkey is not in the curve's group")]
    Point {
        /// Whose it is.
        what: &'static str,
        /// Which one.
        index: u64,
    },
    /// A point at infinity where it would make forgery possible.
    #[error("point {index} of {what} is at infinity, so proofs would not depend on it")]
    Infinity {
        /// Whose it is.
        what: &'static str,
        /// Which one.
        index: u64,
    },
    /// Two forms of one secret that are not of the same.
    #[error("{what} of the zkey differs between its two groups: the key is damaged or was put together by hand")]
    Unequal {
        /// Which one.
        what: &'static str,
    },
    /// Text where there is none.
    #[error("{what} of the {file} is not UTF-8")]
    NotText {
        /// Kind of file.
        file: &'static str,
        /// What it is.
        what: &'static str,
    },
}
