//! SHA-256, inside the zkVM by its own tables for it: some hundred cycles a block instead of thousands.

/// SHA-256 of the parts, one after the other.
#[cfg(not(target_os = "zkvm"))]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// SHA-256 of the parts, one after the other.
#[cfg(target_os = "zkvm")]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    blocks::of_parts(zkvm::compress, parts)
}

/// SHA-256 of `tag ‖ left ‖ right`: most of what an opening costs a circuit.
pub fn sha256_pair(tag: u8, left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    #[cfg(target_os = "zkvm")]
    return blocks::of_pair(zkvm::compress, tag, left, right);
    #[cfg(not(target_os = "zkvm"))]
    sha256(&[&[tag], left, right])
}

/// How messages become blocks. What is done with a block comes from outside: it takes the block's words into the state. Words
/// have 32 bits, in the low half of 64, as SP1's tables have them.
#[cfg(any(test, target_os = "zkvm"))]
mod blocks {
    type Block = [u64; 16];
    type State = [u64; 8];

    const BLOCK_LEN: usize = 64;

    /// Where the message's length in bits goes, in the last block.
    const LENGTH_AT: usize = BLOCK_LEN - 8;

    const INITIAL: State =
        [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

    pub(super) fn of_parts(compress: impl Fn(&Block, &mut State), parts: &[&[u8]]) -> [u8; 32] {
        let mut state = INITIAL;
        let mut bytes = [0; BLOCK_LEN];
        let (mut filled, mut length) = (0, 0u64);
        for mut part in parts.iter().copied() {
            length += part.len() as u64;
            while !part.is_empty() {
                let (now, later) = part.split_at(part.len().min(BLOCK_LEN - filled));
                bytes[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                if filled == BLOCK_LEN {
                    compress(&words(&bytes), &mut state);
                    filled = 0;
                }
                part = later;
            }
        }
        bytes[filled] = 0x80;
        bytes[filled + 1..].fill(0);
        if filled >= LENGTH_AT {
            compress(&words(&bytes), &mut state);
            bytes.fill(0);
        }
        bytes[LENGTH_AT..].copy_from_slice(&(8 * length).to_be_bytes());
        compress(&words(&bytes), &mut state);
        digest(&state)
    }

    /// 65 bytes: each word straight from the four bytes that the tag moves into it, and the last byte alone in the second block.
    pub(super) fn of_pair(
        compress: impl Fn(&Block, &mut State),
        tag: u8,
        left: &[u8; 32],
        right: &[u8; 32],
    ) -> [u8; 32] {
        let mut state = INITIAL;
        let mut block = [0; 16];
        block[0] = word([tag, left[0], left[1], left[2]]);
        fill(&mut block[1..8], &left[3..31]);
        block[8] = word([left[31], right[0], right[1], right[2]]);
        fill(&mut block[9..], &right[3..31]);
        compress(&block, &mut state);
        let mut block = [0; 16];
        block[0] = word([right[31], 0x80, 0, 0]);
        block[15] = 8 * 65;
        compress(&block, &mut state);
        digest(&state)
    }

    fn words(bytes: &[u8; BLOCK_LEN]) -> Block {
        let mut block = [0; 16];
        fill(&mut block, bytes);
        block
    }

    fn fill(words: &mut [u64], bytes: &[u8]) {
        for (into, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *into = word(*bytes);
        }
    }

    fn word(bytes: [u8; 4]) -> u64 {
        u32::from_be_bytes(bytes).into()
    }

    fn digest(state: &State) -> [u8; 32] {
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
            *bytes = (*word as u32).to_be_bytes();
        }
        digest
    }
}

#[cfg(target_os = "zkvm")]
mod zkvm {
    use core::mem::MaybeUninit;

    // Defined by `sp1-zkvm`, which every circuit links.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        fn syscall_sha256_extend(schedule: *mut [u64; 64]);
        fn syscall_sha256_compress(schedule: *mut [u64; 64], state: *mut [u64; 8]);
    }

    pub(super) fn compress(block: &[u64; 16], state: &mut [u64; 8]) {
        let mut schedule = MaybeUninit::<[u64; 64]>::uninit();
        let schedule = schedule.as_mut_ptr();
        // SAFETY: the block's 16 words fit the schedule's 64, of which `extend` reads those and writes the others, and `compress`
        // reads all and the state; nothing else is touched.
        #[allow(unsafe_code)]
        unsafe {
            schedule.cast::<[u64; 16]>().write(*block);
            syscall_sha256_extend(schedule);
            syscall_sha256_compress(schedule, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;
    /// FIPS 180-4, 6.2.2, on words as the zkVM has them.
    fn compress(block: &[u64; 16], state: &mut [u64; 8]) {
        let mut w = [0u32; 64];
        for (into, word) in w.iter_mut().zip(block) {
            *into = u32::try_from(*word).unwrap();
        }
        for t in 16..64 {
            let s0 = w[t - 15].rotate_right(7) ^ w[t - 15].rotate_right(18) ^ (w[t - 15] >> 3);
            let s1 = w[t - 2].rotate_right(17) ^ w[t - 2].rotate_right(19) ^ (w[t - 2] >> 10);
            w[t] = w[t - 16].wrapping_add(s0).wrapping_add(w[t - 7]).wrapping_add(s1);
        }
        let before = state.map(|word| u32::try_from(word).unwrap());
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = before;
        for (word, constant) in w.into_iter().zip(constants()) {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let t1 = h.wrapping_add(s1).wrapping_add((e & f) ^ (!e & g)).wrapping_add(constant).wrapping_add(word);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
            (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
        }
        for (index, after) in [a, b, c, d, e, f, g, h].into_iter().enumerate() {
            state[index] = before[index].wrapping_add(after).into();
        }
    }

    /// The first 32 bits after the point of the cube roots of the first 64 primes.
    fn constants() -> impl Iterator<Item = u32> {
        let primes = (2u128..).filter(|n| (2..*n).all(|divisor| n % divisor != 0));
        primes.take(64).map(|prime| {
            let cube = prime << 96;
            let root = (0..36).rev().fold(0u128, |root, bit| {
                let larger = root | 1 << bit;
                if larger.pow(3) <= cube { larger } else { root }
            });
            root as u32
        })
    }

    fn both(parts: &[&[u8]]) -> [u8; 32] {
        let digest = blocks::of_parts(compress, parts);
        assert_eq!(digest, sha256(parts), "{parts:?}");
        digest
    }

    #[test]
    fn every_length_up_to_three_blocks() {
        let message: Vec<u8> = (0..200).collect();
        for length in 0..message.len() {
            both(&[&message[..length]]);
        }
    }

    /// Of FIPS 180-2.
    #[test]
    fn a_published_vector() {
        let digest = both(&[b"abcdbcdecdefdefgefghfghighij", b"hijkijkljklmklmnlmnomnopnopq"]);
        assert_eq!(hex::encode(digest), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    }

    proptest! {
        #[test]
        fn parts_are_one_message(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 0..6)) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(both(&slices), both(&[&parts.concat()]));
        }

        #[test]
        fn a_pair_is_the_message_of_its_parts(tag in any::<u8>(), left in any::<[u8; 32]>(), right in any::<[u8; 32]>()) {
            let digest = blocks::of_pair(compress, tag, &left, &right);
            prop_assert_eq!(digest, sha256(&[&[tag], &left, &right]));
            prop_assert_eq!(digest, sha256_pair(tag, &left, &right));
        }
    }
}
