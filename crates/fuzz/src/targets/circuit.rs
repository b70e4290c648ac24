//! Circuits: ELF files for the mock backend's interpreter, whole ones and code of chance.

use super::edit;
use crate::{Input, Seed, Target, Writer};
use coprocessor_prover::mock::rv64::{Limits, Program, run as execute};

pub(crate) const TARGET: Target =
    Target { name: "circuit", about: "prover: the circuit loader and the mock interpreter", run, seeds };

const LIMITS: Limits = Limits { cycles: 50_000, memory: 1 << 20, public_values: 1 << 12 };
/// Where code and data lie: above SP1's stack.
const CODE: u64 = 0x7800_0000;
const DATA: u64 = 0x7900_0000;

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.below(3);
    let given = input.few();
    let file = match shape {
        0 => input.rest().to_vec(),
        1 => {
            let data = input.few();
            elf(input.rest(), data)
        }
        _ => {
            let data = input.few();
            let mut changes = Input::new(input.many());
            let mut file = elf(input.rest(), data);
            edit::bytes(&mut changes, &mut file);
            file
        }
    };
    let Ok(program) = Program::load(&file) else { return };
    let outcome = execute(&program, &[given], LIMITS, &|| false);
    if let Ok(outcome) = &outcome {
        assert!(outcome.cycles <= LIMITS.cycles, "{} cycles", outcome.cycles);
        assert!(outcome.public_values.len() <= LIMITS.public_values, "{} bytes", outcome.public_values.len());
    }
    assert_eq!(execute(&program, &[given], LIMITS, &|| false), outcome, "the same run came to something else");
}

/// An executable of this code and this data.
fn elf(code: &[u8], data: &[u8]) -> Vec<u8> {
    const HEADER: usize = 64;
    const SEGMENT: usize = 56;
    let start = (HEADER + 2 * SEGMENT) as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2_u16, 0xf3].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    file.extend([CODE, HEADER as u64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([HEADER as u16, SEGMENT as u16, 2, 64, 0, 0].map(u16::to_le_bytes).concat());
    for (flags, offset, address, length) in
        [(5_u32, start, CODE, code.len()), (6, start + code.len() as u64, DATA, data.len())]
    {
        let length = length as u64;
        file.extend([1_u32, flags].map(u32::to_le_bytes).concat());
        file.extend([offset, address, address, length, length + 4096, 4096].map(u64::to_le_bytes).concat());
    }
    [&file[..], code, data].concat()
}

/// `li`, in one instruction each, of small numbers.
fn load(register: u32, number: u32) -> u32 {
    number << 20 | register << 7 | 0x13
}

fn seeds() -> Vec<Seed> {
    const CALL: u32 = 0x73;
    // t0 has the system call's number, a0 and a1 its arguments.
    let halt = |code| [load(5, 0), load(10, code), CALL];
    let call = |number, a0, a1| [load(5, number), load(10, a0), load(11, a1), CALL];
    let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let code =
        |name: &str, words: &[u32]| Writer::new().byte(1).few(b"input").few(b"data").bytes(&bytes(words)).seed(name);
    // Shifts, multiplications and divisions of everything by everything, a load and a store.
    let arithmetic: Vec<u32> = [0x13, 0x33, 0x3b, 0x1b]
        .into_iter()
        .flat_map(|code| {
            (0..8).flat_map(move |f| [0, 1, 32].map(|g| g << 25 | 6 << 20 | 5 << 15 | f << 12 | 7 << 7 | code))
        })
        .chain([0x7900_02b7, 0x0002_b303, 0x0062_b023])
        .collect();
    let mut seeds = vec![
        code("halt", &halt(0)),
        code("halt-with-a-code", &halt(7)),
        code("endless", &[0x6f]),
        code("arithmetic", &arithmetic),
        Writer::new().byte(2).few(b"").few(b"").many(&[1, 1, 24, 0, 4]).bytes(&bytes(&halt(0))).seed("another-entry"),
    ];
    // Every system call that has a number of its own, with small arguments.
    let calls: Vec<u32> = (0..32).flat_map(|number| call(number, 64, 64)).collect();
    seeds.push(code("system-calls-of-the-first-kind", &calls[..120]));
    for number in [0xf0, 0xf1, 0x10, 0x1a, 0x1b, 0x1d] {
        let words = [&call(number, 32, 8)[..], &halt(0)].concat();
        seeds.push(code(&format!("system-call-{number:02x}"), &words));
    }
    seeds
}
