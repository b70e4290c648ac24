//! HTTP/2 and gRPC as far as it takes to say something wrong in them.

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// What a client's connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before each frame's payload.
pub(crate) const HEAD: usize = 9;
/// The stream of a client's first request.
pub(crate) const FIRST: u32 = 1;
/// Most bytes of a frame's payload that everybody takes.
const MAX_PAYLOAD: usize = 16_384;

/// What a frame says, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// The headers of a request or of an answer.
    Headers,
    /// That is all of this stream: its last headers or data, or that it was broken off.
    End,
    /// The connection is given up, and why is said.
    GoAway,
    /// Anything else.
    Other,
}

/// A frame's length and what it says, from the bytes before its payload.
pub(crate) fn read_head(head: &[u8; HEAD]) -> (usize, Said) {
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let said = match (head[3], head[4] & END_STREAM != 0) {
        (DATA | HEADERS, true) | (RESET, _) => Said::End,
        (HEADERS, false) => Said::Headers,
        (GO_AWAY, _) => Said::GoAway,
        _ => Said::Other,
    };
    (length, said)
}

/// Settings of one's own, and that the other's are taken.
pub(crate) fn settings() -> Vec<u8> {
    [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat()
}

/// Headers, uncompressed; the last ones of the stream where `end`.
pub(crate) fn headers(fields: &[(&str, &[u8])], end: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that is not to be indexed, with a name of its own.
        block.push(0);
        for text in [name.as_bytes(), value] {
            let length = text.len().min(126);
            block.push(length as u8);
            block.extend_from_slice(&text[..length]);
        }
    }
    frame(HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, FIRST, &block)
}

/// Bytes of a stream, in frames that everybody takes.
pub(crate) fn data(bytes: &[u8], end: bool) -> Vec<u8> {
    let mut frames: Vec<u8> = bytes.chunks(MAX_PAYLOAD).flat_map(|chunk| frame(DATA, 0, FIRST, chunk)).collect();
    if end {
        frames.extend(frame(DATA, END_STREAM, FIRST, &[]));
    }
    frames
}

/// A message as gRPC puts it before its bytes.
pub(crate) fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_say_what_they_are() {
        let said = |frame: &[u8]| read_head(frame.first_chunk().unwrap());
        assert_eq!(said(&settings()), (0, Said::Other));
        assert_eq!(said(&headers(&[("a", b"b")], false)), (5, Said::Headers));
        assert_eq!(said(&headers(&[("a", b"b")], true)), (5, Said::End));
        assert_eq!(said(&data(b"abc", true)), (3, Said::Other));
        assert_eq!(said(&data(b"", true)), (0, Said::End));
        assert_eq!(data(&[0; 20_000], false).len(), 20_000 + 2 * HEAD);
        assert_eq!(message(b"abc"), b"\0\0\0\0\x03abc");
    }
}
