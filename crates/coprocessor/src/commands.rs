//! What the program does besides serving: keys directly in the store, backup and restore.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command's answer.

use anyhow::{Context, bail};
use coprocessor_engine::new_key;
use coprocessor_store::{
    ApiKey, Store, StoreError,
    embedded::{self, BackupReport},
};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;
use std::{process::ExitCode, sync::Arc, time::Instant};

use crate::{
    args::{BackupArgs, CreateKey, KeysCommand, ListKeys, RestoreArgs, RevokeKey, StoreArgs},
    open_store::{StorePlace, data_dir},
};

/// Keys read from the store at once.
const PAGE: usize = 500;

/// Runs a command to its end, and says on standard error why it failed.
pub(crate) fn run(command: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `coprocessor keys`.
pub(crate) fn keys(command: &KeysCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        match command {
            KeysCommand::Create(args) => create_key(args).await,
            KeysCommand::List(args) => list_keys(args).await,
            KeysCommand::Revoke(args) => revoke_key(args).await,
        }
    })
}

/// The key alone goes to standard output, so that it can be caught there.
async fn create_key(args: &CreateKey) -> anyhow::Result<()> {
    let expires_at = match args.expires.0 {
        Some(time) => Some(Timestamp::now().checked_add(time).context("--expires is too far away")?),
        None => None,
    };
    let scopes = args.scopes.iter().copied().collect();
    let store = open(&args.store).await?;
    let first = !store.has_keys().await?;
    let (key, secret) = new_key(args.owner.clone(), &args.name, scopes, expires_at)?;
    if !store.add_key(key.clone()).await? {
        bail!("a key with the id {} is there already; try again", key.id);
    }
    let until = key.expires_at.map_or_else(|| "for ever".to_owned(), |time| format!("until {time}"));
    eprintln!("key {} of {} ({}), good {until}; it is shown this once:", key.id, key.owner, scopes_of(&key));
    println!("{}", secret.expose_secret());
    if first {
        eprintln!("It is the first one: from now on every request needs a key, unless the service says --anonymous.");
    }
    Ok(())
}

async fn list_keys(args: &ListKeys) -> anyhow::Result<()> {
    let store = open_existing(&args.store).await?;
    let mut after = None;
    if !args.json {
        println!("{:<16}  {:<16}  {:<24}  {:<20}  {:<20}  NAME", "ID", "OWNER", "SCOPES", "MADE", "STATE");
    }
    loop {
        let page = store.keys(args.owner.clone(), after, PAGE).await?;
        for key in &page.items {
            println!("{}", if args.json { json_of(key) } else { line_of(key) });
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn revoke_key(args: &RevokeKey) -> anyhow::Result<()> {
    let store = open_existing(&args.store).await?;
    let key = store.revoke_key(args.key, Timestamp::now()).await?;
    let Some(key) = key else { bail!("there is no key {}; `coprocessor keys list` lists them", args.key) };
    eprintln!("key {} of {} is revoked", key.id, key.owner);
    Ok(())
}

/// `coprocessor backup`.
pub(crate) fn backup(args: &BackupArgs) -> anyhow::Result<()> {
    let directory = data_dir(args.data_dir.as_deref())?;
    eprintln!("backing up {} to {} …", directory.display(), args.to.display());
    let began = Instant::now();
    let report = embedded::backup(&directory, &args.to).context("the backup is not complete; do not use it")?;
    eprintln!("{}, in {:.1} s", summary(&report), began.elapsed().as_secs_f64());
    println!("{}", args.to.display());
    Ok(())
}

/// `coprocessor restore`.
pub(crate) fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    let directory = data_dir(args.data_dir.as_deref())?;
    eprintln!("restoring {} to {} …", args.from.display(), directory.display());
    let began = Instant::now();
    let report = embedded::restore(&args.from, &directory).context("nothing was restored")?;
    eprintln!("{}, in {:.1} s", summary(&report), began.elapsed().as_secs_f64());
    eprintln!("It is the same instance as the one that was backed up: never let both run.");
    println!("{}", directory.display());
    Ok(())
}

/// Opens a store that must be there: looking for keys makes none.
async fn open_existing(args: &StoreArgs) -> anyhow::Result<Arc<dyn Store>> {
    match StorePlace::new(args)? {
        StorePlace::Embedded(directory) if !directory.exists() => bail!("there is no store in {}", directory.display()),
        _ => open(args).await,
    }
}

async fn open(args: &StoreArgs) -> anyhow::Result<Arc<dyn Store>> {
    StorePlace::new(args)?.open().await.map_err(|error| {
        let held = matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Locked { .. }));
        if held {
            error.context(
                "a service runs on this store: make, list and revoke keys through its API with an admin key (`cargo coprocessor \
                 keys`, or /api/v1/keys), or stop it first",
            )
        } else {
            error
        }
    })
}

fn summary(report: &BackupReport) -> String {
    let BackupReport { instance, taken_at, programs, tasks, database_bytes, blob_files, blob_bytes } = report;
    let mib = |bytes: &u64| format!("{:.1} MiB", *bytes as f64 / f64::from(1 << 20));
    format!(
        "instance {instance} as it was at {taken_at}: {programs} programs, {tasks} tasks, a database of {}, {blob_files} blobs in \
         files of {}",
        mib(database_bytes),
        mib(blob_bytes)
    )
}

fn scopes_of(key: &ApiKey) -> String {
    key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",")
}

fn state_of(key: &ApiKey, now: Timestamp) -> String {
    match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(at)) if at <= now => "expired".to_owned(),
        (None, Some(at)) => format!("until {}", date(at)),
        (None, None) => "good".to_owned(),
    }
}

fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn line_of(key: &ApiKey) -> String {
    let (made, state) = (at_minute(key.created_at), state_of(key, Timestamp::now()));
    let id = key.id.to_string();
    format!("{id:<16}  {:<16}  {:<24}  {made:<20}  {state:<20}  {}", key.owner.as_str(), scopes_of(key), key.name)
}

fn at_minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}

fn json_of(key: &ApiKey) -> String {
    json!({
        "id": key.id.to_string(),
        "owner": key.owner.as_str(),
        "name": key.name,
        "scopes": key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    })
    .to_string()
}
