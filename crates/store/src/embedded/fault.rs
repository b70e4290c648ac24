//! SQLite's errors become the store's here and nowhere else, so that no SQLite type is in the seam.

use crate::StoreError;
use rusqlite::{Error, ErrorCode};
use std::{io, path::Path};

/// What goes wrong inside a transaction.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(Error),
    Store(StoreError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => error,
            Fault::Sqlite(error) => from_sqlite(error),
        }
    }
}

fn from_sqlite(error: Error) -> StoreError {
    match &error {
        _ if is_out_of_space(&error) => StoreError::Full,
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                StoreError::Corrupt { what: "the database file", reason: error.to_string() }
            }
            _ => StoreError::Database(Box::new(error)),
        },
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => StoreError::Corrupt { what: "a row", reason: error.to_string() },
        _ => StoreError::Database(Box::new(error)),
    }
}

/// Whether SQLite found no room: for the database, its log, or the index of the log that all connections share, which it says in
/// another way.
pub(super) fn is_out_of_space(error: &Error) -> bool {
    let Error::SqliteFailure(failure, _) = error else { return false };
    failure.code == ErrorCode::DiskFull || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}

/// A system error about a file of the store.
pub(super) fn io_error(path: &Path, source: io::Error) -> StoreError {
    if is_full(&source) { StoreError::Full } else { StoreError::Io { path: path.to_owned(), source } }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_however_it_is_wrapped() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(io_error(Path::new("x"), full()), StoreError::Full));
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(matches!(io_error(Path::new("x"), other), StoreError::Io { .. }));
        for code in [rusqlite::ffi::SQLITE_FULL, rusqlite::ffi::SQLITE_IOERR_SHMSIZE] {
            let code = rusqlite::ffi::Error::new(code);
            assert!(matches!(from_sqlite(Error::SqliteFailure(code, None)), StoreError::Full));
        }
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        assert!(matches!(from_sqlite(Error::SqliteFailure(code, None)), StoreError::Database(_)));
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        assert!(matches!(from_sqlite(Error::SqliteFailure(code, None)), StoreError::Corrupt { .. }));
    }
}
