//! Values from bytes of a fuzzer's choosing, and bytes that give the values of a seed.

/// Reads values off the front of bytes. It never fails: past the end everything is zero. Whatever a mutation changes changes one
/// value and leaves those after it where they are.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// These bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// Whether the next byte is odd.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `bound`, which is at most 256, from the next byte.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Two bytes, little-endian.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes, little-endian.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes, little-endian.
    pub fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The next bytes, zeros where they end.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// So many bytes, or what there is.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// As many bytes as the next byte says.
    pub fn few(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.take(count.into())
    }

    /// As many bytes as the next two say.
    pub fn many(&mut self) -> &'a [u8] {
        let count = self.short();
        self.take(count.into())
    }

    /// One of these.
    pub fn one<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    /// A key or a hash that shares a beginning with others of its kind: zeros, but for the bits that the next bytes name.
    pub fn sparse(&mut self) -> [u8; 32] {
        let mut hash = [0; 32];
        for _ in 0..self.below(4) {
            let bit = usize::from(self.byte());
            hash[bit / 8] ^= 1 << (bit % 8);
        }
        hash
    }
}

/// Writes what [`Input`] reads: for seeds.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A byte, a flag, or a number below a bound.
    #[must_use]
    pub fn byte(self, byte: u8) -> Self {
        self.bytes(&[byte])
    }

    /// For [`Input::short`].
    #[must_use]
    pub fn short(self, number: u16) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// For [`Input::word`].
    #[must_use]
    pub fn word(self, number: u32) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// For [`Input::long`].
    #[must_use]
    pub fn long(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// For [`Input::few`]; no more than 255 bytes.
    #[must_use]
    pub fn few(self, bytes: &[u8]) -> Self {
        let count = u8::try_from(bytes.len()).expect("a seed has few bytes here");
        self.byte(count).bytes(bytes)
    }

    /// For [`Input::many`]; no more than 65,535 bytes.
    #[must_use]
    pub fn many(self, bytes: &[u8]) -> Self {
        let count = u16::try_from(bytes.len()).expect("a seed has less than 64 KiB here");
        self.short(count).bytes(bytes)
    }

    /// These bytes as they are.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The seed.
    pub fn seed(self, name: &str) -> crate::Seed {
        (name.to_owned(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_then_zeros() {
        let writer = Writer::new().byte(3).short(500).word(7).long(8).few(b"few").many(b"many").byte(1);
        let (_, bytes) = writer.seed("all");
        let mut input = Input::new(&bytes);
        assert_eq!((input.below(4), input.short(), input.word(), input.long()), (3, 500, 7, 8));
        assert_eq!((input.few(), input.many()), (&b"few"[..], &b"many"[..]));
        assert!(input.flag() && input.is_empty());
        assert_eq!((input.long(), input.many(), input.array()), (0, &b""[..], [0; 3]));
        assert_eq!(Input::new(b"\x05ab").few(), b"ab");
    }
}
