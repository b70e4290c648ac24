//! How values are kept in columns. What can't be read back was not written by this code.

use super::fault::Fault;
use crate::StoreError;
use coprocessor_types::{OwnerId, TaskId};
use jiff::Timestamp;
use rusqlite::{Row, RowIndex};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Display, str::FromStr};
use uuid::Uuid;

/// The latest time that reads back: [`Timestamp::from_microsecond`] takes none of the last second's fractions.
fn latest() -> i64 {
    Timestamp::MAX.as_second() * 1_000_000
}

/// Now, as exactly as it is kept: what is built from it is what will be read back.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    kept(now, from_time)
}

/// A time as it will be read back when it is written with `write`.
pub(super) fn kept(time: Timestamp, write: impl Fn(Timestamp) -> i64) -> Timestamp {
    Timestamp::from_microsecond(write(time)).unwrap_or(time)
}

/// A time, as microseconds. What is finer is dropped.
pub(super) fn from_time(time: Timestamp) -> i64 {
    time.as_microsecond().min(latest())
}

/// A time before which something must not happen: never earlier than asked for.
pub(super) fn from_deadline(time: Timestamp) -> i64 {
    let micros = from_time(time);
    let exact = to_time(micros).is_ok_and(|rounded| rounded >= time);
    if exact { micros } else { (micros + 1).min(latest()) }
}

pub(super) fn to_time(micros: i64) -> Result<Timestamp, Fault> {
    Timestamp::from_microsecond(micros).map_err(|error| corrupt("a time", error))
}

/// A u64 as the integer with the same bits.
pub(super) fn from_bits(value: u64) -> i64 {
    value.cast_signed()
}

pub(super) fn to_bits(value: i64) -> u64 {
    value.cast_unsigned()
}

/// A u64 as the integer that sorts like it.
pub(super) fn from_sorted(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}

pub(super) fn to_sorted(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

pub(super) fn to_task(bytes: [u8; 16]) -> TaskId {
    TaskId(Uuid::from_bytes(bytes))
}

pub(super) fn from_json<T: Serialize>(value: &T) -> Result<String, Fault> {
    // The types written have string keys only; a writer to memory doesn't fail.
    serde_json::to_string(value).map_err(|error| StoreError::Database(Box::new(error)).into())
}

pub(super) fn to_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| corrupt(what, error))
}

/// A column's text.
pub(super) fn text<'r>(what: &'static str, row: &'r Row<'_>, column: impl RowIndex) -> Result<&'r str, Fault> {
    row.get_ref(column)?.as_str().map_err(|error| corrupt(what, error))
}

/// A column with a name of an enum, or an owner.
pub(super) fn parse<T>(what: &'static str, row: &Row<'_>, column: impl RowIndex) -> Result<T, Fault>
where
    T: FromStr,
    T::Err: Display,
{
    text(what, row, column)?.parse().map_err(|error| corrupt(what, error))
}

pub(super) fn owner(row: &Row<'_>) -> Result<OwnerId, Fault> {
    parse("an owner", row, "owner")
}

/// A column with JSON, if it has any.
pub(super) fn json<T: DeserializeOwned>(
    what: &'static str,
    row: &Row<'_>,
    column: impl RowIndex,
) -> Result<Option<T>, Fault> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(|error| corrupt(what, error))?;
    text.map(|text| to_json(what, text)).transpose()
}

/// A limit on a number of rows.
pub(super) fn to_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn corrupt(what: &'static str, reason: impl Display) -> Fault {
    StoreError::Corrupt { what, reason: reason.to_string() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_kept_earlier() {
        for nanos in [0, 1, 999, 1_000, 1_001, -1, -1_001] {
            let time = Timestamp::from_nanosecond(nanos).unwrap();
            let kept = to_time(from_deadline(time)).unwrap();
            assert!(kept >= time && kept.as_nanosecond() - nanos < 1_000, "{nanos}");
        }
    }

    #[test]
    fn every_time_reads_back() {
        for time in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::now(), Timestamp::MAX] {
            to_time(from_time(time)).unwrap();
            to_time(from_deadline(time)).unwrap();
        }
    }

    #[test]
    fn every_u64_reads_back() {
        for value in [0, 1, u64::MAX, 1 << 63] {
            assert_eq!(to_bits(from_bits(value)), value);
            assert_eq!(to_sorted(from_sorted(value)), value);
        }
        assert!([0, 1, (1 << 63) - 1, 1 << 63, u64::MAX].map(from_sorted).is_sorted());
    }
}
