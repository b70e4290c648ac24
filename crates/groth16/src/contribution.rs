//! Who contributed randomness to a zkey.

use crate::FileError;
use crate::curve::{G1Affine, Point};
use crate::sections::Reader;
use crate::zkey::KIND;

/// Bytes of a contribution before its parameters.
const FIXED: u64 = 3 * 64 + 128 + 64 + 8;

/// One contribution of randomness, by its own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// What its maker called it, if anything.
    pub name: Option<String>,
    /// Whether it is a beacon: randomness from a public source, that all can see was not chosen.
    pub beacon: bool,
    pub(crate) delta: G1Affine,
}

impl Contribution {
    /// Whether its name says that its randomness is known, or was not kept secret.
    pub fn is_for_development(&self) -> bool {
        self.name.as_deref().is_some_and(|name| name.starts_with("development"))
    }
}

pub(crate) fn read(mut reader: Reader<'_>) -> Result<Vec<Contribution>, FileError> {
    // The digest of what the key was made from.
    reader.bytes(64)?;
    let count = reader.u32()?;
    let fits = reader.left() / FIXED;
    if u64::from(count) > fits {
        let expected = format!("at most {fits}, for which there are bytes");
        let what = "the number of contributions";
        return Err(FileError::Count { file: KIND.name, what, got: count.into(), expected });
    }
    let contributions = (0..count).map(|index| one(&mut reader, index)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(contributions)
}

fn one(reader: &mut Reader<'_>, index: u32) -> Result<Contribution, FileError> {
    let delta = G1Affine::read(reader.bytes(64)?);
    let delta = delta.ok_or(FileError::Point { what: "contributions", index: index.into() })?;
    // The proof that its maker knew what was contributed, which takes the powers of tau to check.
    reader.bytes(2 * 64 + 128 + 64)?;
    let beacon = match reader.u32()? {
        0 => false,
        1 => true,
        got => return Err(kind(got)),
    };
    let length = u64::from(reader.u32()?);
    let (mut name, end) = (None, reader.left().checked_sub(length));
    let end = end.ok_or(FileError::Truncated {
        file: KIND.name,
        what: "contributions",
        needed: length,
        left: reader.left(),
    })?;
    while reader.left() > end {
        match reader.array::<1>()? {
            [1] => name = Some(text(reader)?),
            [2] => drop(reader.array::<1>()?),
            [3] => drop(short(reader)?),
            [got] => return Err(kind(got.into())),
        }
    }
    if reader.left() != end {
        return Err(FileError::LeftOver { file: KIND.name, what: "a contribution", bytes: end - reader.left() });
    }
    Ok(Contribution { name, beacon, delta })
}

fn short<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], FileError> {
    let [length] = reader.array()?;
    reader.bytes(length.into())
}

fn text(reader: &mut Reader<'_>) -> Result<String, FileError> {
    let text = std::str::from_utf8(short(reader)?);
    text.map(ToOwned::to_owned).map_err(|_| FileError::NotText { file: KIND.name, what: "a contribution's name" })
}

fn kind(got: u32) -> FileError {
    let what = "a kind within a contribution";
    FileError::Count { file: KIND.name, what, got: got.into(), expected: "one that snarkjs writes".into() }
}
