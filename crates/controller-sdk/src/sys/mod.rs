//! The calls themselves: the sandbox's on wasm32, the test runtime's with the feature `testing`.

use crate::host::{HostError, HostErrorCode};
use alloc::vec::Vec;

#[cfg(target_arch = "wasm32")]
mod wasm;
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::*;

#[cfg(all(not(target_arch = "wasm32"), feature = "testing"))]
pub(crate) use crate::testing::calls::*;

#[cfg(all(not(target_arch = "wasm32"), not(feature = "testing")))]
mod none;
#[cfg(all(not(target_arch = "wasm32"), not(feature = "testing")))]
pub(crate) use none::*;

/// Where the host writes a result of unknown size.
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// The most the host writes.
    pub(crate) const CAPACITY: usize = 16 * 1024 * 1024;

    /// For hosts in the same process.
    #[cfg(all(not(target_arch = "wasm32"), feature = "testing"))]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> i32 {
        if bytes.len() > Self::CAPACITY {
            return HostErrorCode::TooLarge.as_i32();
        }
        self.0 = bytes.to_vec();
        bytes.len() as i32
    }
}

/// A call whose result is the number of bytes it wrote to the buffer.
pub(crate) fn fetch(call: &'static str, fetch: impl FnOnce(&mut Buffer) -> i32) -> Result<Vec<u8>, HostError> {
    let mut buffer = Buffer::offered();
    let written = fetch(&mut buffer);
    match usize::try_from(written) {
        Ok(len) if len <= Buffer::CAPACITY => Ok(buffer.taken(len)),
        Ok(_) => Err(HostError::new(call, HostErrorCode::TooLarge)),
        Err(_) => Err(HostError::explained(call, HostErrorCode::from_result(written))),
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Buffer {
    pub(crate) fn offered() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn taken(mut self, len: usize) -> Vec<u8> {
        self.0.truncate(len);
        self.0
    }
}
