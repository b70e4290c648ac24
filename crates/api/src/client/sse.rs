//! Server-sent events: from bytes to messages.

use std::time::Duration;

/// A line longer than this is no event of a coprocessor.
const LONGEST_LINE: usize = 16 << 20;

/// A line without an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LineTooLong;

/// Takes a stream apart, however it was cut into pieces. Of each message its data is kept (its `data` fields, joined by line
/// feeds): the name and id of a coprocessor's event are in there too. Of all of them the last id is kept, which may come
/// without data.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    data: Option<String>,
    after_carriage_return: bool,
    /// How long the service asked to wait before connecting again.
    pub(super) retry: Option<Duration>,
    /// The last id that was a number.
    pub(super) last_id: Option<u64>,
}

impl Decoder {
    /// Data of the messages completed by the next piece of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, LineTooLong> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let ends_line = match byte {
                b'\n' => !self.after_carriage_return,
                b'\r' => true,
                _ => {
                    if self.line.len() == LONGEST_LINE {
                        return Err(LineTooLong);
                    }
                    self.line.push(byte);
                    false
                }
            };
            self.after_carriage_return = byte == b'\r';
            if ends_line {
                messages.extend(self.end_line());
            }
        }
        Ok(messages)
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.data.take();
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field.trim_start_matches('\u{feff}') {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" => self.last_id = value.parse().ok().or(self.last_id),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}data: first\n\n: a comment\nid: 7\nevent: x\ndata:two\r\ndata: lines\r\n\r\nretry: 1500\n\
                          data\n\nid: 9\n\ndata: größe\r\rdata: never finished\n";

    fn decode(pieces: impl IntoIterator<Item = Vec<u8>>) -> (Vec<String>, Option<Duration>) {
        let mut decoder = Decoder::default();
        let messages = pieces.into_iter().flat_map(|piece| decoder.push(&piece).unwrap()).collect();
        (messages, decoder.retry)
    }

    #[test]
    fn messages_do_not_depend_on_how_the_stream_is_cut() {
        let expected =
            (["first", "two\nlines", "", "größe"].map(String::from).to_vec(), Some(Duration::from_millis(1500)));
        assert_eq!(decode([STREAM.as_bytes().to_vec()]), expected);
        assert_eq!(decode(STREAM.bytes().map(|byte| vec![byte])), expected);
        for cut in 0..STREAM.len() {
            let (left, right) = STREAM.as_bytes().split_at(cut);
            assert_eq!(decode([left.to_vec(), right.to_vec()]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_id_counts_with_and_without_data() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"id: 41\n\n"), Ok(Vec::new()));
        assert_eq!(decoder.last_id, Some(41));
        assert_eq!(decoder.push(b"id: 42\ndata: x\n\nid: none\n\n"), Ok(vec!["x".to_owned()]));
        assert_eq!(decoder.last_id, Some(42));
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..16 {
            assert_eq!(decoder.push(&piece), Ok(Vec::new()));
        }
        assert_eq!(decoder.push(b"x"), Err(LineTooLong));
    }
}
