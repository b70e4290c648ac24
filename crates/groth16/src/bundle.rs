//! A circuit as it is deployed: all its files in one.

use crate::FileError;
use crate::sections::{Kind, Sections};

const KIND: Kind = Kind { name: "bundle", magic: *b"cpgb", version: 1, sections: 1..=3 };

/// What a circuit of circom comes as, in one file.
///
/// ```text
/// "cpgb" ‖ version 1 ‖ 3 ‖ (number ‖ length ‖ bytes) for each of r1cs (1), zkey (2), generator (3)
/// ```
///
/// Numbers have 4 bytes and lengths 8, little-endian: the outer form of circom's and snarkjs's own files. There is one encoding of
/// three files, so that a bundle's digest names them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// The constraints: `.r1cs`.
    pub r1cs: &'a [u8],
    /// The proving key: `.zkey`.
    pub zkey: &'a [u8],
    /// The witness generator: `.wasm`.
    pub generator: &'a [u8],
}

impl<'a> Bundle<'a> {
    /// Finds the files, without looking into them.
    ///
    /// # Errors
    /// Anything but what [`Bundle::to_bytes`] gives.
    pub fn read(bytes: &'a [u8]) -> Result<Self, FileError> {
        let sections = Sections::find(&KIND, bytes)?;
        sections.check_order()?;
        Ok(Self {
            r1cs: sections.bytes(1, "r1cs")?,
            zkey: sections.bytes(2, "zkey")?,
            generator: sections.bytes(3, "witness generator")?,
        })
    }

    /// Whether bytes begin like a bundle.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(&KIND.magic)
    }

    /// All in one file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let files = [self.r1cs, self.zkey, self.generator];
        let mut bytes = Vec::with_capacity(12 + files.iter().map(|file| 12 + file.len()).sum::<usize>());
        bytes.extend(KIND.magic);
        bytes.extend(KIND.version.to_le_bytes());
        bytes.extend(3u32.to_le_bytes());
        for (id, file) in (1u32..).zip(files) {
            bytes.extend(id.to_le_bytes());
            bytes.extend((file.len() as u64).to_le_bytes());
            bytes.extend(file);
        }
        bytes
    }
}

impl std::fmt::Debug for Bundle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [r1cs, zkey, generator] = [self.r1cs, self.zkey, self.generator].map(<[u8]>::len);
        write!(f, "Bundle(r1cs of {r1cs} bytes, zkey of {zkey}, generator of {generator})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(r1cs: Vec<u8>, zkey: Vec<u8>, generator: Vec<u8>) {
            let bundle = Bundle { r1cs: &r1cs, zkey: &zkey, generator: &generator };
            let bytes = bundle.to_bytes();
            prop_assert_eq!(Bundle::read(&bytes), Ok(bundle));
            prop_assert!(Bundle::is_one(&bytes));
            for cut in 0..bytes.len() {
                prop_assert!(Bundle::read(&bytes[..cut]).is_err());
            }
            let longer = [&bytes[..], &[0]].concat();
            prop_assert!(Bundle::read(&longer).is_err());
        }

        #[test]
        fn what_is_read_would_be_written_so(bytes: Vec<u8>) {
            let bytes = [b"cpgb\x01\0\0\0\x03\0\0\0", &bytes[..]].concat();
            if let Ok(bundle) = Bundle::read(&bytes) {
                prop_assert_eq!(bundle.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn another_order_is_another_encoding_and_refused() {
        let empty = |ids: [u32; 3]| {
            let sections = ids.map(|id| [&id.to_le_bytes()[..], &[0; 8]].concat());
            [b"cpgb\x01\0\0\0\x03\0\0\0", &sections.concat()[..]].concat()
        };
        assert!(Bundle::read(&empty([1, 2, 3])).is_ok());
        assert!(Bundle::read(&empty([2, 1, 3])).is_err());
        assert_eq!(Bundle::read(&empty([1, 2, 2])), Err(FileError::SectionTwice { file: "bundle", id: 2 }));
        assert_eq!(Bundle::read(&empty([1, 2, 9])), Err(FileError::UnknownSection { file: "bundle", id: 9 }));
    }
}
