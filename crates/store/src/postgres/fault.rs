//! PostgreSQL's errors become the store's here and nowhere else, so that no type of the client is in the seam.

use crate::StoreError;
use deadpool_postgres::{HookError, PoolError};
use std::{error::Error as _, io};
use tokio_postgres::{Error, error::SqlState};

/// What goes wrong in an operation.
#[derive(Debug)]
pub(super) enum Fault {
    Postgres(Error),
    Pool(PoolError),
    Store(StoreError),
    /// The connection of whoever wrote it for others too was lost.
    Unanswered,
}

impl Fault {
    /// Whether others were in the way: the same again may go well at once.
    pub(super) fn is_conflict(&self) -> bool {
        self.code().is_some_and(|code| {
            [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::LOCK_NOT_AVAILABLE]
                .contains(code)
        })
    }

    /// Whether it broke that constraint of the schema.
    pub(super) fn breaks(&self, constraint: &str) -> bool {
        match self {
            Self::Postgres(error) => error.as_db_error().and_then(|error| error.constraint()) == Some(constraint),
            Self::Pool(_) | Self::Store(_) | Self::Unanswered => false,
        }
    }

    /// Whether the connection is gone, and with it the answer.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Postgres(error) | Self::Pool(PoolError::Backend(error)) => is_lost(error),
            Self::Unanswered => true,
            Self::Pool(_) | Self::Store(_) => false,
        }
    }

    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.code(),
            Self::Pool(_) | Self::Store(_) | Self::Unanswered => None,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
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
            Fault::Postgres(error)
            | Fault::Pool(PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error))) => {
                from_postgres(error)
            }
            Fault::Unanswered => Self::Unavailable("the connection was lost while it was written; ask again".into()),
            Fault::Pool(PoolError::Closed) => Self::Closed,
            Fault::Pool(error) => Self::Unavailable(Box::new(error)),
        }
    }
}

/// What the client says of an error that PostgreSQL didn't send is two words; its cause says what happened.
#[derive(Debug, thiserror::Error)]
#[error("{}", describe(.0))]
struct Described(#[source] Error);

fn describe(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(sent), _) => format!("{} ({})", sent.message(), sent.code().code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

fn from_postgres(error: Error) -> StoreError {
    if error.code() == Some(&SqlState::DISK_FULL) {
        return StoreError::Full;
    }
    if is_lost(&error) {
        return StoreError::Unavailable(Box::new(Described(error)));
    }
    if error.as_db_error().is_none() && error.to_string().contains("deserializing") {
        return StoreError::Corrupt { what: "a row", reason: describe(&error) };
    }
    StoreError::Database(Box::new(Described(error)))
}

fn is_lost(error: &Error) -> bool {
    if let Some(code) = error.code() {
        // Connection exceptions; the server starts, stops or has crashed; no connection is free; it is a standby now.
        return code.code().starts_with("08")
            || ["57P01", "57P02", "57P03", "53300", "25006"].contains(&code.code())
            || error.as_db_error().is_some_and(|error| error.code() == &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT);
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(current) = cause {
        if current.is::<io::Error>() {
            return true;
        }
        cause = current.source();
    }
    error.is_closed()
}

/// An error of the blob store, which wraps the system's.
pub(super) fn blob_error(error: object_store::Error) -> StoreError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        let full =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if current.downcast_ref::<io::Error>().is_some_and(full) {
            return StoreError::Full;
        }
        cause = current.source();
    }
    StoreError::Blobs(Box::new(error))
}
