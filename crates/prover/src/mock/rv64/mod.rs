//! An interpreter for SP1 circuits: RV64IM with SP1's system calls. It gives a circuit's real output and cycle count in
//! microseconds and proves nothing.
//!
//! What it runs is untrusted: memory, cycles and output are bounded, nothing in an ELF or an execution can make it panic.

mod cpu;
mod decode;
mod load;
mod memory;
mod precompile;
mod syscall;

pub use cpu::run;
pub use load::{LoadError, Program};

/// Bounds of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most cycles. System calls that move many bytes are charged for them as well.
    pub cycles: u64,
    /// Most memory the circuit may touch, in bytes; rounded down to pages of 4 KiB.
    pub memory: usize,
    /// Most bytes it may commit.
    pub public_values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cycles: 1 << 32, memory: 1 << 30, public_values: 16 << 20 }
    }
}

/// What a circuit that ended by itself left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it committed.
    pub public_values: Vec<u8>,
    /// Instructions it executed, as SP1 counts them: without those of unconstrained blocks.
    pub cycles: u64,
    /// Its exit code; zero is success.
    pub exit_code: u32,
    /// The end of what it wrote to its standard error.
    pub stderr: String,
}

/// Why a circuit did not end by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More cycles than allowed.
    #[error("more than {limit} cycles")]
    CycleLimit {
        /// The limit.
        limit: u64,
    },
    /// Touched more memory than allowed.
    #[error("more than {limit} bytes of memory, the mock backend's limit")]
    Memory {
        /// The limit in bytes.
        limit: usize,
    },
    /// Committed more than allowed.
    #[error("more than {limit} bytes of public values")]
    PublicValues {
        /// The limit in bytes.
        limit: usize,
    },
    /// Jumped to where no instruction is.
    #[error("no instruction at {pc:#x}")]
    Fetch {
        /// Where it jumped.
        pc: u64,
    },
    /// An instruction outside RV64IM.
    #[error("illegal instruction at {pc:#x}")]
    IllegalInstruction {
        /// Where it is.
        pc: u64,
    },
    /// A load or store that is not aligned to its width.
    #[error("access of {width} bytes at the unaligned address {address:#x}, pc {pc:#x}")]
    Unaligned {
        /// The address.
        address: u64,
        /// The width in bytes.
        width: u64,
        /// The instruction's address.
        pc: u64,
    },
    /// An address beyond SP1's 48 bits.
    #[error("address {address:#x} is outside the address space")]
    Address {
        /// The address.
        address: u64,
    },
    /// A system call that the interpreter does not have.
    #[error("system call {name}")]
    UnsupportedSyscall {
        /// Its name, or its number when SP1 has none of that number.
        name: String,
    },
    /// A system call with arguments SP1 refuses.
    #[error("system call {name}: {reason}")]
    BadSyscall {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The digest it committed is not that of what it wrote: no proof of it would verify.
    #[error("the committed digest is not that of the public values")]
    Digest,
    /// Stopped from outside.
    #[error("stopped")]
    Stopped,
}

#[cfg(test)]
mod tests;
