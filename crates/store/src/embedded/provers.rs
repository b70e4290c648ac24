//! Prover nodes registered through the API.

use super::{
    fault::Fault,
    row::{from_time, owner, to_time},
};
use crate::ProverRecord;
use coprocessor_types::OwnerId;
use rusqlite::{Connection, params};
use secrecy::{ExposeSecret, SecretString};

pub(super) fn list(db: &Connection) -> Result<Vec<ProverRecord>, Fault> {
    let mut statement = db.prepare_cached("SELECT * FROM provers ORDER BY added_at, owner, address")?;
    statement
        .query_and_then([], |row| {
            Ok(ProverRecord {
                address: row.get("address")?,
                owner: owner(row)?,
                shared: row.get("shared")?,
                trusted: row.get("trusted")?,
                secret: row.get::<_, Option<String>>("secret")?.map(SecretString::from),
                added_at: to_time(row.get("added_at")?)?,
            })
        })?
        .collect()
}

pub(super) fn add(db: &Connection, prover: &ProverRecord) -> Result<bool, Fault> {
    let added = db
        .prepare_cached(
            "INSERT INTO provers (owner, address, secret, added_at, shared, trusted) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            prover.owner.as_str(),
            prover.address,
            prover.secret.as_ref().map(ExposeSecret::expose_secret),
            from_time(prover.added_at),
            prover.shared,
            prover.trusted,
        ])?;
    Ok(added > 0)
}

pub(super) fn remove(db: &Connection, owner: &OwnerId, address: &str) -> Result<bool, Fault> {
    let mut statement = db.prepare_cached("DELETE FROM provers WHERE owner = ?1 AND address = ?2")?;
    Ok(statement.execute(params![owner.as_str(), address])? > 0)
}
