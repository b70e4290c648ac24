//! Cursors: a letter for the list, then the key of the last item read.

use crate::{Cursor, Page, StoreError};
use coprocessor_types::TaskId;
use uuid::Uuid;

const TASKS: char = 't';
const PROGRAMS: char = 'p';

pub(super) fn after_task(task: TaskId) -> Cursor {
    Cursor(format!("{TASKS}{}", task.0.as_simple()))
}

pub(super) fn to_task(cursor: &Cursor) -> Result<TaskId, StoreError> {
    let text = cursor.0.strip_prefix(TASKS).filter(|text| text.len() == 32).ok_or(StoreError::BadCursor)?;
    Uuid::try_parse(text).map(TaskId).map_err(|_| StoreError::BadCursor)
}

pub(super) fn after_program(seq: i64) -> Cursor {
    Cursor(format!("{PROGRAMS}{seq}"))
}

pub(super) fn to_program(cursor: &Cursor) -> Result<i64, StoreError> {
    let text = cursor.0.strip_prefix(PROGRAMS).ok_or(StoreError::BadCursor)?;
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
        for bad in ["", "t", "p", "x1", "p-1", "p+1", "p1x", "p99999999999999999999", "t12", &"t".repeat(33), "tä"] {
            let cursor = Cursor(bad.to_owned());
            assert!(matches!(to_task(&cursor), Err(StoreError::BadCursor)), "{bad}");
            assert!(matches!(to_program(&cursor), Err(StoreError::BadCursor)), "{bad}");
        }
    }
}
