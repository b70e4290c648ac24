//! The entries of one directory in their order: which of them are files and directories, and whether the parts of long names
//! belong to these.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::{Fault, shown};
use crate::directory::{MAX_LONG_NAME, Record, Slot};
use crate::geometry::ENTRY_SIZE;
use crate::path::Name;

/// What was met in a directory so far.
pub(super) struct Names {
    is_root: bool,
    labels: usize,
    records: usize,
    seen: HashSet<Name>,
    /// Parts of a long name that are still to come, and the checksum all of them have to have.
    long_name: Option<(u8, u8)>,
}

/// What is wrong with an entry that is no file or directory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Odd {
    LongName,
    Label,
}

impl Odd {
    pub(super) fn at(self, path: &str) -> Fault {
        let directory = shown(path);
        match self {
            Self::LongName => Fault::LongName { directory },
            Self::Label => Fault::Label { directory },
        }
    }
}

impl Names {
    pub(super) fn new(is_root: bool) -> Self {
        Self { is_root, labels: 0, records: 0, seen: HashSet::new(), long_name: None }
    }

    /// Files and directories met so far, `.` and `..` among them.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Whether the entry that a long name belongs to is still missing.
    pub(super) fn is_within_long_name(&self) -> bool {
        self.long_name.is_some()
    }

    /// Notes a name; false if it was there already.
    pub(super) fn insert(&mut self, name: Name) -> bool {
        self.seen.insert(name)
    }

    /// The next entry, if it is a file or directory; no more after a break. A fault leaves the entry out, unless it is that
    /// of a long name before it.
    pub(super) fn next(&mut self, slot: &[u8; ENTRY_SIZE]) -> Result<ControlFlow<(), Option<Record>>, Odd> {
        let pending = self.long_name.take();
        let orphaned = |found| if pending.is_some() { Err(Odd::LongName) } else { Ok(found) };
        match Slot::of(slot) {
            // What comes after the end is read by nobody; a long name that runs into it belongs to nothing.
            Slot::Unused if pending.is_some() => Err(Odd::LongName),
            Slot::Unused => Ok(ControlFlow::Break(())),
            Slot::Removed => orphaned(ControlFlow::Continue(None)),
            Slot::Label => {
                self.labels += 1;
                if !self.is_root || self.labels > 1 {
                    return Err(Odd::Label);
                }
                orphaned(ControlFlow::Continue(None))
            }
            Slot::LongName => {
                self.long_name = Some(follow(pending, slot)?);
                Ok(ControlFlow::Continue(None))
            }
            Slot::Entry(record) => {
                self.records += 1;
                match pending {
                    Some(whole) if whole != (0, checksum(&record.name())) => Err(Odd::LongName),
                    _ => Ok(ControlFlow::Continue(Some(record))),
                }
            }
        }
    }
}

/// The parts that are to come after this one, which is the first or the next.
fn follow(pending: Option<(u8, u8)>, slot: &[u8; ENTRY_SIZE]) -> Result<(u8, u8), Odd> {
    const FIRST: u8 = 0x40;
    let (number, sum) = (slot[0], slot[13]);
    let next = match pending {
        None if number & FIRST != 0 => number & !FIRST,
        Some((left, expected)) if number == left && sum == expected => number,
        _ => return Err(Odd::LongName),
    };
    if !(1..=MAX_LONG_NAME as u8).contains(&next) {
        return Err(Odd::LongName);
    }
    Ok((next - 1, sum))
}

/// What ties the parts of a long name to the entry after them.
fn checksum(name: &Name) -> u8 {
    name.as_stored().iter().fold(0, |sum: u8, &byte| sum.rotate_right(1).wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(stored: &[u8; 11]) -> Name {
        Name::from_stored(*stored)
    }

    fn part(number: u8, sum: u8) -> [u8; ENTRY_SIZE] {
        let mut slot = [0xff; ENTRY_SIZE];
        (slot[0], slot[11], slot[13]) = (number, 0x0f, sum);
        slot
    }

    fn entry(stored: &[u8; 11], attributes: u8) -> [u8; ENTRY_SIZE] {
        let mut slot = [0; ENTRY_SIZE];
        slot[..11].copy_from_slice(stored);
        slot[11] = attributes;
        slot
    }

    /// How many entries are files, or the first fault.
    fn read(slots: &[[u8; ENTRY_SIZE]]) -> Result<usize, Odd> {
        let mut names = Names::new(true);
        for slot in slots {
            if names.next(slot)?.is_break() {
                break;
            }
        }
        if names.is_within_long_name() { Err(Odd::LongName) } else { Ok(names.records()) }
    }

    #[test]
    fn long_names_belong_to_the_entry_after_them() {
        const FILE: &[u8; 11] = b"ALONGF~1JSO";
        let sum = checksum(&name(FILE));
        let file = entry(FILE, 0x20);
        assert_eq!(read(&[part(0x42, sum), part(1, sum), file]).unwrap(), 1);
        assert_eq!(read(&[file, part(0x41, sum), file]).unwrap(), 2);
        for slots in [
            &[part(0x42, sum), file][..],
            &[part(2, sum), part(1, sum), file],
            &[part(0x42, sum), part(1, sum.wrapping_add(1)), file],
            &[part(0x41, sum.wrapping_add(1)), file],
            &[part(0x41, sum), part(0x41, sum), file],
            &[part(0x41, sum), entry(b"\xe5LONGF~1JSO", 0x20), file],
            &[part(0x41, sum), entry(b"LABEL      ", 0x08), file],
            &[part(0x41, sum), [0; ENTRY_SIZE]],
            &[part(0x41, sum)],
            &[part(0x40, sum), file],
            &[part(0x55, sum), file],
        ] {
            assert!(matches!(read(slots), Err(Odd::LongName)), "{slots:?}");
        }
    }

    #[test]
    fn a_volume_has_one_label_at_its_root() {
        let label = entry(b"LABEL      ", 0x08);
        assert_eq!(read(&[label]).unwrap(), 0);
        assert!(matches!(read(&[label, label]), Err(Odd::Label)));
        assert!(matches!(Names::new(false).next(&label), Err(Odd::Label)));
    }

    #[test]
    fn a_known_checksum() {
        // As other implementations compute it: bytes added one after the other, the sum rotated right by a bit between.
        assert_eq!(
            checksum(&name(b"           ")),
            b" ".repeat(11)
                .iter()
                .fold(0_u8, |sum, &byte| { ((sum & 1) << 7).wrapping_add(sum >> 1).wrapping_add(byte) })
        );
    }
}
