//! The processor.

use std::collections::VecDeque;

use super::{
    Fault, Limits, Outcome, Program,
    decode::{Instruction, Op},
    memory::Memory,
    syscall::{self, Next},
};

pub(super) const T0: usize = 5;
pub(super) const A0: usize = 10;
pub(super) const A1: usize = 11;
pub(super) const A2: usize = 12;

/// Instructions between two looks at `stop`.
const STRIDE: u64 = 1 << 18;

/// A circuit in execution.
pub(super) struct Cpu<'p> {
    pub(super) registers: [u64; 32],
    pub(super) pc: u64,
    pub(super) memory: Memory<'p>,
    pub(super) limits: Limits,
    pub(super) hints: Hints,
    pub(super) public_values: Vec<u8>,
    pub(super) committed: [u32; 8],
    pub(super) stderr: Vec<u8>,
    /// Where an unconstrained block began.
    pub(super) checkpoint: Option<Checkpoint>,
    /// What is left of the cycle limit.
    fuel: u64,
    cycles: u64,
    program: &'p Program,
}

/// The state an unconstrained block leaves unchanged; memory keeps its own.
pub(super) struct Checkpoint {
    pub(super) registers: [u64; 32],
    pub(super) pc: u64,
}

/// The input stream. What the circuit itself puts on it counts against the memory limit.
pub(super) struct Hints {
    elements: VecDeque<Vec<u8>>,
    held: usize,
}

impl Hints {
    /// What an element costs beyond its bytes.
    const OVERHEAD: usize = 64;

    pub(super) fn next_len(&self) -> Option<usize> {
        self.elements.front().map(Vec::len)
    }

    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let element = self.elements.pop_front()?;
        self.held = self.held.saturating_sub(element.len() + Self::OVERHEAD);
        Some(element)
    }

    /// Whether an element of that length still fits into `limit`.
    pub(super) fn fits(&self, len: usize, limit: usize) -> bool {
        len.saturating_add(self.held).saturating_add(Self::OVERHEAD) <= limit
    }

    pub(super) fn push(&mut self, element: Vec<u8>) {
        self.held += element.len() + Self::OVERHEAD;
        self.elements.push_front(element);
    }
}

/// Runs a program on the elements of its input stream, until it halts. `stop` is asked now and then whether to give up.
///
/// # Errors
/// Whatever keeps it from halting. A halt with a non-zero exit code is no error here.
pub fn run(program: &Program, input: &[&[u8]], limits: Limits, stop: &dyn Fn() -> bool) -> Result<Outcome, Fault> {
    let mut cpu = Cpu {
        registers: [0; 32],
        pc: program.entry,
        memory: Memory::new(&program.image, limits.memory),
        limits,
        hints: Hints { elements: input.iter().map(|element| element.to_vec()).collect(), held: 0 },
        public_values: Vec::new(),
        committed: [0; 8],
        stderr: Vec::new(),
        checkpoint: None,
        fuel: limits.cycles,
        cycles: 0,
        program,
    };
    let exit_code = cpu.run(stop)?;
    let stderr = String::from_utf8_lossy(&cpu.stderr).into_owned();
    Ok(Outcome { public_values: cpu.public_values, cycles: cpu.cycles, exit_code, stderr })
}

impl Cpu<'_> {
    /// Pays for work that is more than its instruction.
    pub(super) fn burn(&mut self, cost: u64) -> Result<(), Fault> {
        match self.fuel.checked_sub(cost) {
            Some(left) => {
                self.fuel = left;
                Ok(())
            }
            None => Err(Fault::CycleLimit { limit: self.limits.cycles }),
        }
    }

    fn run(&mut self, stop: &dyn Fn() -> bool) -> Result<u32, Fault> {
        loop {
            if stop() {
                return Err(Fault::Stopped);
            }
            for _ in 0..STRIDE {
                self.burn(1)?;
                let instruction = self.fetch()?;
                let constrained = self.checkpoint.is_none();
                let exit = self.execute(instruction)?;
                // An unconstrained block and the call that ends it do not count.
                self.cycles += u64::from(constrained);
                if let Some(code) = exit {
                    return Ok(code);
                }
            }
        }
    }

    #[inline]
    fn fetch(&self) -> Result<Instruction, Fault> {
        let offset = self.pc.wrapping_sub(self.program.base);
        let found = usize::try_from(offset / 4).ok().and_then(|index| self.program.code.get(index));
        match found {
            Some(instruction) if offset.is_multiple_of(4) => Ok(*instruction),
            _ => Err(Fault::Fetch { pc: self.pc }),
        }
    }

    #[inline]
    fn execute(&mut self, Instruction { op, rd, rs1, rs2, imm }: Instruction) -> Result<Option<u32>, Fault> {
        let a = self.registers[usize::from(rs1 & 31)];
        let b = self.registers[usize::from(rs2 & 31)];
        let i = i64::from(imm).cast_unsigned();
        let mut next = self.pc.wrapping_add(4);
        let value = match op {
            Op::Lui => i,
            Op::Auipc => self.pc.wrapping_add(i),
            Op::Jal => {
                let link = next;
                next = self.pc.wrapping_add(i);
                link
            }
            Op::Jalr => {
                let link = next;
                next = a.wrapping_add(i) & !1;
                link
            }
            Op::Beq | Op::Bne | Op::Blt | Op::Bge | Op::Bltu | Op::Bgeu => {
                if branches(op, a, b) {
                    next = self.pc.wrapping_add(i);
                }
                self.pc = next;
                return Ok(None);
            }
            Op::Lb | Op::Lh | Op::Lw | Op::Ld | Op::Lbu | Op::Lhu | Op::Lwu => self.load(op, a.wrapping_add(i))?,
            Op::Sb | Op::Sh | Op::Sw | Op::Sd => {
                self.store(op, a.wrapping_add(i), b)?;
                self.pc = next;
                return Ok(None);
            }
            Op::Ecall => {
                let exit = match syscall::call(self)? {
                    Next::Continue => None,
                    Next::Halt(code) => Some(code),
                };
                self.pc = self.pc.wrapping_add(4);
                return Ok(exit);
            }
            Op::Illegal => return Err(Fault::IllegalInstruction { pc: self.pc }),
            _ => compute(op, a, b, i),
        };
        self.registers[usize::from(rd & 31)] = value;
        self.registers[0] = 0;
        self.pc = next;
        Ok(None)
    }

    fn load(&mut self, op: Op, address: u64) -> Result<u64, Fault> {
        Ok(match op {
            Op::Lb => i64::from(i8::from_le_bytes(self.load_bytes(address)?)).cast_unsigned(),
            Op::Lh => i64::from(i16::from_le_bytes(self.load_bytes(address)?)).cast_unsigned(),
            Op::Lw => i64::from(i32::from_le_bytes(self.load_bytes(address)?)).cast_unsigned(),
            Op::Lbu => u64::from(u8::from_le_bytes(self.load_bytes(address)?)),
            Op::Lhu => u64::from(u16::from_le_bytes(self.load_bytes(address)?)),
            Op::Lwu => u64::from(u32::from_le_bytes(self.load_bytes(address)?)),
            _ => u64::from_le_bytes(self.load_bytes(address)?),
        })
    }

    #[inline]
    fn load_bytes<const N: usize>(&mut self, address: u64) -> Result<[u8; N], Fault> {
        self.check_aligned(address, N as u64)?;
        self.memory.load(address)
    }

    fn store(&mut self, op: Op, address: u64, value: u64) -> Result<(), Fault> {
        let width = match op {
            Op::Sb => 1,
            Op::Sh => 2,
            Op::Sw => 4,
            _ => 8,
        };
        self.check_aligned(address, width)?;
        match op {
            Op::Sb => self.memory.store(address, (value as u8).to_le_bytes()),
            Op::Sh => self.memory.store(address, (value as u16).to_le_bytes()),
            Op::Sw => self.memory.store(address, (value as u32).to_le_bytes()),
            _ => self.memory.store(address, value.to_le_bytes()),
        }
    }

    #[inline]
    fn check_aligned(&self, address: u64, width: u64) -> Result<(), Fault> {
        if address & (width - 1) == 0 { Ok(()) } else { Err(Fault::Unaligned { address, width, pc: self.pc }) }
    }
}

fn branches(op: Op, a: u64, b: u64) -> bool {
    match op {
        Op::Beq => a == b,
        Op::Bne => a != b,
        Op::Blt => a.cast_signed() < b.cast_signed(),
        Op::Bge => a.cast_signed() >= b.cast_signed(),
        Op::Bltu => a < b,
        _ => a >= b,
    }
}

/// Arithmetic between registers, or a register and an immediate.
#[inline]
fn compute(op: Op, a: u64, b: u64, i: u64) -> u64 {
    match op {
        Op::Addi => a.wrapping_add(i),
        Op::Slti => u64::from(a.cast_signed() < i.cast_signed()),
        Op::Sltiu => u64::from(a < i),
        Op::Xori => a ^ i,
        Op::Ori => a | i,
        Op::Andi => a & i,
        Op::Slli => a << (i & 63),
        Op::Srli => a >> (i & 63),
        Op::Srai => (a.cast_signed() >> (i & 63)).cast_unsigned(),
        Op::Addiw => word(a.wrapping_add(i) as u32),
        Op::Slliw => word((a as u32) << (i & 31)),
        Op::Srliw => word(a as u32 >> (i & 31)),
        Op::Sraiw => word(((a as i32) >> (i & 31)).cast_unsigned()),
        Op::Add => a.wrapping_add(b),
        Op::Sub => a.wrapping_sub(b),
        Op::Sll => a << (b & 63),
        Op::Slt => u64::from(a.cast_signed() < b.cast_signed()),
        Op::Sltu => u64::from(a < b),
        Op::Xor => a ^ b,
        Op::Srl => a >> (b & 63),
        Op::Sra => (a.cast_signed() >> (b & 63)).cast_unsigned(),
        Op::Or => a | b,
        Op::And => a & b,
        Op::Addw => word(a.wrapping_add(b) as u32),
        Op::Subw => word(a.wrapping_sub(b) as u32),
        Op::Sllw => word((a as u32) << (b & 31)),
        Op::Srlw => word(a as u32 >> (b & 31)),
        Op::Sraw => word(((a as i32) >> (b & 31)).cast_unsigned()),
        _ => multiply_or_divide(op, a, b),
    }
}

/// The M extension: a division by zero gives all ones and the dividend as remainder; the one that overflows gives the
/// dividend and zero.
#[inline]
fn multiply_or_divide(op: Op, a: u64, b: u64) -> u64 {
    let (sa, sb) = (a.cast_signed(), b.cast_signed());
    let (wa, wb) = (a as u32, b as u32);
    match op {
        Op::Mul => a.wrapping_mul(b),
        Op::Mulh => ((i128::from(sa) * i128::from(sb)) >> 64) as u64,
        Op::Mulhsu => ((i128::from(sa) * i128::from(b)) >> 64) as u64,
        Op::Mulhu => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        Op::Div if b == 0 => u64::MAX,
        Op::Div => sa.wrapping_div(sb).cast_unsigned(),
        Op::Divu => a.checked_div(b).unwrap_or(u64::MAX),
        Op::Rem if b == 0 => a,
        Op::Rem => sa.wrapping_rem(sb).cast_unsigned(),
        Op::Remu => a.checked_rem(b).unwrap_or(a),
        Op::Mulw => word(wa.wrapping_mul(wb)),
        Op::Divw if wb == 0 => u64::MAX,
        Op::Divw => word(wa.cast_signed().wrapping_div(wb.cast_signed()).cast_unsigned()),
        Op::Divuw => word(wa.checked_div(wb).unwrap_or(u32::MAX)),
        Op::Remw if wb == 0 => word(wa),
        Op::Remw => word(wa.cast_signed().wrapping_rem(wb.cast_signed()).cast_unsigned()),
        Op::Remuw => word(wa.checked_rem(wb).unwrap_or(wa)),
        other => unreachable!("{other:?} is no arithmetic"),
    }
}

/// A 32-bit result, sign-extended as RV64 keeps it.
fn word(value: u32) -> u64 {
    i64::from(value.cast_signed()).cast_unsigned()
}
