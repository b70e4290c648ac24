//! Prover nodes registered through the API.

use super::{
    Inner,
    fault::Fault,
    row::{from_time, get, owner, time},
};
use crate::{Change, ProverRecord};
use coprocessor_types::OwnerId;
use secrecy::{ExposeSecret, SecretString};

impl Inner {
    pub(super) async fn provers(&self) -> Result<Vec<ProverRecord>, Fault> {
        let sql = "SELECT * FROM provers ORDER BY added_at, owner, address";
        let rows = self.quick.take().await?.query(sql, &[]).await?;
        let records = rows.iter().map(|row| {
            Ok(ProverRecord {
                address: get(row, "address")?,
                owner: owner(row)?,
                shared: get(row, "shared")?,
                trusted: get(row, "trusted")?,
                secret: get::<Option<String>>(row, "secret")?.map(SecretString::from),
                added_at: time(row, "added_at")?,
            })
        });
        records.collect()
    }

    pub(super) async fn add_prover(&self, prover: &ProverRecord) -> Result<bool, Fault> {
        let added = self
            .durable
            .take()
            .await?
            .execute(
                "INSERT INTO provers (owner, address, shared, trusted, secret, added_at) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT DO NOTHING",
                &[
                    &prover.owner.as_str(),
                    &prover.address,
                    &prover.shared,
                    &prover.trusted,
                    &prover.secret.as_ref().map(ExposeSecret::expose_secret),
                    &from_time(prover.added_at),
                ],
            )
            .await?;
        self.tell((added > 0).then_some(Change::Provers));
        Ok(added > 0)
    }

    pub(super) async fn remove_prover(&self, owner: &OwnerId, address: &str) -> Result<bool, Fault> {
        let sql = "DELETE FROM provers WHERE owner = $1 AND address = $2";
        let removed = self.durable.take().await?.execute(sql, &[&owner.as_str(), &address]).await?;
        self.tell((removed > 0).then_some(Change::Provers));
        Ok(removed > 0)
    }
}
