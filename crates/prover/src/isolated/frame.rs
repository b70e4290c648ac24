//! How messages lie on the connection between a node and its worker.
//!
//! A frame is the length of its head in four bytes, big-endian; the head, in bincode; and the parts, whose lengths the head
//! tells. Whatever the other end sends, no more is read than the limits say, and memory grows with what arrives, not with
//! what is announced.

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};

/// Longest head, in bytes.
pub(super) const MAX_HEAD: u32 = 64 << 10;

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The connection broke, or ended in the middle of a frame.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// A longer head than there can be.
    #[error("a head of {got} bytes, at most {MAX_HEAD} are read")]
    HeadTooLong {
        /// Its length as announced.
        got: u32,
    },
    /// The head is none that this build knows, or longer than it may be written.
    #[error("a head that is none: {0}")]
    BadHead(#[source] bincode::Error),
    /// A part that is longer than is taken.
    #[error("{what} of {got} bytes, at most {limit} are taken")]
    PartTooLong {
        /// What it is.
        what: &'static str,
        /// Its length as announced.
        got: u64,
        /// The most that is taken.
        limit: u64,
    },
}

/// Writes a frame. The head tells the parts' lengths.
pub(super) fn write(out: &mut impl Write, head: &impl Serialize, parts: &[&[u8]]) -> Result<(), FrameError> {
    let head = options().serialize(head).map_err(FrameError::BadHead)?;
    let length = u32::try_from(head.len()).expect("no longer than MAX_HEAD");
    let mut start = Vec::with_capacity(4 + head.len());
    start.extend_from_slice(&length.to_be_bytes());
    start.extend_from_slice(&head);
    out.write_all(&start)?;
    for part in parts {
        out.write_all(part)?;
    }
    Ok(out.flush()?)
}

/// Reads a frame's head; `None` when the other end has hung up between two frames.
pub(super) fn read_head<H: DeserializeOwned>(input: &mut impl Read) -> Result<Option<H>, FrameError> {
    let mut length = Vec::with_capacity(4);
    input.take(4).read_to_end(&mut length)?;
    if length.is_empty() {
        return Ok(None);
    }
    let length = u32::from_be_bytes(length.try_into().map_err(|_| cut_short())?);
    if length > MAX_HEAD {
        return Err(FrameError::HeadTooLong { got: length });
    }
    let head = read_exactly(input, length.into())?;
    options().deserialize(&head).map(Some).map_err(FrameError::BadHead)
}

/// Reads a part of the length that the head told.
pub(super) fn read_part(
    input: &mut impl Read,
    what: &'static str,
    length: u64,
    limit: u64,
) -> Result<Vec<u8>, FrameError> {
    if length > limit {
        return Err(FrameError::PartTooLong { what, got: length, limit });
    }
    read_exactly(input, length)
}

fn read_exactly(input: &mut impl Read, length: u64) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length { Err(cut_short()) } else { Ok(bytes) }
}

fn cut_short() -> FrameError {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}

/// Nothing is left over, and nothing is allocated beyond a head.
fn options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(MAX_HEAD.into()).reject_trailing_bytes()
}

#[cfg(test)]
mod tests {
    use super::{super::message::Report, *};
    use proptest::prelude::*;

    fn read(mut bytes: &[u8], limit: u64) -> Result<Option<(Report, Vec<u8>)>, FrameError> {
        let Some(head) = read_head(&mut bytes)? else { return Ok(None) };
        let length = if let Report::Done { proof_length, .. } = head { proof_length } else { 0 };
        let part = read_part(&mut bytes, "proof", length, limit)?;
        Ok(Some((head, part)))
    }

    fn done(proof_length: u64) -> Report {
        Report::Done {
            kind: "mock".into(),
            proof_length,
            public_inputs_length: 0,
            cycles: 1,
            proving_nanoseconds: 2,
            set_up_nanoseconds: 3,
            peak_memory: 4,
        }
    }

    fn frame(head: &Report, part: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, head, &[part]).unwrap();
        bytes
    }

    #[test]
    fn a_fixture_holds_the_format() {
        let bytes = frame(&Report::Step { name: "proving".into() }, b"");
        assert_eq!(bytes, b"\0\0\0\x09\x03\x07proving");
    }

    #[test]
    fn the_end_between_frames_is_none_and_within_one_is_an_error() {
        let bytes = frame(&done(3), b"abc");
        assert!(matches!(read(b"", 3), Ok(None)));
        for end in 1..bytes.len() {
            assert!(matches!(read(&bytes[..end], 3), Err(FrameError::Broken(_))), "{end}");
        }
        assert_eq!(read(&bytes, 3).unwrap(), Some((done(3), b"abc".to_vec())));
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_before_anything_is_read() {
        let mut head = (MAX_HEAD + 1).to_be_bytes().to_vec();
        head.resize(MAX_HEAD as usize + 100, 0);
        assert!(matches!(read(&head, 3), Err(FrameError::HeadTooLong { got }) if got == MAX_HEAD + 1));
        let long = frame(&done(u64::MAX), b"abc");
        assert!(matches!(read(&long, 3), Err(FrameError::PartTooLong { got: u64::MAX, limit: 3, .. })));
        let text = Report::Unfit { reason: "x".repeat(MAX_HEAD as usize) };
        assert!(matches!(write(&mut Vec::new(), &text, &[]), Err(FrameError::BadHead(_))));
        // A string that announces more than the head holds.
        let greedy = b"\0\0\0\x0a\x03\xfd\xff\xff\xff\xff\xff\xff\xff\x7f";
        assert!(matches!(read(greedy, 3), Err(FrameError::BadHead(_))));
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_and_never_more_than_they_are(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(Some((_, part))) = read(&bytes, 64) {
                prop_assert!(part.len() <= 64 && part.len() < bytes.len());
            }
        }

        #[test]
        fn a_changed_frame_is_refused_or_another(
            part in prop::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>(), change in 1..=u8::MAX,
        ) {
            let head = done(part.len() as u64);
            let mut bytes = frame(&head, &part);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            if let Ok(Some(read)) = read(&bytes, 64) {
                prop_assert_ne!(read, (head, part));
            }
        }

        #[test]
        fn what_is_written_is_read(part in prop::collection::vec(any::<u8>(), 0..9000), rest in any::<[u8; 9]>()) {
            let head = done(part.len() as u64);
            let bytes = [frame(&head, &part), rest.to_vec()].concat();
            prop_assert_eq!(read(&bytes, 9000).unwrap(), Some((head, part)));
        }
    }
}
