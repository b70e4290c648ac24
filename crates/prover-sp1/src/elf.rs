//! What an ELF must look like before the SDK sees it: its loader asserts where this answers.

use coprocessor_prover::BackendError;

const MAGIC: &[u8; 4] = b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EXECUTABLE: u16 = 2;
const RISC_V: u16 = 243;
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const MAX_MEMORY: u64 = 1 << 30;

/// Checks the header of an SP1 circuit: a 64-bit little-endian RISC-V executable.
///
/// # Errors
/// [`BackendError::BadCircuit`], saying what it is instead.
pub(crate) fn check(elf: &[u8]) -> Result<(), BackendError> {
    let bad = |reason: String| Err(BackendError::BadCircuit { reason });
    if !elf.starts_with(MAGIC) {
        return bad("not an ELF file; build the circuit with `cargo coprocessor build`".into());
    }
    if elf.len() < HEADER {
        return bad(format!("the ELF header is truncated: {} of {HEADER} bytes", elf.len()));
    }
    if elf[4] != CLASS_64 || elf[5] != LITTLE_ENDIAN {
        return bad("not a 64-bit little-endian ELF; SP1 6 takes riscv64".into());
    }
    let half = |at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]);
    if half(18) != RISC_V {
        return bad(format!("an ELF for machine {}, not for RISC-V ({RISC_V})", half(18)));
    }
    if half(16) != EXECUTABLE {
        return bad(format!("an ELF of type {}, not an executable ({EXECUTABLE})", half(16)));
    }
    check_segments(elf)
}

/// The SDK keeps a word for every word that the segments announce: what they announce is bounded before it looks.
fn check_segments(elf: &[u8]) -> Result<(), BackendError> {
    let bad = |reason: String| Err(BackendError::BadCircuit { reason });
    let word = |at: usize| -> u64 {
        let bytes = at.checked_add(8).and_then(|end| elf.get(at..end)).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let (table, size, count) = (word(32), half(54), half(56));
    let end = usize::try_from(table).ok().and_then(|table| table.checked_add(size * count));
    if size != PROGRAM_HEADER || end.is_none_or(|end| end > elf.len()) {
        return bad("the ELF's program headers are not in the file".into());
    }
    let headers = &elf[usize::try_from(table).unwrap_or(elf.len())..];
    let announced = headers.chunks_exact(PROGRAM_HEADER).take(count).try_fold(0u64, |sum, header| {
        let memory = header[40..48].try_into().map_or(u64::MAX, u64::from_le_bytes);
        sum.checked_add(memory)
    });
    match announced {
        Some(announced) if announced <= MAX_MEMORY => Ok(()),
        _ => bad(format!("the ELF's segments take more than {MAX_MEMORY} bytes of memory")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        let mut elf = vec![0; HEADER];
        elf[..4].copy_from_slice(MAGIC);
        elf[4] = CLASS_64;
        elf[5] = LITTLE_ENDIAN;
        elf[16] = 2;
        elf[18] = 243;
        // One program header right behind, for a segment of 4096 bytes.
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf.extend_from_slice(&[0; PROGRAM_HEADER]);
        elf[64 + 41] = 16;
        elf
    }

    #[test]
    fn a_circuit_passes() {
        assert_eq!(check(&header()), Ok(()));
    }

    #[test]
    fn anything_else_says_what_it_is() {
        let reason = |elf: &[u8]| check(elf).unwrap_err().to_string();
        assert!(reason(b"\0asm").contains("not an ELF"));
        assert!(reason(&header()[..20]).contains("truncated"));
        let mut x86 = header();
        x86[18] = 62;
        assert!(reason(&x86).contains("machine 62"));
        let mut narrow = header();
        narrow[4] = 1;
        assert!(reason(&narrow).contains("64-bit"));
        let mut cut = header();
        cut.pop();
        assert!(reason(&cut).contains("program headers"));
        let mut greedy = header();
        greedy[64 + 44] = 1;
        assert!(reason(&greedy).contains("memory"));
        let mut object = header();
        object[16] = 1;
        assert!(reason(&object).contains("type 1"));
    }
}
