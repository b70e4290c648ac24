//! Which paths FAT can store: 8.3 names, checked before anything is touched.

use std::fmt::{self, Write};
use std::str::FromStr;

/// Most names in a path.
pub const MAX_PATH_DEPTH: usize = 20;

/// Most bytes in a path: [`MAX_PATH_DEPTH`] names of the longest kind.
pub const MAX_PATH_LENGTH: usize = MAX_PATH_DEPTH * "/12345678.123".len();

const BASE_LENGTH: usize = 8;
const EXTENSION_LENGTH: usize = 3;
const PUNCTUATION: &[u8] = b"!#$%&'()-@^_`{}~";

/// Why FAT can't store a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// More than [`MAX_PATH_LENGTH`] bytes.
    #[error("the path has {got} bytes; at most {MAX_PATH_LENGTH} are allowed")]
    TooLong {
        /// Length of the path, in bytes.
        got: usize,
    },
    /// More than [`MAX_PATH_DEPTH`] names.
    #[error("the path has {got} names; at most {MAX_PATH_DEPTH} are allowed")]
    TooDeep {
        /// Names in the path.
        got: usize,
    },
    /// Two slashes in a row, or one at the end.
    #[error("`{path}` has an empty name; put one `/` between names and none at the end")]
    EmptyName {
        /// The path.
        path: String,
    },
    /// `.` or `..`.
    #[error("`{name}` is not allowed in a path; give the path from the root")]
    Relative {
        /// The name.
        name: String,
    },
    /// A character beyond ASCII.
    #[error("`{name}` has the character {character:?}; {ALLOWED}")]
    NotAscii {
        /// The name.
        name: String,
        /// The character.
        character: char,
    },
    /// A control character.
    #[error("{name:?} has the control character {character:?}; {ALLOWED}")]
    Control {
        /// The name.
        name: String,
        /// The character.
        character: char,
    },
    /// A space. FAT could store it, yet many of its readers can't name such a file.
    #[error("`{name}` has a space; {ALLOWED}")]
    Space {
        /// The name.
        name: String,
    },
    /// A character that FAT keeps for itself.
    #[error("`{name}` has the character {character:?}, which FAT reserves; {ALLOWED}")]
    Reserved {
        /// The name.
        name: String,
        /// The character.
        character: char,
    },
    /// More than one dot.
    #[error("`{name}` has more than one dot; a name is 1 to 8 characters, or those, a dot and 1 to 3 more")]
    ManyDots {
        /// The name.
        name: String,
    },
    /// Nothing before the dot.
    #[error("`{name}` begins with a dot; a name has 1 to 8 characters before its dot")]
    NoBase {
        /// The name.
        name: String,
    },
    /// Nothing after the dot.
    #[error("`{name}` ends with a dot; leave the dot out or put 1 to 3 characters after it")]
    NoExtension {
        /// The name.
        name: String,
    },
    /// Too much before the dot.
    #[error("`{name}` has {got} characters before its extension; at most 8 are allowed")]
    LongBase {
        /// The name.
        name: String,
        /// Characters before the dot.
        got: usize,
    },
    /// Too much after the dot.
    #[error("`{name}` has an extension of {got} characters; at most 3 are allowed")]
    LongExtension {
        /// The name.
        name: String,
        /// Characters after the dot.
        got: usize,
    },
}

const ALLOWED: &str = "a name has the letters a to z, digits, and ! # $ % & ' ( ) - @ ^ _ ` { } ~";

/// A path that FAT can store, from the root. `/` and the empty text are the root itself.
///
/// A leading slash may be left out, and upper and lower case are the same. Its text form is in lower case with a
/// leading slash.
///
/// ```
/// use coprocessor_vfs::FatPath;
/// let path = FatPath::parse("VAR/share/Proofs/1a2b3c4d.bin")?;
/// assert_eq!(path.to_string(), "/var/share/proofs/1a2b3c4d.bin");
/// assert!(FatPath::parse("/var/long-file-name.json").is_err());
/// # Ok::<(), coprocessor_vfs::PathError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FatPath {
    names: Vec<Name>,
}

impl FatPath {
    /// Checks a path.
    ///
    /// # Errors
    /// The first thing that FAT can't store.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path.len() > MAX_PATH_LENGTH {
            return Err(PathError::TooLong { got: path.len() });
        }
        let from_root = path.strip_prefix('/').unwrap_or(path);
        if from_root.is_empty() {
            return Ok(Self { names: Vec::new() });
        }
        let got = from_root.split('/').count();
        if got > MAX_PATH_DEPTH {
            return Err(PathError::TooDeep { got });
        }
        let names = from_root.split('/').map(|name| {
            if name.is_empty() { Err(PathError::EmptyName { path: path.to_owned() }) } else { Name::parse(name) }
        });
        Ok(Self { names: names.collect::<Result<_, _>>()? })
    }

    /// Whether this is the root directory.
    pub fn is_root(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn names(&self) -> &[Name] {
        &self.names
    }

    /// The first `count` names of this path, as text for messages.
    pub(crate) fn prefix(&self, count: usize) -> String {
        Self { names: self.names[..count].to_vec() }.to_string()
    }
}

impl fmt::Display for FatPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("/");
        }
        self.names.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

impl FromStr for FatPath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        Self::parse(path)
    }
}

/// One name as a directory entry holds it: 8 and 3 bytes in upper case, filled up with spaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name([u8; BASE_LENGTH + EXTENSION_LENGTH]);

impl Name {
    pub(crate) const DOT: Self = Self(*b".          ");
    pub(crate) const DOT_DOT: Self = Self(*b"..         ");

    fn parse(text: &str) -> Result<Self, PathError> {
        let name = || text.to_owned();
        if matches!(text, "." | "..") {
            return Err(PathError::Relative { name: name() });
        }
        if let Some(character) = text.chars().find(|&c| !is_allowed(c) && c != '.') {
            return Err(match character {
                ' ' => PathError::Space { name: name() },
                c if c.is_control() => PathError::Control { name: name(), character },
                c if !c.is_ascii() => PathError::NotAscii { name: name(), character },
                _ => PathError::Reserved { name: name(), character },
            });
        }
        let (base, extension) = match text.split_once('.') {
            None => (text, ""),
            Some((_, rest)) if rest.contains('.') => return Err(PathError::ManyDots { name: name() }),
            Some((_, "")) => return Err(PathError::NoExtension { name: name() }),
            Some(parts) => parts,
        };
        if base.is_empty() {
            return Err(PathError::NoBase { name: name() });
        }
        if base.len() > BASE_LENGTH {
            return Err(PathError::LongBase { name: name(), got: base.len() });
        }
        if extension.len() > EXTENSION_LENGTH {
            return Err(PathError::LongExtension { name: name(), got: extension.len() });
        }
        let mut stored = [b' '; BASE_LENGTH + EXTENSION_LENGTH];
        stored[..base.len()].copy_from_slice(base.as_bytes());
        stored[BASE_LENGTH..][..extension.len()].copy_from_slice(extension.as_bytes());
        stored.make_ascii_uppercase();
        Ok(Self(stored))
    }

    /// A name found in a directory, which may have been written by anything.
    pub(crate) fn from_stored(stored: [u8; BASE_LENGTH + EXTENSION_LENGTH]) -> Self {
        Self(stored)
    }

    /// Whether a path can have it, and it is stored as a path's names are.
    pub(crate) fn is_reachable(&self) -> bool {
        Self::parse(&self.to_string()).is_ok_and(|name| name == *self)
    }

    pub(crate) fn as_stored(&self) -> &[u8; BASE_LENGTH + EXTENSION_LENGTH] {
        &self.0
    }

    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

/// In lower case. What a path can't hold, such as a character of an unknown code page, shows as U+FFFD.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (base, extension) = self.0.split_at(BASE_LENGTH);
        write_part(f, base)?;
        if extension.trim_ascii_end().is_empty() {
            return Ok(());
        }
        f.write_char('.')?;
        write_part(f, extension)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &[u8]) -> fmt::Result {
    part.trim_ascii_end().iter().map(|&byte| char::from(byte)).try_for_each(|character| {
        f.write_char(if is_allowed(character) { character.to_ascii_lowercase() } else { '\u{fffd}' })
    })
}

fn is_allowed(character: char) -> bool {
    u8::try_from(character).is_ok_and(|byte| byte.is_ascii_alphanumeric() || PUNCTUATION.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str) -> PathError {
        FatPath::parse(path).expect_err(path)
    }

    #[test]
    fn accepts_what_fat_can_store() {
        for (path, text) in [
            ("", "/"),
            ("/", "/"),
            ("a", "/a"),
            ("/A.B", "/a.b"),
            ("/var/share/proofs/1a2b3c4d.bin", "/var/share/proofs/1a2b3c4d.bin"),
            ("12345678.123", "/12345678.123"),
            ("con/NUL", "/con/nul"),
            ("!#$%&'()/-@^_`{}~", "/!#$%&'()/-@^_`{}~"),
        ] {
            assert_eq!(FatPath::parse(path).map(|path| path.to_string()).as_deref(), Ok(text), "{path}");
        }
        assert_eq!(FatPath::parse("readme.md"), FatPath::parse("/README.Md"));
    }

    #[test]
    fn says_why_a_path_is_refused() {
        let name = |text: &str| text.to_owned();
        assert_eq!(refused("a//b"), PathError::EmptyName { path: name("a//b") });
        assert_eq!(refused("a/"), PathError::EmptyName { path: name("a/") });
        assert_eq!(refused("//"), PathError::EmptyName { path: name("//") });
        assert_eq!(refused("a/../b"), PathError::Relative { name: name("..") });
        assert_eq!(refused("./b"), PathError::Relative { name: name(".") });
        assert_eq!(refused("é.txt"), PathError::NotAscii { name: name("é.txt"), character: 'é' });
        assert_eq!(refused("a\0"), PathError::Control { name: name("a\0"), character: '\0' });
        assert_eq!(refused("a\x7f"), PathError::Control { name: name("a\x7f"), character: '\x7f' });
        assert_eq!(refused("a b"), PathError::Space { name: name("a b") });
        for character in "\"*+,:;<=>?[\\]|".chars() {
            let text = format!("a{character}");
            assert_eq!(refused(&text), PathError::Reserved { name: text, character });
        }
        assert_eq!(refused("a.tar.gz"), PathError::ManyDots { name: name("a.tar.gz") });
        assert_eq!(refused("..."), PathError::ManyDots { name: name("...") });
        assert_eq!(refused(".rc"), PathError::NoBase { name: name(".rc") });
        assert_eq!(refused("rc."), PathError::NoExtension { name: name("rc.") });
        assert_eq!(refused("123456789"), PathError::LongBase { name: name("123456789"), got: 9 });
        assert_eq!(refused("a.json"), PathError::LongExtension { name: name("a.json"), got: 4 });
    }

    #[test]
    fn bounds_depth_and_length() {
        let deepest = "/12345678.123".repeat(MAX_PATH_DEPTH);
        assert_eq!(deepest.len(), MAX_PATH_LENGTH);
        assert!(FatPath::parse(&deepest).is_ok());
        assert_eq!(refused(&format!("{deepest}x")), PathError::TooLong { got: MAX_PATH_LENGTH + 1 });
        assert_eq!(refused(&"/a".repeat(MAX_PATH_DEPTH + 1)), PathError::TooDeep { got: MAX_PATH_DEPTH + 1 });
    }

    #[test]
    fn shows_foreign_names_without_their_bytes() {
        assert_eq!(Name::from_stored(*b"A\x8e\x01/    T T").to_string(), "a\u{fffd}\u{fffd}\u{fffd}.t\u{fffd}t");
        assert_eq!(Name::from_stored(*b"README     ").to_string(), "readme");
    }
}
