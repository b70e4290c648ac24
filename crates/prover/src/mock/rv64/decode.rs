//! RV64IM instructions, decoded once per program.

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Lui,
    Auipc,
    Jal,
    Jalr,
    Beq,
    Bne,
    Blt,
    Bge,
    Bltu,
    Bgeu,
    Lb,
    Lh,
    Lw,
    Ld,
    Lbu,
    Lhu,
    Lwu,
    Sb,
    Sh,
    Sw,
    Sd,
    Addi,
    Slti,
    Sltiu,
    Xori,
    Ori,
    Andi,
    Slli,
    Srli,
    Srai,
    Addiw,
    Slliw,
    Srliw,
    Sraiw,
    Add,
    Sub,
    Sll,
    Slt,
    Sltu,
    Xor,
    Srl,
    Sra,
    Or,
    And,
    Addw,
    Subw,
    Sllw,
    Srlw,
    Sraw,
    Mul,
    Mulh,
    Mulhsu,
    Mulhu,
    Div,
    Divu,
    Rem,
    Remu,
    Mulw,
    Divw,
    Divuw,
    Remw,
    Remuw,
    Ecall,
    /// Anything else, `fence`, `ebreak` and CSR accesses among it: SP1 has no constraints for them.
    Illegal,
}

/// A decoded instruction: operation, registers, sign-extended immediate (a shift's amount for immediate shifts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) op: Op,
    pub(super) rd: u8,
    pub(super) rs1: u8,
    pub(super) rs2: u8,
    pub(super) imm: i32,
}

/// Decodes a word. What is no instruction becomes [`Op::Illegal`]: data may lie between functions.
pub(super) fn decode(word: u32) -> Instruction {
    let funct3 = word >> 12 & 7;
    let funct7 = word >> 25;
    let signed = word.cast_signed();
    let i = signed >> 20;
    let (op, imm) = match word & 0x7f {
        0x37 => (Op::Lui, signed & !0xfff),
        0x17 => (Op::Auipc, signed & !0xfff),
        0x6f => (Op::Jal, jump_offset(word)),
        0x67 if funct3 == 0 => (Op::Jalr, i),
        0x63 => (branch(funct3), branch_offset(word)),
        0x03 => (load(funct3), i),
        0x23 => (store(funct3), (signed >> 25 << 5) | (word >> 7 & 0x1f).cast_signed()),
        0x13 => immediate(funct3, word, i),
        0x1b => immediate_word(funct3, funct7, i),
        0x33 => (register(funct3, funct7), 0),
        0x3b => (register_word(funct3, funct7), 0),
        0x73 if word == 0x73 => (Op::Ecall, 0),
        _ => (Op::Illegal, 0),
    };
    let field = |shift: u32| (word >> shift & 0x1f) as u8;
    Instruction { op, rd: field(7), rs1: field(15), rs2: field(20), imm }
}

fn jump_offset(word: u32) -> i32 {
    let sign = word.cast_signed() >> 31 << 20;
    sign | (word & 0xff000 | word >> 9 & 0x800 | word >> 20 & 0x7fe).cast_signed()
}

fn branch_offset(word: u32) -> i32 {
    let sign = word.cast_signed() >> 31 << 12;
    sign | (word << 4 & 0x800 | word >> 20 & 0x7e0 | word >> 7 & 0x1e).cast_signed()
}

fn branch(funct3: u32) -> Op {
    match funct3 {
        0 => Op::Beq,
        1 => Op::Bne,
        4 => Op::Blt,
        5 => Op::Bge,
        6 => Op::Bltu,
        7 => Op::Bgeu,
        _ => Op::Illegal,
    }
}

fn load(funct3: u32) -> Op {
    match funct3 {
        0 => Op::Lb,
        1 => Op::Lh,
        2 => Op::Lw,
        3 => Op::Ld,
        4 => Op::Lbu,
        5 => Op::Lhu,
        6 => Op::Lwu,
        _ => Op::Illegal,
    }
}

fn store(funct3: u32) -> Op {
    match funct3 {
        0 => Op::Sb,
        1 => Op::Sh,
        2 => Op::Sw,
        3 => Op::Sd,
        _ => Op::Illegal,
    }
}

fn immediate(funct3: u32, word: u32, i: i32) -> (Op, i32) {
    let shift = i & 0x3f;
    match (funct3, word >> 26) {
        (0, _) => (Op::Addi, i),
        (2, _) => (Op::Slti, i),
        (3, _) => (Op::Sltiu, i),
        (4, _) => (Op::Xori, i),
        (6, _) => (Op::Ori, i),
        (7, _) => (Op::Andi, i),
        (1, 0) => (Op::Slli, shift),
        (5, 0) => (Op::Srli, shift),
        (5, 0x10) => (Op::Srai, shift),
        _ => (Op::Illegal, 0),
    }
}

fn immediate_word(funct3: u32, funct7: u32, i: i32) -> (Op, i32) {
    let shift = i & 0x1f;
    match (funct3, funct7) {
        (0, _) => (Op::Addiw, i),
        (1, 0) => (Op::Slliw, shift),
        (5, 0) => (Op::Srliw, shift),
        (5, 0x20) => (Op::Sraiw, shift),
        _ => (Op::Illegal, 0),
    }
}

fn register(funct3: u32, funct7: u32) -> Op {
    match (funct7, funct3) {
        (0, 0) => Op::Add,
        (0x20, 0) => Op::Sub,
        (0, 1) => Op::Sll,
        (0, 2) => Op::Slt,
        (0, 3) => Op::Sltu,
        (0, 4) => Op::Xor,
        (0, 5) => Op::Srl,
        (0x20, 5) => Op::Sra,
        (0, 6) => Op::Or,
        (0, 7) => Op::And,
        (1, 0) => Op::Mul,
        (1, 1) => Op::Mulh,
        (1, 2) => Op::Mulhsu,
        (1, 3) => Op::Mulhu,
        (1, 4) => Op::Div,
        (1, 5) => Op::Divu,
        (1, 6) => Op::Rem,
        (1, 7) => Op::Remu,
        _ => Op::Illegal,
    }
}

fn register_word(funct3: u32, funct7: u32) -> Op {
    match (funct7, funct3) {
        (0, 0) => Op::Addw,
        (0x20, 0) => Op::Subw,
        (0, 1) => Op::Sllw,
        (0, 5) => Op::Srlw,
        (0x20, 5) => Op::Sraw,
        (1, 0) => Op::Mulw,
        (1, 4) => Op::Divw,
        (1, 5) => Op::Divuw,
        (1, 6) => Op::Remw,
        (1, 7) => Op::Remuw,
        _ => Op::Illegal,
    }
}
