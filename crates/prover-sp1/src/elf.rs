//! What an ELF must look like before the SDK sees it: its loader asserts where this answers.

use coprocessor_prover::BackendError;

const MAGIC: &[u8; 4] = b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EXECUTABLE: u16 = 2;
const RISC_V: u16 = 243;
const HEADER: usize = 64;

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
    Ok(())
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
        let mut object = header();
        object[16] = 1;
        assert!(reason(&object).contains("type 1"));
    }
}
