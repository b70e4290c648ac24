//! How values are kept in columns. What can't be read back was not written by this code.

use super::fault::Fault;
use crate::{Stage, StoreError, TaskState};
use coprocessor_types::{BlobDigest, OwnerId, TaskId};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Display, str::FromStr, time::Duration};
use tokio_postgres::{Row, types::FromSql};
use uuid::Uuid;

/// The latest time that reads back: [`Timestamp::from_microsecond`] takes none of the last second's fractions.
pub(super) fn latest() -> i64 {
    Timestamp::MAX.as_second() * 1_000_000
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

/// A span, as microseconds, that can be added to any time without leaving a bigint.
pub(super) fn from_span(span: Duration) -> i64 {
    let micros = span.as_nanos().div_ceil(1000);
    i64::try_from(micros).unwrap_or(i64::MAX).min(latest())
}

pub(super) fn to_time(micros: i64) -> Result<Timestamp, Fault> {
    Timestamp::from_microsecond(micros).map_err(|error| corrupt("a time", error))
}

/// A u64 as the integer with the same bits.
pub(super) fn from_bits(value: u64) -> i64 {
    value.cast_signed()
}

/// A u64 as the integer that sorts like it.
pub(super) fn from_sorted(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}

/// A number to compare with counts and sequence numbers, which are never so large.
pub(super) fn bounded(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn from_json<T: Serialize>(value: &T) -> Result<String, Fault> {
    // The types written have string keys only; a writer to memory doesn't fail.
    serde_json::to_string(value).map_err(|error| StoreError::Database(Box::new(error)).into())
}

pub(super) fn to_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| corrupt(what, error))
}

/// A column with JSON.
pub(super) fn text_json<T: DeserializeOwned>(what: &'static str, row: &Row, column: &str) -> Result<T, Fault> {
    to_json(what, get(row, column)?)
}

/// A column that may have JSON.
pub(super) fn json_or_none<T: DeserializeOwned>(
    what: &'static str,
    row: &Row,
    column: &str,
) -> Result<Option<T>, Fault> {
    get::<Option<&str>>(row, column)?.map(|text| to_json(what, text)).transpose()
}

pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, Fault> {
    Ok(row.try_get(column)?)
}

/// Of a u64 that is kept as its bits.
pub(super) fn bits(row: &Row, column: &str) -> Result<u64, Fault> {
    Ok(get::<i64>(row, column)?.cast_unsigned())
}

/// Of a u64 that is kept as the integer that sorts like it.
pub(super) fn sorted(row: &Row, column: &str) -> Result<u64, Fault> {
    Ok(bits(row, column)? ^ (1 << 63))
}

pub(super) fn small(row: &Row, column: &str) -> Result<u32, Fault> {
    u32::try_from(get::<i64>(row, column)?).map_err(|error| corrupt("a number", error))
}

pub(super) fn time(row: &Row, column: &str) -> Result<Timestamp, Fault> {
    to_time(get(row, column)?)
}

pub(super) fn time_or_none(row: &Row, column: &str) -> Result<Option<Timestamp>, Fault> {
    get::<Option<i64>>(row, column)?.map(to_time).transpose()
}

pub(super) fn bytes<const N: usize>(row: &Row, column: &str) -> Result<[u8; N], Fault> {
    array(get(row, column)?)
}

pub(super) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|error| corrupt("an id", error))
}

pub(super) fn digest_or_none(row: &Row, column: &str) -> Result<Option<BlobDigest>, Fault> {
    get::<Option<&[u8]>>(row, column)?.map(|bytes| array(bytes).map(BlobDigest)).transpose()
}

pub(super) fn uuid(row: &Row, column: &str) -> Result<Uuid, Fault> {
    bytes(row, column).map(Uuid::from_bytes)
}

pub(super) fn task_id(row: &Row, column: &str) -> Result<TaskId, Fault> {
    uuid(row, column).map(TaskId)
}

/// A text with any characters.
pub(super) fn text(row: &Row, column: &str) -> Result<String, Fault> {
    String::from_utf8(get(row, column)?).map_err(|error| corrupt("a text", error))
}

/// A column with a name of an enum, or an owner.
pub(super) fn parse<T>(what: &'static str, row: &Row, column: &str) -> Result<T, Fault>
where
    T: FromStr,
    T::Err: Display,
{
    get::<&str>(row, column)?.parse().map_err(|error| corrupt(what, error))
}

pub(super) fn owner(row: &Row) -> Result<OwnerId, Fault> {
    parse("an owner", row, "owner")
}

/// A stage as the column `stage` has it.
pub(super) const fn stage_number(stage: Stage) -> i16 {
    match stage {
        Stage::Execute => 0,
        Stage::Prove => 1,
        Stage::Deliver => 2,
    }
}

pub(super) fn state(row: &Row, column: &str) -> Result<TaskState, Fault> {
    let name = get::<&str>(row, column)?;
    TaskState::from_name(name).ok_or_else(|| corrupt("a task's state", name))
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
    fn numbers_are_kept_in_their_order() {
        assert!([0, 1, (1 << 63) - 1, 1 << 63, u64::MAX].map(from_sorted).is_sorted());
    }

    #[test]
    fn every_time_and_span_fits() {
        for time in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::now(), Timestamp::MAX] {
            to_time(from_time(time)).unwrap();
            to_time(from_deadline(time)).unwrap();
            from_time(time).checked_add(from_span(Duration::MAX)).unwrap();
        }
        assert_eq!(from_span(Duration::from_nanos(1)), 1);
    }
}
