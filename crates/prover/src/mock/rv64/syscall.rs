//! SP1's system calls: number in `t0`, arguments from `a0` on, result in `t0`.

use sha2::{Digest, Sha256};

use super::{
    Fault,
    cpu::{A0, A1, A2, Checkpoint, Cpu, T0},
    precompile,
};

const HALT: u32 = 0x00;
const WRITE: u32 = 0x02;
const ENTER_UNCONSTRAINED: u32 = 0x03;
const EXIT_UNCONSTRAINED: u32 = 0x04;
const COMMIT: u32 = 0x10;
const COMMIT_DEFERRED_PROOFS: u32 = 0x1a;
const HINT_LEN: u32 = 0xf0;
const HINT_READ: u32 = 0xf1;
const SHA_EXTEND: u32 = 0x0030_0105;
const SHA_COMPRESS: u32 = 0x0001_0106;
const KECCAK_PERMUTE: u32 = 0x0001_0109;

const STDERR: u64 = 2;
const PUBLIC_VALUES: u64 = 13;
const HINT: u64 = 14;
/// Descriptors behind which SP1's executor computes something for the circuit.
const HOOKS: std::ops::RangeInclusive<u64> = 15..=21;

/// Bytes of standard error that are kept: the last ones.
const STDERR_KEPT: usize = 8 << 10;
/// Fuel for one precompile call, about its cost in instructions.
const PRECOMPILE_FUEL: u64 = 256;

/// Fuel for undoing the writes to one page.
const PAGE_FUEL: u64 = 64;

/// What an `ecall` led to.
pub(super) enum Next {
    /// Go on behind it.
    Continue,
    /// The circuit ended.
    Halt(u32),
}

/// Does what the circuit asks for. On [`Next::Continue`], `cpu.pc` is still the `ecall`'s address, or that of the one that
/// began the unconstrained block which this one ended.
pub(super) fn call(cpu: &mut Cpu<'_>) -> Result<Next, Fault> {
    let number = cpu.registers[T0] as u32;
    let (a0, a1) = (cpu.registers[A0], cpu.registers[A1]);
    if cpu.checkpoint.is_some() && !matches!(number, WRITE | EXIT_UNCONSTRAINED) {
        return Err(bad(name(number), "not allowed in an unconstrained block"));
    }
    let result = match number {
        HALT => return halt(cpu, a0 as u32),
        WRITE => write(cpu, a0, a1).map(|()| u64::from(number)),
        ENTER_UNCONSTRAINED => {
            cpu.checkpoint = Some(Checkpoint { registers: cpu.registers, pc: cpu.pc });
            cpu.memory.begin_unconstrained();
            Ok(1)
        }
        EXIT_UNCONSTRAINED => exit_unconstrained(cpu).map(|()| 0),
        COMMIT => commit(cpu, a0, a1).map(|()| u64::from(number)),
        COMMIT_DEFERRED_PROOFS => Ok(u64::from(number)),
        HINT_LEN => Ok(cpu.hints.next_len().map_or(u64::MAX, |len| len as u64)),
        HINT_READ => hint_read(cpu, a0, a1).map(|()| u64::from(number)),
        SHA_EXTEND | SHA_COMPRESS | KECCAK_PERMUTE => precompiled(cpu, number, a0, a1).map(|()| u64::from(number)),
        _ => Err(Fault::UnsupportedSyscall { name: describe(number) }),
    };
    cpu.registers[T0] = result?;
    Ok(Next::Continue)
}

fn halt(cpu: &Cpu<'_>, exit_code: u32) -> Result<Next, Fault> {
    let committed: Vec<u8> = cpu.committed.iter().flat_map(|word| word.to_le_bytes()).collect();
    let matches =
        *committed == *Sha256::digest(&cpu.public_values) || *committed == *blake3::hash(&cpu.public_values).as_bytes();
    if exit_code == 0 && !matches {
        return Err(Fault::Digest);
    }
    Ok(Next::Halt(exit_code))
}

fn write(cpu: &mut Cpu<'_>, descriptor: u64, address: u64) -> Result<(), Fault> {
    let len = usize::try_from(cpu.registers[A2]).unwrap_or(usize::MAX);
    cpu.burn(len as u64 / 8)?;
    match descriptor {
        STDERR => {
            let kept = len.min(STDERR_KEPT);
            cpu.memory.read(address.wrapping_add((len - kept) as u64), kept, &mut cpu.stderr)?;
            let surplus = cpu.stderr.len().saturating_sub(STDERR_KEPT);
            cpu.stderr.drain(..surplus);
            Ok(())
        }
        PUBLIC_VALUES => {
            let limit = cpu.limits.public_values;
            if len > limit - cpu.public_values.len() {
                return Err(Fault::PublicValues { limit });
            }
            cpu.memory.read(address, len, &mut cpu.public_values)
        }
        HINT => {
            if !cpu.hints.fits(len, cpu.limits.memory) {
                return Err(Fault::Memory { limit: cpu.limits.memory });
            }
            let mut hint = Vec::new();
            cpu.memory.read(address, len, &mut hint)?;
            cpu.hints.push(hint);
            Ok(())
        }
        _ if HOOKS.contains(&descriptor) => {
            Err(Fault::UnsupportedSyscall { name: format!("WRITE to the executor's hook {descriptor}") })
        }
        // Standard output is the circuit's own talk, and SP1 ignores descriptors it doesn't know.
        _ => Ok(()),
    }
}

fn exit_unconstrained(cpu: &mut Cpu<'_>) -> Result<(), Fault> {
    let checkpoint = cpu.checkpoint.take().ok_or_else(|| bad("EXIT_UNCONSTRAINED", "no unconstrained block"))?;
    cpu.registers = checkpoint.registers;
    cpu.pc = checkpoint.pc;
    let undone = cpu.memory.end_unconstrained();
    cpu.burn(undone as u64 * PAGE_FUEL)
}

fn commit(cpu: &mut Cpu<'_>, index: u64, word: u64) -> Result<(), Fault> {
    let word = u32::try_from(word).map_err(|_| bad("COMMIT", format!("{word:#x} is not a 32-bit word")))?;
    let slot = usize::try_from(index).ok().and_then(|index| cpu.committed.get_mut(index));
    *slot.ok_or_else(|| bad("COMMIT", format!("the digest has no word {index}")))? = word;
    Ok(())
}

fn hint_read(cpu: &mut Cpu<'_>, address: u64, len: u64) -> Result<(), Fault> {
    let hint = cpu.hints.pop().ok_or_else(|| bad("HINT_READ", "the input has been read to its end"))?;
    if hint.len() as u64 != len {
        return Err(bad("HINT_READ", format!("{len} bytes asked for, the element has {}", hint.len())));
    }
    aligned("HINT_READ", address)?;
    cpu.burn(len / 8)?;
    cpu.memory.write(address, &hint)?;
    // SP1 writes whole words, and one more when the length is a multiple of eight.
    let padding = 8 - hint.len() % 8;
    cpu.memory.write(address.wrapping_add(len), &[0; 8][..padding])
}

fn precompiled(cpu: &mut Cpu<'_>, number: u32, a0: u64, a1: u64) -> Result<(), Fault> {
    let name = name(number);
    cpu.burn(PRECOMPILE_FUEL)?;
    aligned(name, a0)?;
    match number {
        SHA_COMPRESS => {
            aligned(name, a1)?;
            precompile::sha_compress(&mut cpu.memory, a0, a1)
        }
        _ if a1 != 0 => Err(bad(name, format!("its second argument is zero, got {a1:#x}"))),
        SHA_EXTEND => precompile::sha_extend(&mut cpu.memory, a0),
        _ => precompile::keccak_permute(&mut cpu.memory, a0),
    }
}

fn aligned(name: &'static str, address: u64) -> Result<(), Fault> {
    if address.is_multiple_of(8) {
        Ok(())
    } else {
        Err(bad(name, format!("the address {address:#x} is not aligned to 8 bytes")))
    }
}

fn bad(name: &'static str, reason: impl Into<String>) -> Fault {
    Fault::BadSyscall { name, reason: reason.into() }
}

fn describe(number: u32) -> String {
    match name(number) {
        "" => format!("{number:#x}, which SP1 does not have"),
        name => name.to_owned(),
    }
}

fn name(number: u32) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == number).map_or("", |(_, name)| name)
}

const NAMES: [(u32, &str); 48] = [
    (HALT, "HALT"),
    (WRITE, "WRITE"),
    (ENTER_UNCONSTRAINED, "ENTER_UNCONSTRAINED"),
    (EXIT_UNCONSTRAINED, "EXIT_UNCONSTRAINED"),
    (COMMIT, "COMMIT"),
    (COMMIT_DEFERRED_PROOFS, "COMMIT_DEFERRED_PROOFS"),
    (0x1b, "VERIFY_SP1_PROOF"),
    (HINT_LEN, "HINT_LEN"),
    (HINT_READ, "HINT_READ"),
    (SHA_EXTEND, "SHA_EXTEND"),
    (SHA_COMPRESS, "SHA_COMPRESS"),
    (0x0001_0107, "ED_ADD"),
    (0x0000_0108, "ED_DECOMPRESS"),
    (KECCAK_PERMUTE, "KECCAK_PERMUTE"),
    (0x0001_010a, "SECP256K1_ADD"),
    (0x0000_010b, "SECP256K1_DOUBLE"),
    (0x0000_010c, "SECP256K1_DECOMPRESS"),
    (0x0001_010e, "BN254_ADD"),
    (0x0000_010f, "BN254_DOUBLE"),
    (0x0000_011c, "BLS12381_DECOMPRESS"),
    (0x0001_011d, "UINT256_MUL"),
    (0x0001_011e, "BLS12381_ADD"),
    (0x0000_011f, "BLS12381_DOUBLE"),
    (0x0001_0120, "BLS12381_FP_ADD"),
    (0x0001_0121, "BLS12381_FP_SUB"),
    (0x0001_0122, "BLS12381_FP_MUL"),
    (0x0001_0123, "BLS12381_FP2_ADD"),
    (0x0001_0124, "BLS12381_FP2_SUB"),
    (0x0001_0125, "BLS12381_FP2_MUL"),
    (0x0001_0126, "BN254_FP_ADD"),
    (0x0001_0127, "BN254_FP_SUB"),
    (0x0001_0128, "BN254_FP_MUL"),
    (0x0001_0129, "BN254_FP2_ADD"),
    (0x0001_012a, "BN254_FP2_SUB"),
    (0x0001_012b, "BN254_FP2_MUL"),
    (0x0001_012c, "SECP256R1_ADD"),
    (0x0000_012d, "SECP256R1_DOUBLE"),
    (0x0000_012e, "SECP256R1_DECOMPRESS"),
    (0x0001_012f, "U256XU2048_MUL"),
    (0x0001_0130, "UINT256_ADD_CARRY"),
    (0x0001_0131, "UINT256_MUL_CARRY"),
    (0x0000_0132, "MPROTECT"),
    (0x0000_0133, "POSEIDON2"),
    (0x0000_0134, "SIG_RETURN"),
    (0x0000_0035, "HINT_MPROTECT_FLUSH"),
    (0x0000_0040, "DUMP_ELF"),
    (0x0000_0041, "INSERT_PROFILER_SYMBOLS"),
    (0x0000_0042, "DELETE_PROFILER_SYMBOLS"),
];
