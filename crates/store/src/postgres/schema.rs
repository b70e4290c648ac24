//! The database's tables, and how an older database gets them.

use super::{
    connect::{Connector, check_server},
    fault::Fault,
    row,
};
use crate::StoreError;
use coprocessor_types::InstanceId;
use futures::StreamExt;
use tokio_postgres::Client;

/// Each brings the schema from the version that is its place in the list to the next one. Released ones never change.
const MIGRATIONS: [&str; 7] = [
    include_str!("schema/0001_initial.sql"),
    include_str!("schema/0002_domains.sql"),
    include_str!("schema/0003_controller_versions.sql"),
    include_str!("schema/0004_recordings.sql"),
    include_str!("schema/0005_owner_controllers.sql"),
    include_str!("schema/0006_owner_volumes.sql"),
    include_str!("schema/0007_pinning.sql"),
];

/// The lock that whoever migrates holds: many start at once.
const LOCK: &str = "SELECT pg_advisory_lock(7165068321902031972)";

/// Brings the database to the newest version. Returns the instance's identity, which whoever came first has drawn.
///
/// # Errors
/// [`StoreError::Schema`] when it has a version this code doesn't know.
pub(super) async fn migrate(connector: &Connector) -> Result<InstanceId, Fault> {
    let (client, mut driver) = connector.connect().await?;
    // The lock ends with the connection, and that with its driver.
    let driver = tokio::spawn(async move { while driver.next().await.is_some_and(|message| message.is_ok()) {} });
    let migrated = migrate_on(&client, &connector.place()).await;
    driver.abort();
    migrated
}

async fn migrate_on(client: &Client, place: &str) -> Result<InstanceId, Fault> {
    check_server(client).await?;
    client.execute(LOCK, &[]).await?;
    client.batch_execute("CREATE TABLE IF NOT EXISTS schema_version (version bigint NOT NULL)").await?;
    let found = client.query_opt("SELECT version FROM schema_version", &[]).await?;
    let found: i64 = found.map_or(Ok(0), |row| row.try_get(0))?;
    let newest = MIGRATIONS.len();
    let current = usize::try_from(found)
        .ok()
        .filter(|&version| version <= newest)
        .ok_or_else(|| StoreError::Schema { store: place.to_owned(), got: found, expected: newest as i64 })?;
    for (version, migration) in MIGRATIONS.iter().enumerate().skip(current) {
        let version = version + 1;
        client
            .batch_execute(&format!(
                "BEGIN; SET LOCAL synchronous_commit = on; {migration} DELETE FROM schema_version; \
                 INSERT INTO schema_version (version) VALUES ({version}); COMMIT;"
            ))
            .await?;
        tracing::info!(database = place, version, "store schema migrated");
    }
    let row = client.query_one("SELECT id FROM instance", &[]).await?;
    row::bytes(&row, "id").map(InstanceId)
}
