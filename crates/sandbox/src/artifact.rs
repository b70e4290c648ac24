//! A compiled module as bytes, with what it takes to know it again.
//!
//! `"cpwasm\0\x01" ‖ fingerprint (32) ‖ SHA-256 of the module (32) ‖ SHA-256 of the code (32) ‖ code`

use crate::error::ModuleError;
use coprocessor_types::BlobDigest;

const MAGIC: [u8; 8] = *b"cpwasm\0\x01";
const HEADER: usize = MAGIC.len() + 3 * 32;

/// Machine code of a controller, made by [`crate::Sandbox::compile`], to be kept by the caller.
///
/// Loading one is running it: keep artifacts only where nobody but the service can write. The digest inside shows
/// damage; it is no seal, since whoever can write the code can write the digest too.
#[derive(Clone, PartialEq, Eq)]
pub struct Artifact(Vec<u8>);

impl Artifact {
    /// Bytes that [`Artifact::as_bytes`] gave. They are looked at when they are loaded.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// To be kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// To be kept.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn pack(fingerprint: &[u8; 32], module: &BlobDigest, code: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + code.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(fingerprint);
        bytes.extend_from_slice(module.as_bytes());
        bytes.extend_from_slice(BlobDigest::of(code).as_bytes());
        bytes.extend_from_slice(code);
        Self(bytes)
    }

    /// The code, if it was made by this engine from this module, and is whole.
    pub(crate) fn code(&self, fingerprint: &[u8; 32], module: &BlobDigest) -> Result<&[u8], ModuleError> {
        let damaged = |reason: &str| ModuleError::Damaged { reason: reason.into() };
        let (header, code) = self.0.split_at_checked(HEADER).ok_or_else(|| damaged("shorter than its header"))?;
        let fields = header.strip_prefix(&MAGIC).ok_or_else(|| damaged("it does not begin like an artifact"))?;
        let digest = |index: usize| BlobDigest(fields[index * 32..][..32].try_into().expect("a field has 32 bytes"));
        if digest(0).0 != *fingerprint {
            return Err(ModuleError::Foreign {
                got: digest(0).to_string(),
                expected: BlobDigest(*fingerprint).to_string(),
            });
        }
        if digest(1) != *module {
            return Err(ModuleError::OtherModule { got: digest(1).to_string(), expected: module.to_string() });
        }
        if digest(2) != BlobDigest::of(code) {
            return Err(damaged("its code is not what its digest says"));
        }
        Ok(code)
    }
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Artifact({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_packed_is_unpacked() {
        let module = BlobDigest([2; 32]);
        let artifact = Artifact::pack(&[1; 32], &module, b"code");
        assert_eq!(artifact.code(&[1; 32], &module), Ok(&b"code"[..]));
        assert!(matches!(artifact.code(&[9; 32], &module), Err(ModuleError::Foreign { .. })));
        assert!(matches!(artifact.code(&[1; 32], &BlobDigest([9; 32])), Err(ModuleError::OtherModule { .. })));
        for at in 0..artifact.0.len() {
            let mut bytes = artifact.0.clone();
            bytes[at] ^= 1;
            assert!(Artifact(bytes).code(&[1; 32], &module).unwrap_err().wants_recompiling(), "byte {at}");
            assert!(Artifact(artifact.0[..at].to_vec()).code(&[1; 32], &module).is_err(), "cut at {at}");
        }
    }
}
