use super::{Fault, Limits, LoadError, Outcome, Program, run};
use crate::testing::{self, Assembler, CODE, DATA, register::*};
use coprocessor_types::{CircuitInput, OpenedWitness, Root};
use proptest::prelude::*;

fn execute(file: &[u8], input: &[&[u8]], limits: Limits) -> Result<Outcome, Fault> {
    run(&Program::load(file).unwrap(), input, limits, &|| false)
}

fn small() -> Limits {
    Limits { cycles: 100_000, memory: 1 << 20, public_values: 1 << 16 }
}

/// What a single register instruction leaves in `rd`, by way of the exit code, eight bytes at a time.
fn result(word: u32, a: u64, b: u64) -> u64 {
    (0..8).fold(0, |value, byte| {
        let mut asm = Assembler::default();
        asm.li(A1, a);
        asm.li(A2, b);
        asm.word(word | A2 << 20 | A1 << 15 | T1 << 7);
        asm.word((8 * byte) << 20 | T1 << 15 | 5 << 12 | T1 << 7 | 0x13);
        asm.word(0xff << 20 | T1 << 15 | 7 << 12 | T1 << 7 | 0x13);
        // Exit codes are free of the digest check when they are not zero.
        asm.addi(T1, T1, 1);
        asm.syscall(0, &[(A0, T1)]);
        let outcome = execute(&asm.finish(), &[], small()).unwrap();
        value | u64::from(outcome.exit_code - 1) << (8 * byte)
    })
}

fn register(funct7: u32, funct3: u32) -> u32 {
    funct7 << 25 | funct3 << 12 | 0x33
}

fn register_word(funct7: u32, funct3: u32) -> u32 {
    funct7 << 25 | funct3 << 12 | 0x3b
}

const MIN: u64 = 1 << 63;
const MIN_WORD: u64 = 0xffff_ffff_8000_0000;

#[test]
fn multiplication_keeps_the_right_half() {
    let minus_one = u64::MAX;
    assert_eq!(result(register(1, 0), 7, minus_one), (-7_i64) as u64, "mul");
    assert_eq!(result(register(1, 1), minus_one, minus_one), 0, "mulh of -1 and -1");
    assert_eq!(result(register(1, 1), MIN, MIN), 1 << 62, "mulh of the least");
    assert_eq!(result(register(1, 1), MIN, 1), u64::MAX, "mulh sign");
    assert_eq!(result(register(1, 2), minus_one, minus_one), u64::MAX, "mulhsu: -1 times the greatest");
    assert_eq!(result(register(1, 2), 2, minus_one), 1, "mulhsu: 2 times the greatest");
    assert_eq!(result(register(1, 3), minus_one, minus_one), u64::MAX - 1, "mulhu of the greatest");
    assert_eq!(result(register_word(1, 0), 0x1_0000_0003, 0x8000_0000), MIN_WORD, "mulw ignores the upper halves");
}

#[test]
fn division_by_zero_gives_ones_and_the_dividend() {
    let seven = (-7_i64) as u64;
    assert_eq!(result(register(1, 4), seven, 0), u64::MAX, "div");
    assert_eq!(result(register(1, 5), seven, 0), u64::MAX, "divu");
    assert_eq!(result(register(1, 6), seven, 0), seven, "rem");
    assert_eq!(result(register(1, 7), seven, 0), seven, "remu");
    assert_eq!(result(register_word(1, 4), 5, 1 << 32), u64::MAX, "divw: zero in the low half");
    assert_eq!(result(register_word(1, 5), 5, 1 << 32), u64::MAX, "divuw");
    assert_eq!(result(register_word(1, 6), 0x8000_0001, 0), 0xffff_ffff_8000_0001, "remw is sign-extended");
    assert_eq!(result(register_word(1, 7), 0x8000_0001, 0), 0xffff_ffff_8000_0001, "remuw is sign-extended");
}

#[test]
fn the_division_that_overflows_gives_the_dividend_and_zero() {
    assert_eq!(result(register(1, 4), MIN, u64::MAX), MIN, "div");
    assert_eq!(result(register(1, 6), MIN, u64::MAX), 0, "rem");
    assert_eq!(result(register_word(1, 4), 0x8000_0000, 0xffff_ffff), MIN_WORD, "divw");
    assert_eq!(result(register_word(1, 6), 0x8000_0000, 0xffff_ffff), 0, "remw");
}

#[test]
fn division_rounds_toward_zero() {
    assert_eq!(result(register(1, 4), (-7_i64) as u64, 2), (-3_i64) as u64);
    assert_eq!(result(register(1, 6), (-7_i64) as u64, 2), (-1_i64) as u64);
    assert_eq!(result(register(1, 5), (-7_i64) as u64, 2), (u64::MAX - 6) / 2);
    assert_eq!(result(register_word(1, 5), 0xffff_ffff_ffff_fff9, 2), 0x7fff_fffc);
}

#[test]
fn shifts_and_words_follow_rv64() {
    assert_eq!(result(register(0x20, 5), MIN, 63), u64::MAX, "sra");
    assert_eq!(result(register(0, 5), MIN, 63), 1, "srl");
    assert_eq!(result(register(0, 1), 1, 64 + 3), 8, "sll takes six bits");
    assert_eq!(result(register_word(0, 1), 1, 31), MIN_WORD, "sllw");
    assert_eq!(result(register_word(0x20, 5), 0x8000_0000, 31), u64::MAX, "sraw");
    assert_eq!(result(register_word(0, 5), 0xffff_ffff_8000_0000, 4), 0x0800_0000, "srlw");
    assert_eq!(result(register_word(0, 0), 0x7fff_ffff, 1), MIN_WORD, "addw");
    assert_eq!(result(register_word(0x20, 0), 0, 1), u64::MAX, "subw");
    assert_eq!(result(register(0, 2), u64::MAX, 0), 1, "slt");
    assert_eq!(result(register(0, 3), u64::MAX, 0), 0, "sltu");
}

#[test]
fn sha256_by_the_precompiles_is_sha256() {
    for data in [&b"a"[..], b"hello", &[0xff; testing::ECHO_MAX]] {
        let input = CircuitInput { root: Root([7; 32]), witnesses: vec![OpenedWitness::Data(data.to_vec())] };
        // The halt compares the committed digest with that of the committed bytes.
        let outcome = execute(&testing::echo(), &[&input.to_bytes()], small()).unwrap();
        assert_eq!(outcome.exit_code, 0);
        assert_eq!(outcome.public_values, [&[7; 32], data].concat());
    }
}

#[test]
fn keccak_permutes() {
    let mut asm = Assembler::default();
    asm.li(S0, DATA);
    asm.syscall(0x0001_0109, &[(A0, S0), (A1, ZERO)]);
    asm.lbu(T1, S0, 0);
    asm.syscall(0, &[(A0, T1)]);
    // The first byte of Keccak-f[1600] of zeros, from the reference's test vectors: f1258f7940e1dde7 as its first word.
    assert_eq!(execute(&asm.finish(), &[], small()).unwrap().exit_code, 0xe7);
}

#[test]
fn a_panic_comes_with_its_message() {
    let input = CircuitInput { root: Root([7; 32]), witnesses: vec![OpenedWitness::Data(vec![])] };
    let outcome = execute(&testing::echo(), &[&input.to_bytes()], small()).unwrap();
    assert_eq!((outcome.exit_code, outcome.stderr.as_str()), (1, "the data is empty\n"));
    let long = CircuitInput { witnesses: vec![OpenedWitness::Data(vec![1; 24])], ..input };
    assert_eq!(execute(&testing::echo(), &[&long.to_bytes()], small()).unwrap().stderr, "the data is too long\n");
}

#[test]
fn the_same_input_takes_the_same_cycles() {
    let input = CircuitInput { root: Root([1; 32]), witnesses: vec![OpenedWitness::Data(b"x".to_vec())] }.to_bytes();
    let first = execute(&testing::echo(), &[&input], small()).unwrap();
    assert_eq!(execute(&testing::echo(), &[&input], small()).unwrap(), first);
    assert!(first.cycles > 300, "{}", first.cycles);
    let exact = Limits { cycles: first.cycles - 1, ..small() };
    assert_eq!(execute(&testing::echo(), &[&input], exact), Err(Fault::CycleLimit { limit: first.cycles - 1 }));
}

#[test]
fn limits_hold() {
    assert_eq!(execute(&testing::endless(), &[], small()), Err(Fault::CycleLimit { limit: 100_000 }));
    let program = Program::load(&testing::endless()).unwrap();
    assert_eq!(run(&program, &[], Limits::default(), &|| true), Err(Fault::Stopped));

    // Touches a new page with every step.
    let mut asm = Assembler::default();
    asm.li(S0, 1 << 40);
    asm.li(T2, 4096);
    asm.label("again");
    asm.sb(T2, S0, 0);
    asm.add(S0, S0, T2);
    asm.branch(testing::Branch::Eq, ZERO, ZERO, "again");
    assert_eq!(execute(&asm.finish(), &[], small()), Err(Fault::Memory { limit: 1 << 20 }));

    // Commits more than it may.
    let mut asm = Assembler::default();
    asm.li(S0, DATA);
    asm.li(S1, 1 << 15);
    asm.addi(T1, ZERO, 13);
    asm.label("again");
    asm.syscall(2, &[(A0, T1), (A1, S0), (A2, S1)]);
    asm.branch(testing::Branch::Eq, ZERO, ZERO, "again");
    assert_eq!(execute(&asm.finish(), &[], small()), Err(Fault::PublicValues { limit: 1 << 16 }));

    // Gives itself hints without end; empty ones too.
    for len in [0, 1 << 15] {
        let mut asm = Assembler::default();
        asm.li(S0, DATA);
        asm.li(S1, len);
        asm.addi(T1, ZERO, 14);
        asm.label("again");
        asm.syscall(2, &[(A0, T1), (A1, S0), (A2, S1)]);
        asm.branch(testing::Branch::Eq, ZERO, ZERO, "again");
        let limits = Limits { cycles: 1 << 30, ..small() };
        assert_eq!(execute(&asm.finish(), &[], limits), Err(Fault::Memory { limit: 1 << 20 }));
    }
}

#[test]
fn unconstrained_blocks_leave_nothing_but_hints() {
    let mut asm = Assembler::default();
    asm.li(S0, DATA);
    asm.addi(T1, ZERO, 5);
    asm.sb(T1, S0, 0);
    asm.syscall(3, &[]);
    asm.branch(testing::Branch::Eq, T0, ZERO, "after");
    // Within: overwrites memory and a register, and hints one byte.
    asm.addi(T1, ZERO, 9);
    asm.sb(T1, S0, 0);
    asm.addi(S1, ZERO, 1);
    asm.addi(T2, ZERO, 14);
    asm.syscall(2, &[(A0, T2), (A1, S0), (A2, S1)]);
    asm.syscall(4, &[]);
    asm.label("after");
    asm.syscall(0xf0, &[]);
    asm.addi(S1, T0, 0);
    asm.addi(S2, S0, 8);
    asm.syscall(0xf1, &[(A0, S2), (A1, S1)]);
    asm.lbu(T3, S0, 0);
    asm.lbu(T4, S2, 0);
    // 5 + 5 + 9: memory and register as before, and the hint.
    asm.add(T3, T3, T1);
    asm.add(T3, T3, T4);
    asm.syscall(0, &[(A0, T3)]);
    let file = asm.finish();
    assert_eq!(execute(&file, &[], small()).unwrap().exit_code, 19);
}

#[test]
fn what_sp1_would_refuse_is_refused() {
    assert_eq!(execute(&testing::calls(0), &[], small()), Err(Fault::Digest), "nothing was committed");
    let unsupported = Fault::UnsupportedSyscall { name: "SECP256K1_ADD".into() };
    assert_eq!(execute(&testing::calls(0x0001_010a), &[], small()), Err(unsupported));
    let unknown = Fault::UnsupportedSyscall { name: "0x1234, which SP1 does not have".into() };
    assert_eq!(execute(&testing::calls(0x1234), &[], small()), Err(unknown));
    assert!(matches!(execute(&testing::calls(0xf1), &[], small()), Err(Fault::BadSyscall { name: "HINT_READ", .. })));
    assert!(matches!(execute(&testing::calls(4), &[], small()), Err(Fault::BadSyscall { .. })));

    let mut asm = Assembler::default();
    asm.li(S0, DATA + 1);
    asm.word(S0 << 15 | 3 << 12 | T1 << 7 | 0x03);
    assert!(matches!(execute(&asm.finish(), &[], small()), Err(Fault::Unaligned { width: 8, .. })));
    let mut asm = Assembler::default();
    asm.li(S0, 1 << 48);
    asm.lbu(T1, S0, 0);
    assert_eq!(execute(&asm.finish(), &[], small()), Err(Fault::Address { address: 1 << 48 }));
    let mut asm = Assembler::default();
    asm.word(0x0010_0073);
    assert_eq!(execute(&asm.finish(), &[], small()), Err(Fault::IllegalInstruction { pc: CODE }), "ebreak");
    let mut asm = Assembler::default();
    asm.addi(T1, ZERO, 0);
    assert_eq!(execute(&asm.finish(), &[], small()), Err(Fault::Fetch { pc: CODE + 4 }), "runs off its end");
}

#[test]
fn only_circuits_load() {
    assert!(matches!(Program::load(b"\0asm"), Err(LoadError::NotElf(_))));
    assert!(matches!(Program::load(b""), Err(LoadError::NotElf(_))));
    let good = testing::echo();
    let change = |at: usize, byte: u8| {
        let mut file = good.to_vec();
        file[at] = byte;
        Program::load(&file).unwrap_err()
    };
    assert_eq!(change(18, 62), LoadError::OtherTarget { got: "x86-64".into() });
    assert_eq!(change(48, 1), LoadError::OtherTarget { got: "RISC-V with compressed instructions".into() });
    assert_eq!(change(16, 3), LoadError::Malformed("it is not an executable".into()));
    assert!(change(24, 2).to_string().contains("entry point"));
    // The data segment's length in memory: far beyond what is kept.
    assert!(matches!(change(64 + 56 + 40 + 5, 1), LoadError::TooLarge { .. }));
    // The code segment's length in the file.
    assert!(matches!(change(64 + 32 + 3, 1), LoadError::Malformed(_)));
    assert!(matches!(change(64 + 4, 7), LoadError::Malformed(_)), "writable code");
}

proptest! {
    #[test]
    fn damaged_files_never_panic(at in 0_usize..4000, byte: u8, cut in 0_usize..4000) {
        let mut file = testing::echo().to_vec();
        let len = file.len();
        file[at % len] = byte;
        file.truncate(len - cut % len);
        if let Ok(program) = Program::load(&file) {
            let _ = run(&program, &[&[0; 50]], small(), &|| false);
        }
    }

    #[test]
    fn arbitrary_code_never_panics(words in prop::collection::vec(any::<u32>(), 1..64), start: [u8; 16]) {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        if let Ok(program) = Program::load(&testing::elf_file(&code, &start)) {
            let _ = run(&program, &[&start], small(), &|| false);
        }
    }

    #[test]
    fn arbitrary_syscalls_never_panic(
        calls in prop::collection::vec((prop::sample::select(vec![
            0_u64, 2, 3, 4, 0x10, 0x1a, 0xf0, 0xf1, 0x0030_0105, 0x0001_0106, 0x0001_0109, 0x1b,
        ]), argument(), argument(), argument()), 1..8),
    ) {
        let mut asm = Assembler::default();
        for (number, a0, a1, a2) in calls {
            asm.li(A0, a0);
            asm.li(A1, a1);
            asm.li(A2, a2);
            asm.syscall(number, &[]);
        }
        let program = Program::load(&asm.finish()).unwrap();
        let _ = run(&program, &[b"0123456789", b""], small(), &|| false);
    }
}

fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..20, any::<u64>(), Just(DATA), Just(DATA + 3), Just(u64::MAX - 7), Just((1 << 48) - 8)]
}
