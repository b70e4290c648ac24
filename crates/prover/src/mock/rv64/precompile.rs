//! What SP1 proves with tables of its own: the parts of SHA-256 and Keccak-256. Words of SHA-256 lie in the low half of
//! 64-bit words.

use super::{Fault, memory::Memory};

const ROUND_CONSTANTS: [u32; 64] = round_constants();

/// SHA-256's message schedule: fills words 16 to 63 from words 0 to 15.
pub(super) fn sha_extend(memory: &mut Memory<'_>, schedule: u64) -> Result<(), Fault> {
    let mut w = read_words::<64>(memory, schedule)?.map(|word| word as u32);
    for i in 16..64 {
        let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
        let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
    }
    write_words(memory, schedule + 16 * 8, &w[16..].iter().map(|word| u64::from(*word)).collect::<Vec<_>>())
}

/// SHA-256's compression of a 64-word schedule into an 8-word state.
pub(super) fn sha_compress(memory: &mut Memory<'_>, schedule: u64, state: u64) -> Result<(), Fault> {
    let w = read_words::<64>(memory, schedule)?;
    let before = read_words::<8>(memory, state)?.map(|word| word as u32);
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = before;
    for (word, constant) in w.iter().zip(ROUND_CONSTANTS) {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let t1 = h.wrapping_add(s1).wrapping_add(choice).wrapping_add(constant).wrapping_add(*word as u32);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    let after = [a, b, c, d, e, f, g, h];
    let sums: Vec<_> = before.iter().zip(after).map(|(old, new)| u64::from(old.wrapping_add(new))).collect();
    write_words(memory, state, &sums)
}

/// The permutation Keccak-f\[1600\] of a 25-word state.
pub(super) fn keccak_permute(memory: &mut Memory<'_>, state: u64) -> Result<(), Fault> {
    let mut words = read_words::<25>(memory, state)?;
    tiny_keccak::keccakf(&mut words);
    write_words(memory, state, &words)
}

fn read_words<const N: usize>(memory: &mut Memory<'_>, address: u64) -> Result<[u64; N], Fault> {
    let mut bytes = Vec::with_capacity(N * 8);
    memory.read(address, N * 8, &mut bytes)?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok(std::array::from_fn(|i| u64::from_le_bytes(words[i])))
}

fn write_words(memory: &mut Memory<'_>, address: u64, words: &[u64]) -> Result<(), Fault> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.write(address, &bytes)
}

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes: the largest `x` with
/// `x³ ≤ prime · 2⁹⁶`, without its integer part.
const fn round_constants() -> [u32; 64] {
    let mut constants = [0; 64];
    let mut found = 0;
    let mut candidate: u128 = 2;
    while found < 64 {
        if is_prime(candidate) {
            let mut root: u128 = 0;
            let mut bit = 36;
            while bit > 0 {
                bit -= 1;
                let next = root | 1 << bit;
                if next * next * next <= candidate << 96 {
                    root = next;
                }
            }
            constants[found] = root as u32;
            found += 1;
        }
        candidate += 1;
    }
    constants
}

const fn is_prime(n: u128) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= n {
        if n.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    true
}
