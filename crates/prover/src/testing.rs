//! Circuits for tests, assembled here, so that tests of the mock backend and of what runs it need no cross compiler.
//!
//! Only with the feature `testing`.

use bytes::Bytes;
use std::collections::HashMap;

/// Where the code of assembled circuits begins.
pub const CODE: u64 = 0x7800_0000;
/// Where their writable data begins.
pub const DATA: u64 = 0x7880_0000;
/// Room at [`DATA`], in bytes.
pub const DATA_LEN: u64 = 0x1_0000;
/// Longest datum that [`echo`] takes, in bytes.
pub const ECHO_MAX: usize = 23;

/// Register numbers by their names in the calling convention.
#[allow(missing_docs, reason = "the names are the architecture's")]
pub mod register {
    pub const ZERO: u32 = 0;
    pub const T0: u32 = 5;
    pub const T1: u32 = 6;
    pub const T2: u32 = 7;
    pub const S0: u32 = 8;
    pub const S1: u32 = 9;
    pub const A0: u32 = 10;
    pub const A1: u32 = 11;
    pub const A2: u32 = 12;
    pub const S2: u32 = 18;
    pub const S3: u32 = 19;
    pub const S4: u32 = 20;
    pub const S5: u32 = 21;
    pub const T3: u32 = 28;
    pub const T4: u32 = 29;
    pub const T5: u32 = 30;
}

use register::{A0, A1, A2, S0, S1, S2, S3, S4, S5, T0, T1, T2, T3, T4, T5, ZERO};

/// A circuit that commits `root ‖ data` for a witness of one element of 1 to [`ECHO_MAX`] bytes, and otherwise fails with
/// `the data is empty` or `the data is too long` on its standard error.
pub fn echo() -> Bytes {
    let mut asm = Assembler::default();
    let empty = asm.text("the data is empty\n");
    let long = asm.text("the data is too long\n");
    let state = asm.words(&[
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ]);
    let (input, message, schedule) = (DATA + 0x1000, DATA + 0x8000, DATA + 0x9000);
    asm.syscall(0xf0, &[]);
    asm.addi(S1, T0, 0);
    asm.li(S0, input);
    asm.syscall(0xf1, &[(A0, S0), (A1, S1)]);
    // Version, root, count, tag and length take 42 bytes; the datum is the rest.
    asm.addi(S2, S1, -42);
    asm.branch(Branch::Ge, ZERO, S2, "empty");
    asm.addi(T1, ZERO, ECHO_MAX as i32);
    asm.branch(Branch::Lt, T1, S2, "long");
    asm.li(S3, message);
    asm.copy(S3, 0, S0, 1, 32);
    asm.addi(T1, S0, 42);
    asm.addi(T2, S3, 32);
    asm.add(T3, T1, S2);
    asm.label("copy");
    asm.lbu(T4, T1, 0);
    asm.sb(T4, T2, 0);
    asm.addi(T1, T1, 1);
    asm.addi(T2, T2, 1);
    asm.branch(Branch::Ne, T1, T3, "copy");
    asm.addi(S2, S2, 32);
    asm.addi(T1, ZERO, 13);
    asm.syscall(0x02, &[(A0, T1), (A1, S3), (A2, S2)]);
    asm.hash_block(S2, schedule, state);
    asm.commit_state();
    asm.syscall(0x00, &[(A0, ZERO)]);
    asm.label("empty");
    asm.fail(empty);
    asm.label("long");
    asm.fail(long);
    asm.finish()
}

/// A circuit that never ends.
pub fn endless() -> Bytes {
    let mut asm = Assembler::default();
    asm.label("again");
    asm.branch(Branch::Eq, ZERO, ZERO, "again");
    asm.finish()
}

/// A circuit that makes one system call and then halts with exit code 0, without committing anything.
pub fn calls(number: u64) -> Bytes {
    let mut asm = Assembler::default();
    asm.syscall(number, &[]);
    asm.syscall(0x00, &[(A0, ZERO)]);
    asm.finish()
}

/// Conditions of a branch; `Lt` and `Ge` are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the architecture's")]
pub enum Branch {
    Eq = 0,
    Ne = 1,
    Lt = 4,
    Ge = 5,
}

/// Puts instructions together.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<u32>,
    data: Vec<u8>,
    labels: HashMap<&'static str, usize>,
    branches: Vec<(usize, &'static str)>,
}

impl Assembler {
    /// Appends an encoded instruction.
    pub fn word(&mut self, word: u32) {
        self.code.push(word);
    }

    /// Names the place of the next instruction.
    pub fn label(&mut self, name: &'static str) {
        self.labels.insert(name, self.code.len());
    }

    /// `rd = rs + imm`, `imm` within 12 bits.
    pub fn addi(&mut self, rd: u32, rs: u32, imm: i32) {
        self.immediate(0x13, 0, rd, rs, imm);
    }

    /// `rd = a + b`.
    pub fn add(&mut self, rd: u32, a: u32, b: u32) {
        self.word(b << 20 | a << 15 | rd << 7 | 0x33);
    }

    /// Loads any constant.
    pub fn li(&mut self, rd: u32, value: u64) {
        self.addi(rd, ZERO, 0);
        for shift in (0..64).step_by(8).rev() {
            self.immediate(0x13, 1, rd, rd, 8);
            self.addi(rd, rd, (value >> shift & 0xff) as i32);
        }
    }

    /// Loads a byte.
    pub fn lbu(&mut self, rd: u32, base: u32, offset: i32) {
        self.immediate(0x03, 4, rd, base, offset);
    }

    /// Stores a byte.
    pub fn sb(&mut self, source: u32, base: u32, offset: i32) {
        self.store(0, source, base, offset);
    }

    /// Branches to a label.
    pub fn branch(&mut self, condition: Branch, a: u32, b: u32, label: &'static str) {
        self.branches.push((self.code.len(), label));
        self.word(b << 20 | a << 15 | (condition as u32) << 12 | 0x63);
    }

    /// A system call; arguments are pairs of target and source register.
    pub fn syscall(&mut self, number: u64, arguments: &[(u32, u32)]) {
        for (target, source) in arguments {
            self.addi(*target, *source, 0);
        }
        self.li(T0, number);
        self.word(0x73);
    }

    /// Puts a text into the data; gives its address and length.
    pub fn text(&mut self, text: &str) -> (u64, u64) {
        let address = DATA + self.data.len() as u64;
        self.data.extend_from_slice(text.as_bytes());
        (address, text.len() as u64)
    }

    /// The ELF file.
    ///
    /// # Panics
    /// A branch to a label that is not there.
    pub fn finish(mut self) -> Bytes {
        for (at, label) in std::mem::take(&mut self.branches) {
            let target = *self.labels.get(label).unwrap_or_else(|| panic!("no label {label}"));
            let offset = (target as i64 - at as i64) * 4;
            let bits = offset as u32;
            self.code[at] |=
                (bits >> 12 & 1) << 31 | (bits >> 5 & 0x3f) << 25 | (bits >> 1 & 0xf) << 8 | (bits >> 11 & 1) << 7;
        }
        let code: Vec<u8> = self.code.iter().flat_map(|word| word.to_le_bytes()).collect();
        elf_file(&code, &self.data)
    }

    fn words(&mut self, words: &[u64]) -> u64 {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let address = DATA + self.data.len() as u64;
        self.data.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        address
    }

    fn immediate(&mut self, opcode: u32, funct3: u32, rd: u32, rs: u32, imm: i32) {
        assert!((-2048..2048).contains(&imm), "{imm} does not fit into 12 bits");
        self.word((imm as u32) << 20 | rs << 15 | funct3 << 12 | rd << 7 | opcode);
    }

    fn store(&mut self, funct3: u32, source: u32, base: u32, offset: i32) {
        let bits = offset as u32;
        self.word((bits >> 5 & 0x7f) << 25 | source << 20 | base << 15 | funct3 << 12 | (bits & 0x1f) << 7 | 0x23);
    }

    fn copy(&mut self, to: u32, to_offset: i32, from: u32, from_offset: i32, len: i32) {
        for i in 0..len {
            self.lbu(T1, from, from_offset + i);
            self.sb(T1, to, to_offset + i);
        }
    }

    /// Writes a text to standard error and halts with exit code 1.
    fn fail(&mut self, (address, len): (u64, u64)) {
        self.li(S4, address);
        self.li(S5, len);
        self.addi(T1, ZERO, 2);
        self.syscall(0x02, &[(A0, T1), (A1, S4), (A2, S5)]);
        self.addi(T1, ZERO, 1);
        self.syscall(0x00, &[(A0, T1)]);
    }

    /// Pads the message at `s3`, `len` bytes of at most 55, and hashes it by the precompiles into the state, whose address
    /// stays in `s5`.
    fn hash_block(&mut self, len: u32, schedule: u64, state: u64) {
        self.li(S4, schedule);
        self.li(S5, state);
        self.add(T1, S3, len);
        self.addi(T2, ZERO, 0x80);
        self.sb(T2, T1, 0);
        self.immediate(0x13, 1, T2, len, 3);
        self.sb(T2, S3, 63);
        self.immediate(0x13, 5, T2, T2, 8);
        self.sb(T2, S3, 62);
        // Big-endian words of 32 bits, each in 64.
        for i in 0..64 {
            if i % 4 == 0 {
                self.addi(T2, ZERO, 0);
            }
            self.lbu(T1, S3, i);
            self.immediate(0x13, 1, T2, T2, 8);
            self.add(T2, T2, T1);
            if i % 4 == 3 {
                self.store(3, T2, S4, i / 4 * 8);
            }
        }
        self.syscall(0x0030_0105, &[(A0, S4), (A1, ZERO)]);
        self.syscall(0x0001_0106, &[(A0, S4), (A1, S5)]);
    }

    /// Commits the state at `s5`, its words turned to little-endian.
    fn commit_state(&mut self) {
        for i in 0..8 {
            self.addi(T2, ZERO, 0);
            for byte in 0..4 {
                self.lbu(T1, S5, i * 8 + byte);
                self.immediate(0x13, 1, T2, T2, 8);
                self.add(T2, T2, T1);
            }
            self.addi(T5, ZERO, i);
            self.syscall(0x10, &[(A0, T5), (A1, T2)]);
        }
    }
}

/// An ELF file of a code segment at [`CODE`] and a data segment at [`DATA`].
pub fn elf_file(code: &[u8], data: &[u8]) -> Bytes {
    const HEADERS: u64 = 64 + 2 * 56;
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend_from_slice(&[2, 0, 243, 0, 1, 0, 0, 0]);
    for word in [CODE, 64, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&[0; 4]);
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    let (code_len, data_len) = (code.len() as u64, data.len() as u64);
    let segments = [(5_u32, HEADERS, CODE, code_len, code_len), (6, HEADERS + code_len, DATA, data_len, DATA_LEN)];
    for (flags, offset, address, file_len, len) in segments {
        file.extend_from_slice(&1_u32.to_le_bytes());
        file.extend_from_slice(&flags.to_le_bytes());
        for word in [offset, address, address, file_len, len, 4] {
            file.extend_from_slice(&word.to_le_bytes());
        }
    }
    file.extend_from_slice(code);
    file.extend_from_slice(data);
    file.into()
}
