//! Reading length-prefixed bytes from an untrusted source: every length is checked against what is left before
//! anything is allocated.

use alloc::vec::Vec;

/// Why bytes are not what they should encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("truncated: {needed} bytes needed at offset {offset}, {left} left")]
    Truncated {
        /// Where reading stopped.
        offset: usize,
        /// Bytes the value still needs.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// Bytes follow the value.
    #[error("{left} bytes left over after the value")]
    LeftOver {
        /// Number of surplus bytes.
        left: usize,
    },
    /// A version this code does not know.
    #[error("unknown encoding version {got}, expected {expected}")]
    Version {
        /// The version read.
        got: u8,
        /// The version this code writes.
        expected: u8,
    },
    /// A tag that names no variant.
    #[error("unknown tag {got}")]
    Tag {
        /// The tag read.
        got: u8,
    },
    /// More siblings than the tree is deep.
    #[error("{got} siblings, at most {limit}")]
    TooDeep {
        /// Number of siblings announced.
        got: usize,
        /// The tree's depth.
        limit: usize,
    },
}

pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(crate) fn take(&mut self, needed: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.bytes.len() - self.offset;
        if needed > left {
            return Err(DecodeError::Truncated { offset: self.offset, needed, left });
        }
        let taken = &self.bytes[self.offset..self.offset + needed];
        self.offset += needed;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// So many arrays.
    pub(crate) fn arrays<const N: usize>(&mut self, count: usize) -> Result<&'a [[u8; N]], DecodeError> {
        let (arrays, _) = self.take(count.saturating_mul(N))?.as_chunks();
        Ok(arrays)
    }

    /// Bytes after a `u32` length.
    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, DecodeError> {
        let len = self.u32()? as usize;
        Ok(self.take(len)?.to_vec())
    }

    pub(crate) fn end(self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.offset {
            0 => Ok(()),
            left => Err(DecodeError::LeftOver { left }),
        }
    }
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("a witness element is below 4 GiB: the service bounds it far lower");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}
