//! Loading: the same ELF files that SP1 takes, and no others.

use elf::{ElfBytes, abi, endian::LittleEndian, file::Class, segment::ProgramHeader};
use std::collections::HashMap;

use super::{
    decode::{Instruction, decode},
    memory::{ADDRESS_SPACE, PAGE, Page},
};

const MAX_SEGMENTS: usize = 256;
const MAX_INSTRUCTIONS: usize = 1 << 22;
/// SP1 keeps a word for each word of every segment, zero-filled ones too.
const MAX_SEGMENT_MEMORY: u64 = 1 << 30;
/// The stack grows down from here, so nothing else may lie below.
const STACK_TOP: u64 = 0x7800_0000;
/// SP1's flag for code that is not part of the proved program.
const PF_UNTRUSTED: u32 = 0x0010_0000;
const EF_RISCV_RVC: u32 = 1;

/// A decoded circuit.
#[derive(Debug)]
pub struct Program {
    pub(super) entry: u64,
    pub(super) base: u64,
    pub(super) code: Vec<Instruction>,
    pub(super) image: HashMap<u64, Box<Page>>,
}

/// Why bytes are not a circuit for SP1's zkVM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Not ELF, or broken.
    #[error("not an ELF file: {0}")]
    NotElf(String),
    /// ELF for something else.
    #[error("an ELF file for {got}; a circuit is built for riscv64im-succinct-zkvm-elf")]
    OtherTarget {
        /// What it is for.
        got: String,
    },
    /// A header SP1 refuses.
    #[error("the ELF file is malformed: {0}")]
    Malformed(String),
    /// More than SP1 or this interpreter takes.
    #[error("the ELF file has {got} {what}, at most {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many.
        got: u64,
        /// The limit.
        limit: u64,
    },
}

impl Program {
    /// Reads an ELF file. Allocates in proportion to the file's length, whatever its headers say.
    ///
    /// # Errors
    /// Whatever SP1's own loader refuses.
    pub fn load(file: &[u8]) -> Result<Self, LoadError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|e| LoadError::NotElf(e.to_string()))?;
        check_target(&elf)?;
        let entry = elf.ehdr.e_entry;
        let segments = elf.segments().ok_or_else(|| malformed("it has no segments"))?;
        if segments.len() > MAX_SEGMENTS {
            return Err(too_large("segments", segments.len() as u64, MAX_SEGMENTS as u64));
        }
        let mut loader = Loader::default();
        for segment in segments.iter().filter(|segment| segment.p_type == abi::PT_LOAD) {
            loader.add(&segment, file)?;
        }
        let base = loader.base.ok_or_else(|| malformed("it has no executable segment"))?;
        let code: Vec<_> = loader.words.into_iter().map(decode).collect();
        let inside = entry.checked_sub(base).is_some_and(|offset| offset / 4 < code.len() as u64);
        if !inside || !entry.is_multiple_of(4) {
            return Err(malformed(format!("its entry point {entry:#x} is not in its code")));
        }
        Ok(Self { entry, base, code, image: loader.image })
    }
}

fn check_target(elf: &ElfBytes<'_, LittleEndian>) -> Result<(), LoadError> {
    let header = &elf.ehdr;
    let other = |got: String| Err(LoadError::OtherTarget { got });
    if header.e_machine != abi::EM_RISCV {
        return other(match header.e_machine {
            abi::EM_X86_64 => "x86-64".into(),
            abi::EM_AARCH64 => "AArch64".into(),
            number => format!("machine {number}"),
        });
    }
    if header.class != Class::ELF64 {
        return other("32-bit RISC-V".into());
    }
    if header.e_flags & EF_RISCV_RVC != 0 {
        return other("RISC-V with compressed instructions".into());
    }
    if header.e_type != abi::ET_EXEC {
        return Err(malformed("it is not an executable"));
    }
    Ok(())
}

#[derive(Default)]
struct Loader {
    base: Option<u64>,
    words: Vec<u32>,
    image: HashMap<u64, Box<Page>>,
    end: u64,
    memory: u64,
}

impl Loader {
    fn add(&mut self, segment: &ProgramHeader, file: &[u8]) -> Result<(), LoadError> {
        let start = segment.p_vaddr;
        let bytes = segment_bytes(segment, file)?;
        let end = start.checked_add(segment.p_memsz).filter(|end| *end <= ADDRESS_SPACE);
        let end = end.ok_or_else(|| malformed("a segment ends outside the address space"))?;
        if start < STACK_TOP {
            return Err(malformed(format!("a segment at {start:#x} lies in the stack, below {STACK_TOP:#x}")));
        }
        if start < self.end {
            return Err(malformed("its segments overlap or are out of order"));
        }
        if !start.is_multiple_of(4) {
            return Err(malformed(format!("the segment at {start:#x} is not aligned to 4 bytes")));
        }
        if segment.p_flags & abi::PF_R == 0 {
            return Err(malformed("a segment is not readable"));
        }
        self.memory += segment.p_memsz;
        if self.memory > MAX_SEGMENT_MEMORY {
            return Err(too_large("bytes of segments", self.memory, MAX_SEGMENT_MEMORY));
        }
        if segment.p_flags & abi::PF_X != 0 {
            self.add_code(segment, bytes)?;
        }
        self.copy(start, bytes);
        self.end = end;
        Ok(())
    }

    fn add_code(&mut self, segment: &ProgramHeader, bytes: &[u8]) -> Result<(), LoadError> {
        if segment.p_flags & abi::PF_W != 0 {
            return Err(malformed("a segment is both writable and executable"));
        }
        if segment.p_flags & PF_UNTRUSTED != 0 {
            return Err(malformed("code loaded at run time is not supported by the mock backend"));
        }
        let base = *self.base.get_or_insert(segment.p_vaddr);
        if segment.p_vaddr != base + 4 * self.words.len() as u64 {
            return Err(malformed("its executable segments are not adjacent"));
        }
        let count = self.words.len() + bytes.len().div_ceil(4);
        if count > MAX_INSTRUCTIONS {
            return Err(too_large("instructions", count as u64, MAX_INSTRUCTIONS as u64));
        }
        self.words.extend(bytes.chunks(4).map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(word)
        }));
        Ok(())
    }

    fn copy(&mut self, start: u64, mut bytes: &[u8]) {
        let mut address = start;
        while !bytes.is_empty() {
            let offset = (address % PAGE as u64) as usize;
            let count = bytes.len().min(PAGE - offset);
            let page = self.image.entry(address / PAGE as u64).or_insert_with(|| Box::new([0; PAGE]));
            page[offset..offset + count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            address += count as u64;
        }
    }
}

fn segment_bytes<'a>(segment: &ProgramHeader, file: &'a [u8]) -> Result<&'a [u8], LoadError> {
    if segment.p_filesz > segment.p_memsz {
        return Err(malformed("a segment is longer in the file than in memory"));
    }
    let range = usize::try_from(segment.p_offset).ok().zip(usize::try_from(segment.p_filesz).ok());
    range
        .and_then(|(offset, len)| file.get(offset..offset.checked_add(len)?))
        .ok_or_else(|| malformed("a segment ends outside the file"))
}

fn malformed(reason: impl Into<String>) -> LoadError {
    LoadError::Malformed(reason.into())
}

fn too_large(what: &'static str, got: u64, limit: u64) -> LoadError {
    LoadError::TooLarge { what, got, limit }
}
