//! Owners and their keys.

use super::{
    Inner, cursor,
    fault::Fault,
    row::{
        bits, bytes, corrupt, from_bits, from_deadline, from_json, from_time, get, owner, small, text, text_json, time,
        time_or_none,
    },
};
use crate::{ApiKey, Change, Cursor, KeyId, Owner, Page, Quotas, Scope};
use coprocessor_types::OwnerId;
use jiff::Timestamp;
use tokio_postgres::Row;

impl Inner {
    pub(super) async fn owner(&self, id: &OwnerId) -> Result<Option<Owner>, Fault> {
        let sql = "SELECT * FROM owners WHERE owner = $1";
        self.quick.take().await?.query_opt(sql, &[&id.as_str()]).await?.as_ref().map(read_owner).transpose()
    }

    pub(super) async fn owners(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<Owner>, Fault> {
        let above = after.map(cursor::to_owner).transpose()?;
        let above = above.as_ref().map_or("", OwnerId::as_str);
        let sql = "SELECT * FROM owners WHERE owner > $1 ORDER BY owner LIMIT $2";
        let rows = self.quick.take().await?.query(sql, &[&above, &cursor::rows_for(limit)]).await?;
        let items = rows.iter().map(|row| read_owner(row).map(|owner| (cursor::after_owner(&owner.id), owner)));
        Ok(cursor::page(items.collect::<Result<_, _>>()?, limit))
    }

    pub(super) async fn put_owner(&self, owner: &Owner) -> Result<Owner, Fault> {
        let row = self
            .durable
            .take()
            .await?
            .query_one(
                "INSERT INTO owners \
                 (owner, weight, unfinished_tasks, programs, requests_per_second, burst, controllers, created_at, \
                 volume_bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (owner) DO UPDATE SET weight = excluded.weight, \
                 unfinished_tasks = excluded.unfinished_tasks, programs = excluded.programs, \
                 requests_per_second = excluded.requests_per_second, burst = excluded.burst, \
                 controllers = excluded.controllers, volume_bytes = excluded.volume_bytes RETURNING *",
                &[
                    &owner.id.as_str(),
                    &i32::try_from(owner.weight).unwrap_or(i32::MAX),
                    &owner.quotas.unfinished_tasks.map(from_bits),
                    &owner.quotas.programs.map(from_bits),
                    &owner.quotas.requests_per_second.map(i64::from),
                    &owner.quotas.burst.map(i64::from),
                    &from_json(&owner.quotas.controllers)?,
                    &from_time(owner.created_at),
                    &owner.quotas.volume_bytes.map(from_bits),
                ],
            )
            .await?;
        let kept = read_owner(&row)?;
        self.tell([Change::Accounts]);
        Ok(kept)
    }

    pub(super) async fn volume_bytes(&self, owner: &OwnerId) -> Result<u64, Fault> {
        let sql = "SELECT bytes FROM owner_volumes WHERE owner = $1";
        let row = self.quick.take().await?.query_opt(sql, &[&owner.as_str()]).await?;
        row.map_or(Ok(0), |row| bits(&row, "bytes"))
    }

    pub(super) async fn add_key(&self, key: &ApiKey) -> Result<bool, Fault> {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let added = self
            .durable
            .take()
            .await?
            .execute(
                "INSERT INTO api_keys (id, owner, name, hash, scopes, created_at, expires_at, revoked_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
                &[
                    &key.id.0.as_slice(),
                    &key.owner.as_str(),
                    &key.name.as_bytes(),
                    &key.hash.as_slice(),
                    &scopes,
                    &from_time(key.created_at),
                    &key.expires_at.map(from_deadline),
                    &key.revoked_at.map(from_time),
                ],
            )
            .await?;
        self.tell((added > 0).then_some(Change::Accounts));
        Ok(added > 0)
    }

    pub(super) async fn key(&self, id: KeyId) -> Result<Option<ApiKey>, Fault> {
        let sql = "SELECT * FROM api_keys WHERE id = $1";
        self.quick.take().await?.query_opt(sql, &[&id.0.as_slice()]).await?.as_ref().map(read_key).transpose()
    }

    pub(super) async fn keys(
        &self,
        owner: Option<&OwnerId>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<ApiKey>, Fault> {
        let (created_at, id) = after.map_or(Ok((i64::MAX, [0xff; 8])), cursor::to_key)?;
        let (id, rows) = (id.as_slice(), cursor::rows_for(limit));
        let session = self.quick.take().await?;
        let rows = match owner {
            None => {
                let sql = "SELECT * FROM api_keys WHERE (created_at, id) < ($1, $2) \
                     ORDER BY created_at DESC, id DESC LIMIT $3";
                session.query(sql, &[&created_at, &id, &rows]).await?
            }
            Some(owner) => {
                let sql = "SELECT * FROM api_keys WHERE owner = $4 AND (created_at, id) < ($1, $2) \
                     ORDER BY created_at DESC, id DESC LIMIT $3";
                session.query(sql, &[&created_at, &id, &rows, &owner.as_str()]).await?
            }
        };
        let items = rows.iter().map(|row| {
            let key = read_key(row)?;
            Ok((cursor::after_key(from_time(key.created_at), key.id.0), key))
        });
        Ok(cursor::page(items.collect::<Result<_, Fault>>()?, limit))
    }

    pub(super) async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<Option<ApiKey>, Fault> {
        let sql = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING *";
        let row = self.durable.take().await?.query_opt(sql, &[&id.0.as_slice(), &from_time(now)]).await?;
        let revoked = row.as_ref().map(read_key).transpose()?;
        self.tell(revoked.is_some().then_some(Change::Accounts));
        Ok(revoked)
    }

    pub(super) async fn has_keys(&self) -> Result<bool, Fault> {
        Ok(self.quick.take().await?.query_opt("SELECT 1 FROM api_keys LIMIT 1", &[]).await?.is_some())
    }
}

fn read_owner(row: &Row) -> Result<Owner, Fault> {
    let large = |column| Ok::<_, Fault>(get::<Option<i64>>(row, column)?.map(i64::cast_unsigned));
    let number = |column| get::<Option<i64>>(row, column)?.map(|_| small(row, column)).transpose();
    Ok(Owner {
        id: owner(row)?,
        weight: u32::try_from(get::<i32>(row, "weight")?).map_err(|error| corrupt("a weight", error))?,
        quotas: Quotas {
            unfinished_tasks: large("unfinished_tasks")?,
            programs: large("programs")?,
            volume_bytes: large("volume_bytes")?,
            requests_per_second: number("requests_per_second")?,
            burst: number("burst")?,
            controllers: text_json("an owner's bounds of controllers", row, "controllers")?,
        },
        created_at: time(row, "created_at")?,
    })
}

fn read_key(row: &Row) -> Result<ApiKey, Fault> {
    let scope = |name: &str| Scope::from_name(name).ok_or_else(|| corrupt("a key's scope", name));
    Ok(ApiKey {
        id: KeyId(bytes(row, "id")?),
        owner: owner(row)?,
        name: text(row, "name")?,
        hash: bytes(row, "hash")?,
        scopes: get::<Vec<&str>>(row, "scopes")?.into_iter().map(scope).collect::<Result<_, _>>()?,
        created_at: time(row, "created_at")?,
        expires_at: time_or_none(row, "expires_at")?,
        revoked_at: time_or_none(row, "revoked_at")?,
    })
}
