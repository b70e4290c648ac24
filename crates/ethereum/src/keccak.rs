//! Keccak-256 on SP1's permutation.

/// Bytes absorbed by one permutation: the state's 200 without twice the digest's 32.
const RATE: usize = 136;

#[allow(unsafe_code)]
unsafe extern "C" {
    /// Permutes a state. `sp1-zkvm`, which every circuit links through the circuit SDK, defines it.
    fn syscall_keccak_permute(state: *mut [u64; 25]);
}

/// What `alloy-primitives` calls with its feature `native-keccak`.
///
/// # Safety
/// `bytes` points to `length` bytes that can be read, `output` to 32 that can be written.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn native_keccak256(bytes: *const u8, length: usize, output: *mut u8) {
    // SAFETY: that is what the caller promises. An empty slice's pointer is dangling, not null.
    let bytes = unsafe { core::slice::from_raw_parts(bytes, length) };
    let digest = keccak256(bytes);
    // SAFETY: that is what the caller promises.
    unsafe { output.copy_from_nonoverlapping(digest.as_ptr(), digest.len()) };
}

fn keccak256(bytes: &[u8]) -> [u8; 32] {
    let mut state = [0; 25];
    let (blocks, rest) = bytes.as_chunks::<RATE>();
    for block in blocks {
        absorb(&mut state, block);
    }
    // Padded by 1, zeros and a last bit. Where the rest fills all but one byte, both are in that byte.
    let mut last = [0; RATE];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x01;
    last[RATE - 1] |= 0x80;
    absorb(&mut state, &last);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<8>().0.iter_mut().zip(&state) {
        *bytes = word.to_le_bytes();
    }
    digest
}

#[allow(unsafe_code)]
fn absorb(state: &mut [u64; 25], block: &[u8; RATE]) {
    for (word, bytes) in state.iter_mut().zip(block.as_chunks::<8>().0) {
        *word ^= u64::from_le_bytes(*bytes);
    }
    // SAFETY: the state is 25 words aligned to eight bytes, and nothing else refers to it.
    unsafe { syscall_keccak_permute(state) };
}
