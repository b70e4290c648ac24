//! Owners and keys.

use super::{
    EmbeddedStore, cursor,
    fault::Fault,
    row::{corrupt, from_bits, from_json, from_time, json, owner, to_bits, to_json, to_time},
    volumes,
    writer::Durability::Synced,
};
use crate::{Accounts, ApiKey, Change, Cursor, KeyId, Owner, Page, Quotas, Scope, StoreError};
use async_trait::async_trait;
use coprocessor_types::OwnerId;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

#[async_trait]
impl Accounts for EmbeddedStore {
    async fn owner(&self, id: &OwnerId) -> Result<Option<Owner>, StoreError> {
        let id = id.clone();
        self.read(move |db| find_owner(db, &id)).await
    }

    async fn owners(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Owner>, StoreError> {
        self.read(move |db| list_owners(db, after.as_ref(), limit)).await
    }

    async fn put_owner(&self, owner: Owner) -> Result<Owner, StoreError> {
        let put = move |db: &Connection, changes: &mut Vec<Change>| {
            put_owner(db, &owner)?;
            changes.push(Change::Accounts);
            find_owner(db, &owner.id)?.ok_or_else(|| corrupt("an owner", "it is not there once written"))
        };
        self.write(Synced, put).await
    }

    async fn volume_bytes(&self, owner: &OwnerId) -> Result<u64, StoreError> {
        let owner = owner.clone();
        self.read(move |db| volumes::of_owner(db, &owner)).await
    }

    async fn add_key(&self, key: ApiKey) -> Result<bool, StoreError> {
        let add = move |db: &Connection, changes: &mut Vec<Change>| {
            let added = insert_key(db, &key)?;
            changes.extend(added.then_some(Change::Accounts));
            Ok(added)
        };
        self.write(Synced, add).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        self.read(move |db| find_key(db, id)).await
    }

    async fn keys(
        &self,
        owner: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ApiKey>, StoreError> {
        self.read(move |db| list_keys(db, owner.as_ref(), after.as_ref(), limit)).await
    }

    async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<Option<ApiKey>, StoreError> {
        let revoke = move |db: &Connection, changes: &mut Vec<Change>| {
            db.prepare_cached("UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL")?
                .execute(params![id.0, from_time(now)])?;
            let key = find_key(db, id)?;
            changes.extend(key.is_some().then_some(Change::Accounts));
            Ok(key)
        };
        self.write(Synced, revoke).await
    }

    async fn has_keys(&self) -> Result<bool, StoreError> {
        self.read(|db| Ok(db.prepare_cached("SELECT 1 FROM api_keys")?.exists([])?)).await
    }
}

fn find_owner(db: &Connection, id: &OwnerId) -> Result<Option<Owner>, Fault> {
    let mut statement = db.prepare_cached("SELECT * FROM owners WHERE owner = ?1")?;
    statement.query_and_then([id.as_str()], read_owner)?.next().transpose()
}

fn list_owners(db: &Connection, after: Option<&Cursor>, limit: usize) -> Result<Page<Owner>, Fault> {
    let after = after.map(cursor::to_owner).transpose()?;
    let after = after.as_ref().map_or("", OwnerId::as_str);
    let mut statement = db.prepare_cached("SELECT * FROM owners WHERE owner > ?1 ORDER BY owner LIMIT ?2")?;
    let rows = statement.query_and_then(params![after, cursor::rows_for(limit)], read_owner)?;
    Ok(cursor::page(rows.collect::<Result<_, _>>()?, limit, |owner: &Owner| cursor::after_owner(&owner.id)))
}

fn put_owner(db: &Connection, owner: &Owner) -> Result<(), Fault> {
    let quotas = &owner.quotas;
    db.prepare_cached(
        "INSERT INTO owners \
         (owner, weight, unfinished_tasks, programs, requests_per_second, burst, controllers, created_at, volume_bytes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (owner) DO UPDATE SET weight = excluded.weight, \
         unfinished_tasks = excluded.unfinished_tasks, programs = excluded.programs, \
         requests_per_second = excluded.requests_per_second, burst = excluded.burst, \
         controllers = excluded.controllers, volume_bytes = excluded.volume_bytes",
    )?
    .execute(params![
        owner.id.as_str(),
        owner.weight,
        quotas.unfinished_tasks.map(from_bits),
        quotas.programs.map(from_bits),
        quotas.requests_per_second,
        quotas.burst,
        from_json(&quotas.controllers)?,
        from_time(owner.created_at),
        quotas.volume_bytes.map(from_bits),
    ])?;
    Ok(())
}

fn insert_key(db: &Connection, key: &ApiKey) -> Result<bool, Fault> {
    let added = db
        .prepare_cached(
            "INSERT INTO api_keys (id, owner, name, hash, scopes, created_at, expires_at, revoked_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            key.id.0,
            key.owner.as_str(),
            key.name,
            key.hash,
            from_json(&key.scopes)?,
            from_time(key.created_at),
            key.expires_at.map(from_time),
            key.revoked_at.map(from_time),
        ])?;
    Ok(added > 0)
}

fn find_key(db: &Connection, id: KeyId) -> Result<Option<ApiKey>, Fault> {
    let mut statement = db.prepare_cached("SELECT * FROM api_keys WHERE id = ?1")?;
    statement.query_and_then([id.0], read_key)?.next().transpose()
}

fn list_keys(
    db: &Connection,
    owner: Option<&OwnerId>,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<ApiKey>, Fault> {
    let (made, id) = after.map(cursor::to_key).transpose()?.unwrap_or((i64::MAX, KeyId([0xff; 8])));
    let rows = cursor::rows_for(limit);
    let keys: Vec<ApiKey> = match owner {
        None => db
            .prepare_cached(
                "SELECT * FROM api_keys WHERE (created_at, id) < (?1, ?2) ORDER BY created_at DESC, id DESC LIMIT ?3",
            )?
            .query_and_then(params![made, id.0, rows], read_key)?
            .collect::<Result<_, _>>()?,
        Some(owner) => db
            .prepare_cached(
                "SELECT * FROM api_keys WHERE owner = ?4 AND (created_at, id) < (?1, ?2) \
                 ORDER BY created_at DESC, id DESC LIMIT ?3",
            )?
            .query_and_then(params![made, id.0, rows, owner.as_str()], read_key)?
            .collect::<Result<_, _>>()?,
    };
    Ok(cursor::page(keys, limit, |key: &ApiKey| cursor::after_key(from_time(key.created_at), key.id)))
}

fn read_owner(row: &Row<'_>) -> Result<Owner, Fault> {
    Ok(Owner {
        id: owner(row)?,
        weight: row.get("weight")?,
        quotas: Quotas {
            unfinished_tasks: row.get::<_, Option<_>>("unfinished_tasks")?.map(to_bits),
            programs: row.get::<_, Option<_>>("programs")?.map(to_bits),
            volume_bytes: row.get::<_, Option<_>>("volume_bytes")?.map(to_bits),
            requests_per_second: row.get("requests_per_second")?,
            burst: row.get("burst")?,
            controllers: to_json("an owner's bounds of controllers", &row.get::<_, String>("controllers")?)?,
        },
        created_at: to_time(row.get("created_at")?)?,
    })
}

fn read_key(row: &Row<'_>) -> Result<ApiKey, Fault> {
    let time = |column| row.get::<_, Option<i64>>(column)?.map(to_time).transpose();
    Ok(ApiKey {
        id: KeyId(row.get("id")?),
        owner: owner(row)?,
        name: row.get("name")?,
        hash: row.get("hash")?,
        scopes: json::<Vec<Scope>>("a key's scopes", row, "scopes")?.unwrap_or_default(),
        created_at: to_time(row.get("created_at")?)?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
    })
}
