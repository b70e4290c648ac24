//! Bytes of any length in messages of bounded length.

use bytes::{Bytes, BytesMut};

use super::CHUNK;

/// The chunks of some bytes, none of them empty.
pub(crate) fn chunks(bytes: Bytes) -> impl Iterator<Item = Bytes> + Send {
    (0..bytes.len()).step_by(CHUNK).map(move |start| bytes.slice(start..bytes.len().min(start + CHUNK)))
}

/// Bytes being put together again. Grows with what arrives, not with what was announced.
pub(crate) struct Assembly {
    bytes: BytesMut,
    length: usize,
}

/// Why chunks are not the bytes announced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssemblyError {
    /// More than is taken.
    #[error("{what} of {got} bytes, at most {limit} are taken")]
    TooLarge { what: &'static str, got: u64, limit: usize },
    /// More or less than announced.
    #[error("{got} bytes, {expected} were announced")]
    Length { got: usize, expected: usize },
}

impl Assembly {
    /// For `length` bytes, as announced.
    pub(crate) fn new(what: &'static str, length: u64, limit: usize) -> Result<Self, AssemblyError> {
        match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(Self { bytes: BytesMut::new(), length }),
            _ => Err(AssemblyError::TooLarge { what, got: length, limit }),
        }
    }

    /// Adds a chunk.
    pub(crate) fn add(&mut self, chunk: &[u8]) -> Result<(), AssemblyError> {
        let got = self.bytes.len() + chunk.len();
        if got > self.length {
            return Err(AssemblyError::Length { got, expected: self.length });
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Whether all of it is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes.len() == self.length
    }

    /// The bytes, when all of them are there.
    pub(crate) fn finish(self) -> Result<Bytes, AssemblyError> {
        if self.is_whole() {
            Ok(self.bytes.freeze())
        } else {
            Err(AssemblyError::Length { got: self.bytes.len(), expected: self.length })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_is_put_together() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let bytes = Bytes::from_iter((0..length).map(|i| i as u8));
            let mut assembly = Assembly::new("proof", length as u64, 4 * CHUNK).unwrap();
            for chunk in chunks(bytes.clone()) {
                assert!(!chunk.is_empty() && chunk.len() <= CHUNK && !assembly.is_whole());
                assembly.add(&chunk).unwrap();
            }
            assert_eq!(assembly.finish(), Ok(bytes));
        }
    }

    #[test]
    fn another_length_than_announced_is_refused() {
        let mut assembly = Assembly::new("proof", 3, 10).unwrap();
        assembly.add(b"ab").unwrap();
        assert_eq!(assembly.add(b"cd"), Err(AssemblyError::Length { got: 4, expected: 3 }));
        assert_eq!(assembly.finish(), Err(AssemblyError::Length { got: 2, expected: 3 }));
        let refused = Assembly::new("proof", u64::MAX, 10).err();
        assert_eq!(refused, Some(AssemblyError::TooLarge { what: "proof", got: u64::MAX, limit: 10 }));
    }
}
