//! What both sides of a host call agree on: the codes a controller gets for a call that failed, and how bytes cross its
//! memory's border.

use crate::error::RunError;

/// The most bytes a host call writes at a controller's pointer: 16 MiB.
///
/// Controllers give a pointer to a buffer of this size and no capacity.
pub const MAX_BUFFER: usize = 16 * 1024 * 1024;

/// No domain, chain or method has a longer name, in bytes.
pub(crate) const MAX_NAME: u32 = 256;

/// No volume holds a longer path, in bytes.
pub(crate) const MAX_PATH: u32 = 4096;

/// The module name of every host call.
pub(crate) const MODULE: &str = "valence";

/// What a controller gets instead of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Code {
    NoMemory = -1,
    MemoryTooSmall = -2,
    Write = -3,
    Read = -4,
    BadReturn = -5,
    BufferTooLarge = -6,
    RawStorage = -7,
    NotUtf8 = -8,
    Serialization = -10,
    Json = -11,
    StateProof = -12,
    Http = -13,
    LatestBlock = -14,
    Storage = -15,
    NoRpcEndpoint = -18,
    RpcResult = -19,
    BlockProof = -20,
    HistoricalUpdate = -21,
}

/// Why a host call has no answer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The controller is told by a code, and goes on.
    Code(Code),
    /// The run ends here.
    Abort(Box<RunError>),
}

impl From<Code> for Stop {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

impl From<RunError> for Stop {
    fn from(error: RunError) -> Self {
        Self::Abort(Box::new(error))
    }
}

/// Turns what a host call came to into what wasmtime hands to the controller. A length is at most [`MAX_BUFFER`].
pub(crate) fn answer(outcome: Result<usize, Stop>) -> wasmtime::Result<i32> {
    match outcome {
        Ok(length) => Ok(i32::try_from(length)?),
        Err(Stop::Code(code)) => Ok(code as i32),
        Err(Stop::Abort(error)) => Err(wasmtime::Error::new(*error)),
    }
}

/// The controller's bytes at `ptr`.
pub(crate) fn get(memory: &[u8], ptr: u32, len: u32) -> Result<&[u8], Code> {
    let from = memory.get(ptr as usize..).ok_or(Code::Read)?;
    from.get(..len as usize).ok_or(Code::BufferTooLarge)
}

/// The controller's bytes at `ptr`, as many as the type has.
pub(crate) fn get_fixed<const N: usize>(memory: &[u8], ptr: u32) -> Result<[u8; N], Code> {
    let from = memory.get(ptr as usize..).ok_or(Code::Read)?;
    from.first_chunk().copied().ok_or(Code::BufferTooLarge)
}

/// The controller's text at `ptr`.
pub(crate) fn get_text(memory: &[u8], ptr: u32, len: u32) -> Result<&str, Code> {
    core::str::from_utf8(get(memory, ptr, len)?).map_err(|_| Code::NotUtf8)
}

/// Writes all of `content` at `ptr`, or nothing. Answers its length.
pub(crate) fn put(memory: &mut [u8], ptr: u32, content: &[u8]) -> Result<usize, Code> {
    if content.len() > MAX_BUFFER {
        return Err(Code::BufferTooLarge);
    }
    let from = memory.get_mut(ptr as usize..).ok_or(Code::Write)?;
    from.get_mut(..content.len()).ok_or(Code::MemoryTooSmall)?.copy_from_slice(content);
    Ok(content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stay_inside_memory() {
        let memory = b"abcdef";
        assert_eq!(get(memory, 2, 4), Ok(&b"cdef"[..]));
        assert_eq!(get(memory, 6, 0), Ok(&b""[..]));
        assert_eq!(get(memory, 2, 5), Err(Code::BufferTooLarge));
        assert_eq!(get(memory, 0, u32::MAX), Err(Code::BufferTooLarge));
        assert_eq!(get(memory, 7, 0), Err(Code::Read));
        assert_eq!(get(memory, u32::MAX, u32::MAX), Err(Code::Read));
        assert_eq!(get_fixed(memory, 2), Ok(*b"cdef"));
        assert_eq!(get_fixed::<4>(memory, 3), Err(Code::BufferTooLarge));
        assert_eq!(get_fixed::<4>(memory, u32::MAX), Err(Code::Read));
    }

    #[test]
    fn writes_stay_inside_memory_and_are_whole() {
        let mut memory = *b"abcdef";
        assert_eq!(put(&mut memory, 4, b"123"), Err(Code::MemoryTooSmall));
        assert_eq!(put(&mut memory, 7, b""), Err(Code::Write));
        assert_eq!(put(&mut memory, u32::MAX, b"1"), Err(Code::Write));
        assert_eq!(&memory, b"abcdef");
        assert_eq!(put(&mut memory, 4, b"12"), Ok(2));
        assert_eq!(&memory, b"abcd12");
    }

    #[test]
    fn never_more_than_the_buffer_every_controller_has() {
        let mut memory = vec![0; MAX_BUFFER + 2];
        assert_eq!(put(&mut memory, 0, &vec![1; MAX_BUFFER + 1]), Err(Code::BufferTooLarge));
        assert_eq!(memory[0], 0);
        assert_eq!(put(&mut memory, 0, &vec![1; MAX_BUFFER]), Ok(MAX_BUFFER));
        assert_eq!(memory[MAX_BUFFER], 0);
    }

    #[test]
    fn text_is_utf8() {
        assert_eq!(get_text("né".as_bytes(), 0, 3), Ok("né"));
        assert_eq!(get_text("né".as_bytes(), 0, 2), Err(Code::NotUtf8));
    }
}
