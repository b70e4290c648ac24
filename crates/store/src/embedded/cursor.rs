//! Cursors: a letter for the list, then the key of the last item read.

use crate::{Cursor, KeyId, Page, StoreError};
use coprocessor_types::{BlockNumber, OwnerId, TaskId};
use std::str::FromStr;
use uuid::Uuid;

const TASKS: char = 't';
const PROGRAMS: char = 'p';
const OWNERS: char = 'o';
const KEYS: char = 'k';
const WEBHOOKS: char = 'w';
const DELIVERIES: char = 'd';
const DOMAINS: char = 'c';
const BLOCKS: char = 'b';
const VERSIONS: char = 'v';

pub(super) fn after_task(task: TaskId) -> Cursor {
    Cursor(format!("{TASKS}{}", task.0.as_simple()))
}

pub(super) fn to_task(cursor: &Cursor) -> Result<TaskId, StoreError> {
    let text = cursor.0.strip_prefix(TASKS).filter(|text| text.len() == 32).ok_or(StoreError::BadCursor)?;
    Uuid::try_parse(text).map(TaskId).map_err(|_| StoreError::BadCursor)
}

pub(super) fn after_program(seq: i64) -> Cursor {
    after_seq(PROGRAMS, seq)
}

pub(super) fn to_program(cursor: &Cursor) -> Result<i64, StoreError> {
    to_seq(PROGRAMS, cursor)
}

pub(super) fn after_webhook(seq: i64) -> Cursor {
    after_seq(WEBHOOKS, seq)
}

pub(super) fn to_webhook(cursor: &Cursor) -> Result<i64, StoreError> {
    to_seq(WEBHOOKS, cursor)
}

pub(super) fn after_delivery(seq: i64) -> Cursor {
    after_seq(DELIVERIES, seq)
}

pub(super) fn to_delivery(cursor: &Cursor) -> Result<i64, StoreError> {
    to_seq(DELIVERIES, cursor)
}

pub(super) fn after_domain(seq: i64) -> Cursor {
    after_seq(DOMAINS, seq)
}

pub(super) fn to_domain(cursor: &Cursor) -> Result<i64, StoreError> {
    to_seq(DOMAINS, cursor)
}

pub(super) fn after_block(number: BlockNumber) -> Cursor {
    Cursor(format!("{BLOCKS}{number}"))
}

pub(super) fn to_block(cursor: &Cursor) -> Result<BlockNumber, StoreError> {
    to_number(BLOCKS, cursor)
}

pub(super) fn after_version(number: u64) -> Cursor {
    Cursor(format!("{VERSIONS}{number}"))
}

pub(super) fn to_version(cursor: &Cursor) -> Result<i64, StoreError> {
    to_seq(VERSIONS, cursor)
}

pub(super) fn after_owner(owner: &OwnerId) -> Cursor {
    Cursor(format!("{OWNERS}{owner}"))
}

pub(super) fn to_owner(cursor: &Cursor) -> Result<OwnerId, StoreError> {
    let text = cursor.0.strip_prefix(OWNERS).ok_or(StoreError::BadCursor)?;
    text.parse().map_err(|_| StoreError::BadCursor)
}

/// `made` is when, in microseconds.
pub(super) fn after_key(made: i64, key: KeyId) -> Cursor {
    Cursor(format!("{KEYS}{made}-{key}"))
}

pub(super) fn to_key(cursor: &Cursor) -> Result<(i64, KeyId), StoreError> {
    let text = cursor.0.strip_prefix(KEYS).ok_or(StoreError::BadCursor)?;
    let (made, key) = text.rsplit_once('-').ok_or(StoreError::BadCursor)?;
    let made = made.parse().map_err(|_| StoreError::BadCursor)?;
    Ok((made, key.parse().map_err(|_| StoreError::BadCursor)?))
}

fn after_seq(list: char, seq: i64) -> Cursor {
    Cursor(format!("{list}{seq}"))
}

fn to_seq(list: char, cursor: &Cursor) -> Result<i64, StoreError> {
    to_number(list, cursor)
}

fn to_number<T: FromStr>(list: char, cursor: &Cursor) -> Result<T, StoreError> {
    let text = cursor.0.strip_prefix(list).ok_or(StoreError::BadCursor)?;
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| canonical).ok_or(StoreError::BadCursor)
}

/// How many rows to read for a page of `limit`: one more tells whether another page follows.
pub(super) fn rows_for(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// The page that the rows read for it make.
pub(super) fn page<T>(mut items: Vec<T>, limit: usize, after: impl Fn(&T) -> Cursor) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(after);
    Page { items, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_nothing_else_does() {
        let task = TaskId::now();
        assert_eq!(to_task(&after_task(task)).unwrap(), task);
        assert_eq!(to_program(&after_program(7)).unwrap(), 7);
        assert_eq!(to_webhook(&after_webhook(8)).unwrap(), 8);
        assert_eq!(to_delivery(&after_delivery(9)).unwrap(), 9);
        assert_eq!(to_domain(&after_domain(10)).unwrap(), 10);
        assert_eq!(to_version(&after_version(11)).unwrap(), 11);
        for number in [0, u64::MAX] {
            assert_eq!(to_block(&after_block(number)).unwrap(), number);
        }
        let owner: OwnerId = "a-b.c".parse().unwrap();
        assert_eq!(to_owner(&after_owner(&owner)).unwrap(), owner);
        for made in [0, -5, i64::MAX] {
            assert_eq!(to_key(&after_key(made, KeyId([7; 8]))).unwrap(), (made, KeyId([7; 8])));
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
            "o",
            "oA",
            "k",
            "k1",
            "k1-",
            "k-0707070707070707",
            "kx-0707070707070707",
            "k1-07070707070707",
            "w",
            "wx",
            "d",
            "d 1",
            "c",
            "c-1",
            "v",
            "v-1",
            "b18446744073709551616",
            "b+1",
        ] {
            let cursor = Cursor(bad.to_owned());
            assert!(matches!(to_task(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_program(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_owner(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_domain(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_block(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_version(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_key(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_webhook(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_delivery(&cursor), Err(StoreError::BadCursor)), "{bad}");
        }
    }
}
