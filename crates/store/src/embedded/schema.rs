//! The database's tables, and how an older database gets them.

use super::fault::Fault;
use crate::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// Each brings the schema from the version that is its place in the list to the next one. Released ones never change.
const MIGRATIONS: [&str; 7] = [
    include_str!("schema/0001_initial.sql"),
    include_str!("schema/0002_many_owners.sql"),
    include_str!("schema/0003_domains.sql"),
    include_str!("schema/0004_controller_versions.sql"),
    include_str!("schema/0005_recordings.sql"),
    include_str!("schema/0006_owner_controllers.sql"),
    include_str!("schema/0007_owner_volumes.sql"),
];

/// The newest version.
pub(super) const fn newest() -> i64 {
    MIGRATIONS.len() as i64
}

/// The database's version.
///
/// # Errors
/// [`StoreError::Schema`] when it is one this code doesn't know.
pub(super) fn version(db: &Connection, directory: &Path) -> Result<i64, Fault> {
    let got: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if (0..=newest()).contains(&got) {
        Ok(got)
    } else {
        Err(StoreError::Schema { store: directory.display().to_string(), got, expected: newest() }.into())
    }
}

/// Brings the database to the newest version.
///
/// # Errors
/// [`StoreError::Schema`].
pub(super) fn migrate(db: &mut Connection, directory: &Path) -> Result<(), Fault> {
    let current = version(db, directory)? as usize;
    for (version, migration) in MIGRATIONS.iter().enumerate().skip(current) {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version as i64 + 1)?;
        transaction.commit()?;
        tracing::info!(directory = %directory.display(), version = version + 1, "store schema migrated");
    }
    Ok(())
}
