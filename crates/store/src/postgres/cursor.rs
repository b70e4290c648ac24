//! Cursors: a letter for the list, then the key of the last item read.

use crate::{Cursor, Page, StoreError};
use coprocessor_types::{BlockNumber, OwnerId, TaskId};
use std::str::FromStr;
use uuid::Uuid;

/// A list that is ordered by a sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Numbered {
    Programs,
    Webhooks,
    Deliveries,
    Versions,
}

impl Numbered {
    const fn letter(self) -> char {
        match self {
            Self::Programs => 'p',
            Self::Webhooks => 'w',
            Self::Deliveries => 'd',
            Self::Versions => 'v',
        }
    }

    pub(super) fn after(self, seq: i64) -> Cursor {
        Cursor(format!("{}{seq}", self.letter()))
    }

    /// The number that the next page is below.
    pub(super) fn below(self, cursor: Option<&Cursor>) -> Result<i64, StoreError> {
        cursor.map_or(Ok(i64::MAX), |cursor| number(rest(cursor, self.letter())?))
    }
}

pub(super) fn after_task(task: TaskId) -> Cursor {
    Cursor(format!("t{}", task.0.as_simple()))
}

pub(super) fn to_task(cursor: &Cursor) -> Result<TaskId, StoreError> {
    let text = rest(cursor, 't')?;
    if text.len() != 32 {
        return Err(StoreError::BadCursor);
    }
    Uuid::try_parse(text).map(TaskId).map_err(|_| StoreError::BadCursor)
}

pub(super) fn after_domain(seq: i64) -> Cursor {
    Cursor(format!("c{seq}"))
}

/// The number that the next page is above.
pub(super) fn above_domain(cursor: Option<&Cursor>) -> Result<i64, StoreError> {
    cursor.map_or(Ok(0), |cursor| number(rest(cursor, 'c')?))
}

pub(super) fn after_block(number: BlockNumber) -> Cursor {
    Cursor(format!("b{number}"))
}

pub(super) fn to_block(cursor: &Cursor) -> Result<BlockNumber, StoreError> {
    number(rest(cursor, 'b')?)
}

pub(super) fn after_owner(owner: &OwnerId) -> Cursor {
    Cursor(format!("o{owner}"))
}

pub(super) fn to_owner(cursor: &Cursor) -> Result<OwnerId, StoreError> {
    rest(cursor, 'o')?.parse().map_err(|_| StoreError::BadCursor)
}

pub(super) fn after_key(created_at: i64, id: [u8; 8]) -> Cursor {
    Cursor(format!("k{:016x}{:016x}", created_at.cast_unsigned(), u64::from_be_bytes(id)))
}

pub(super) fn to_key(cursor: &Cursor) -> Result<(i64, [u8; 8]), StoreError> {
    let text = rest(cursor, 'k')?;
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(StoreError::BadCursor);
    }
    let half = |digits| u64::from_str_radix(digits, 16).map_err(|_| StoreError::BadCursor);
    Ok((half(&text[..16])?.cast_signed(), half(&text[16..])?.to_be_bytes()))
}

/// How many rows to read for a page of `limit`: one more tells whether another page follows.
pub(super) fn rows_for(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// The page that the rows read for it make, each with the cursor after it.
pub(super) fn page<T>(mut items: Vec<(Cursor, T)>, limit: usize) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|(after, _)| after.clone());
    Page { items: items.into_iter().map(|(_, item)| item).collect(), next }
}

fn rest(cursor: &Cursor, letter: char) -> Result<&str, StoreError> {
    cursor.0.strip_prefix(letter).ok_or(StoreError::BadCursor)
}

fn number<T: FromStr>(text: &str) -> Result<T, StoreError> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| canonical).ok_or(StoreError::BadCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_nothing_else_does() {
        let (task, owner) = (TaskId::now(), OwnerId::anonymous());
        assert_eq!(to_task(&after_task(task)).unwrap(), task);
        assert_eq!(to_owner(&after_owner(&owner)).unwrap(), owner);
        for list in [Numbered::Programs, Numbered::Webhooks, Numbered::Deliveries, Numbered::Versions] {
            assert_eq!(list.below(Some(&list.after(7))).unwrap(), 7);
        }
        assert_eq!(above_domain(Some(&after_domain(8))).unwrap(), 8);
        for number in [0, u64::MAX] {
            assert_eq!(to_block(&after_block(number)).unwrap(), number);
        }
        for key in [(0, [0; 8]), (-5, [0xff; 8]), (i64::MAX, [1, 2, 3, 4, 5, 6, 7, 8])] {
            assert_eq!(to_key(&after_key(key.0, key.1)).unwrap(), key);
        }
        for bad in [
            "",
            "t",
            "p",
            "x1",
            "p-1",
            "p+1",
            "p1x",
            "p99999999999999999999",
            "t12",
            &"t".repeat(33),
            "tä",
            "oÄ",
            "k",
            "c",
            "c-1",
            "b18446744073709551616",
            "b+1",
        ] {
            let cursor = Cursor(bad.to_owned());
            assert!(matches!(to_task(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_owner(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(above_domain(Some(&cursor)), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_block(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_key(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(Numbered::Programs.below(Some(&cursor)), Err(StoreError::BadCursor)), "{bad}");
        }
        assert!(matches!(to_key(&Cursor(format!("k{}", "+0".repeat(16)))), Err(StoreError::BadCursor)));
    }
}
