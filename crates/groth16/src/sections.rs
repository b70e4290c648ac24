//! The outer form that circom's and snarkjs's files share: four letters, a version, and sections with a number and a length.

use crate::FileError;
use crate::curve::{self, Fr};

/// A kind of file: what it is called, begins with, its version, and the numbers of its sections.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    pub(crate) sections: std::ops::RangeInclusive<u32>,
}

/// A file's sections, not looked into.
pub(crate) struct Sections<'a> {
    file: &'static str,
    found: Vec<(u32, &'a [u8])>,
}

/// Reads numbers, little-endian, from one section or file.
pub(crate) struct Reader<'a> {
    file: &'static str,
    what: &'static str,
    left: &'a [u8],
}

impl<'a> Sections<'a> {
    /// Finds them; their lengths add up to the whole file.
    pub(crate) fn find(kind: &Kind, bytes: &'a [u8]) -> Result<Self, FileError> {
        let file = kind.name;
        let mut reader = Reader { file, what: "its header", left: bytes };
        let magic = reader.array()?;
        if magic != kind.magic {
            return Err(FileError::Magic { file, got: magic, expected: kind.magic });
        }
        let version = reader.u32()?;
        if version != kind.version {
            return Err(FileError::Version { file, got: version, expected: kind.version });
        }
        let count = reader.u32()?;
        reader.what = "its sections";
        let mut found: Vec<(u32, &[u8])> = Vec::new();
        for _ in 0..count {
            let id = reader.u32()?;
            let length = reader.u64()?;
            if !kind.sections.contains(&id) {
                return Err(FileError::UnknownSection { file, id });
            }
            if found.iter().any(|(there, _)| *there == id) {
                return Err(FileError::SectionTwice { file, id });
            }
            found.push((id, reader.bytes(length)?));
        }
        reader.end()?;
        Ok(Self { file, found })
    }

    /// That they are in the order of their numbers.
    pub(crate) fn check_order(&self) -> Result<(), FileError> {
        match self.found.windows(2).find(|pair| pair[0].0 > pair[1].0) {
            Some(pair) => Err(FileError::SectionOrder { file: self.file, id: pair[1].0 }),
            None => Ok(()),
        }
    }

    /// One that may be missing.
    pub(crate) fn get(&self, id: u32) -> Option<&'a [u8]> {
        self.found.iter().find(|(there, _)| *there == id).map(|(_, bytes)| *bytes)
    }

    /// One that every such file has.
    pub(crate) fn bytes(&self, id: u32, name: &'static str) -> Result<&'a [u8], FileError> {
        self.get(id).ok_or(FileError::NoSection { file: self.file, id, name })
    }

    /// One that every such file has, to be read.
    pub(crate) fn reader(&self, id: u32, name: &'static str) -> Result<Reader<'a>, FileError> {
        Ok(Reader { file: self.file, what: name, left: self.bytes(id, name)? })
    }

    /// One whose length is known.
    pub(crate) fn exactly(&self, id: u32, name: &'static str, expected: u64) -> Result<&'a [u8], FileError> {
        let bytes = self.bytes(id, name)?;
        let got = bytes.len() as u64;
        if got != expected {
            return Err(FileError::SectionLength { file: self.file, name, got, expected });
        }
        Ok(bytes)
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, length: u64) -> Result<&'a [u8], FileError> {
        let split = usize::try_from(length).ok().and_then(|length| self.left.split_at_checked(length));
        let (bytes, left) = split.ok_or(FileError::Truncated {
            file: self.file,
            what: self.what,
            needed: length,
            left: self.left(),
        })?;
        self.left = left;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let bytes = self.bytes(N as u64)?;
        Ok(bytes.try_into().expect("so many were asked for"))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FileError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FileError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A field element in its canonical form; `index` is for the error.
    pub(crate) fn element(&mut self, what: &'static str, index: u64) -> Result<Fr, FileError> {
        let file = self.file;
        curve::scalar(&self.array()?).ok_or(FileError::NotCanonical { file, what, index })
    }

    /// The size of a field's elements and its modulus, which must be these.
    pub(crate) fn field(&mut self, modulus: &[u8; 32]) -> Result<(), FileError> {
        let size = self.u32()?;
        if size != 32 {
            return Err(FileError::Field { file: self.file, got: format!("elements of {size} bytes") });
        }
        let got: [u8; 32] = self.array()?;
        if got != *modulus {
            let hex: String = got.iter().rev().map(|byte| format!("{byte:02x}")).collect();
            return Err(FileError::Field { file: self.file, got: format!("modulus 0x{hex}") });
        }
        Ok(())
    }

    /// Bytes not yet read.
    pub(crate) fn left(&self) -> u64 {
        self.left.len() as u64
    }

    /// That there is nothing more.
    pub(crate) fn end(self) -> Result<(), FileError> {
        match self.left() {
            0 => Ok(()),
            bytes => Err(FileError::LeftOver { file: self.file, what: self.what, bytes }),
        }
    }
}
