//! Connections: how they are made, and the pools they wait in.

use super::fault::Fault;
use crate::StoreError;
use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use futures::{
    FutureExt,
    future::{try_join, try_join_all},
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    future::Future,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use tokio_postgres::{
    Client, Config, NoTls, Row, Socket,
    config::{Host, SslMode},
    tls::MakeTlsConnect,
    types::ToSql,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long an operation waits for a free connection, or for one to be made.
const WAIT: Duration = Duration::from_secs(10);

/// The oldest version whose SQL is spoken here, as the server tells it.
const OLDEST_SERVER: i32 = 140_000;

/// Every statement here is meant to look into an index. What a planner thinks of tables that were empty a moment ago would
/// be wrong, so it is left no choice; and none of them is worth a compilation.
const PLANS: &str = "SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
     SET max_parallel_workers_per_gather = 0; SET plan_cache_mode = force_generic_plan;";

/// Whether commits reach the disk before they are answered. What the operator has chosen beyond that, standbys say, stays.
const SYNCED: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') = 'off'";
const COMMITTED: &str = "SET synchronous_commit = off";

/// Takes a row of the tallies that no other connection has, if one is free. The lock goes with the connection.
const TAKE_SHARD: &str = "SELECT set_config('coprocessor.shard', shard::text, false) FROM \
     (SELECT shard FROM generate_series(0, 63) AS shard WHERE pg_try_advisory_lock(1668247666, shard) LIMIT 1) AS free";

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Commits that are durable before they are answered.
    Durable,
    /// Steps, whose commits reach the disk a moment later, and reads.
    Quick,
    /// Views of volumes, each a transaction that stays open.
    Snapshot,
}

/// Makes connections of one kind.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Connector {
    /// # Errors
    /// When the URL is none, or asks for TLS and the system has no certificates to check the server's with.
    pub(super) fn new(url: &SecretString) -> Result<Self, StoreError> {
        // The names that libpq has for it; here the server is always verified.
        let text = ["verify-full", "verify-ca"].iter().fold(url.expose_secret().to_owned(), |url, mode| {
            url.replace(&format!("sslmode={mode}"), "sslmode=require")
        });
        // What is wrong with the URL may show its password.
        let invalid =
            |_| StoreError::Database("the database's URL is not valid: postgres://user:password@host:port/name".into());
        let mut config: Config = text.parse().map_err(invalid)?;
        config
            .application_name("coprocessor")
            .connect_timeout(Duration::from_secs(5))
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(20));
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Some(tls()?),
            // Without being asked, no certificate could be demanded: many servers have one that nobody signed.
            _ => {
                config.ssl_mode(SslMode::Disable);
                warn_of_plain_text(&config);
                None
            }
        };
        Ok(Self { config, tls })
    }

    /// Where the database is, for messages: no secrets.
    pub(super) fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        format!("the database {} at {host}", self.config.get_dbname().or(self.config.get_user()).unwrap_or("postgres"))
    }

    /// A pool that makes up to `size` connections, as they are needed.
    pub(super) fn pool(&self, role: Role, size: usize) -> Result<Sessions, StoreError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match &self.tls {
            Some(tls) => Manager::from_config(self.config.clone(), tls.clone(), recycling),
            None => Manager::from_config(self.config.clone(), NoTls, recycling),
        };
        let set_up = Hook::async_fn(move |client: &mut ClientWrapper, _| {
            async move { set_up(client, role).await.map_err(HookError::Backend) }.boxed()
        });
        let pool = Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(WAIT))
            .recycle_timeout(Some(WAIT))
            .post_create(set_up)
            .build()
            .map_err(|error| StoreError::Database(Box::new(error)))?;
        Ok(Sessions { pool })
    }

    /// A connection outside of the pools, with the half that has to be driven, and tells notifications.
    pub(super) async fn connect(&self) -> Result<(Client, Driver), Fault> {
        match &self.tls {
            Some(tls) => self.connect_with(tls.clone()).await,
            None => self.connect_with(NoTls).await,
        }
    }

    async fn connect_with<T>(&self, tls: T) -> Result<(Client, Driver), Fault>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let (client, mut connection) = self.config.connect(tls).await?;
        let messages = futures::stream::poll_fn(move |context| connection.poll_message(context));
        Ok((client, Box::pin(messages)))
    }
}

/// A connection's messages. Polling it is what moves the connection on.
pub(super) type Driver =
    std::pin::Pin<Box<dyn futures::Stream<Item = Result<tokio_postgres::AsyncMessage, tokio_postgres::Error>> + Send>>;

/// A pool of connections of one role.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    pool: Pool,
}

impl Sessions {
    /// A connection. Must be called, as all that is done with it, in the store's runtime.
    pub(super) async fn take(&self) -> Result<Session, Fault> {
        let object = self.pool.get().await?;
        Ok(Session { object: Some(object), pending: AtomicUsize::new(0), open: AtomicBool::new(false) })
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// A connection out of a pool. It goes back when dropped, unless something is left undone on it: an answer that was not
/// waited for, a transaction that was not ended.
#[derive(Debug)]
pub(super) struct Session {
    /// `None` only while it is dropped.
    object: Option<Object>,
    pending: AtomicUsize,
    open: AtomicBool,
}

/// Values of a statement's parameters.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Session {
    pub(super) async fn query(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Fault> {
        self.watch(async {
            let statement = self.client().prepare_cached(sql).await?;
            self.client().query(&statement, values).await
        })
        .await
    }

    /// The first row, if there is any.
    pub(super) async fn query_opt(&self, sql: &str, values: Values<'_>) -> Result<Option<Row>, Fault> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }

    /// The first row of what always has one.
    pub(super) async fn query_one(&self, sql: &str, values: Values<'_>) -> Result<Row, Fault> {
        let row = self.query_opt(sql, values).await?;
        row.ok_or_else(|| super::row::corrupt("a row that is always there", "it is missing"))
    }

    /// Number of rows changed.
    pub(super) async fn execute(&self, sql: &str, values: Values<'_>) -> Result<u64, Fault> {
        self.watch(async {
            let statement = self.client().prepare_cached(sql).await?;
            self.client().execute(&statement, values).await
        })
        .await
    }

    /// Statements in one round trip, in this order, each a transaction of its own unless one is open.
    pub(super) async fn query_all<const N: usize>(&self, all: [(&str, Values<'_>); N]) -> Result<[Vec<Row>; N], Fault> {
        self.watch(async {
            // Prepared before any is sent, which would change their order.
            let mut prepared = Vec::with_capacity(N);
            for (sql, values) in all {
                prepared.push((self.client().prepare_cached(sql).await?, values));
            }
            let answers = prepared.iter().map(|(statement, values)| self.client().query(statement, values));
            let answers = try_join_all(answers).await?;
            Ok(answers.try_into().unwrap_or_else(|_| unreachable!("there are as many answers as questions")))
        })
        .await
    }

    /// Begins a transaction, with `mode` after the word, and does its first statement.
    pub(super) async fn begin_with(&self, mode: &str, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Fault> {
        self.open.store(true, Ordering::Relaxed);
        self.watch(async {
            let statement = self.client().prepare_cached(sql).await?;
            let begin = format!("BEGIN {mode}");
            let both = try_join(self.client().batch_execute(&begin), self.client().query(&statement, values));
            both.await.map(|((), rows)| rows)
        })
        .await
    }

    pub(super) async fn commit(&self) -> Result<(), Fault> {
        self.watch(self.client().batch_execute("COMMIT")).await?;
        self.open.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn rollback(&self) -> Result<(), Fault> {
        self.watch(self.client().batch_execute("ROLLBACK")).await?;
        self.open.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Counts what is waited for, so that a future that is dropped half-way shows.
    async fn watch<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Fault> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        let done = work.await;
        self.pending.fetch_sub(1, Ordering::Relaxed);
        Ok(done?)
    }

    fn client(&self) -> &ClientWrapper {
        self.object.as_ref().expect("a session holds its connection until it is dropped")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if *self.pending.get_mut() > 0 || *self.open.get_mut() {
            // Closes it; the server takes back what it had begun.
            drop(Object::take(object));
        }
    }
}

/// Makes a new connection ready. Whoever comes first after a crash of the database begins an epoch.
async fn set_up(client: &Client, role: Role) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(PLANS).await?;
    match role {
        Role::Durable => client.batch_execute(SYNCED).await?,
        Role::Quick => client.batch_execute(COMMITTED).await?,
        Role::Snapshot => return Ok(()),
    }
    client.batch_execute("SET idle_in_transaction_session_timeout = '60s'").await?;
    client.query(TAKE_SHARD, &[]).await?;
    if client.query_opt("SELECT epoch FROM uncrashed", &[]).await?.is_none() {
        client.batch_execute("SELECT begin_epoch()").await?;
    }
    Ok(())
}

/// # Errors
/// [`StoreError::Database`] when the server is too old.
pub(super) async fn check_server(client: &Client) -> Result<(), Fault> {
    let row = client
        .query_one("SELECT current_setting('server_version_num')::integer, current_setting('fsync')", &[])
        .await?;
    let (version, fsync): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
    if version < OLDEST_SERVER {
        let (major, oldest) = (version / 10_000, OLDEST_SERVER / 10_000);
        return Err(
            StoreError::Database(format!("this is PostgreSQL {major}; {oldest} or later is needed").into()).into()
        );
    }
    if fsync == "off" {
        tracing::warn!("the database runs with fsync=off: what it acknowledges can be lost");
    }
    Ok(())
}

/// Checks the server by the system's certificates.
fn tls() -> Result<MakeRustlsConnect, StoreError> {
    // One that the process has chosen before stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match MakeRustlsConnect::with_native_certs() {
        Ok((tls, unread)) => {
            for error in unread {
                tracing::warn!(%error, "one of the system's certificates can't be read");
            }
            Ok(tls)
        }
        Err(_) => {
            Err(StoreError::Database("TLS for the database: the system has no certificates to check it by".into()))
        }
    }
}

/// A password sent in the clear through a network deserves a word.
fn warn_of_plain_text(config: &Config) {
    let remote = config.get_hosts().iter().find_map(|host| match host {
        Host::Tcp(name) => {
            let address = name.parse::<std::net::IpAddr>();
            (name != "localhost" && !address.is_ok_and(|address| address.is_loopback())).then_some(name)
        }
        #[cfg(unix)]
        Host::Unix(_) => None,
    });
    if let Some(host) = remote {
        tracing::warn!(host, "the connection to the database is not encrypted; add sslmode=require to its URL");
    }
}
