//! `coprocessor keys`: API keys directly in the store.

use anyhow::{Context, bail};
use coprocessor_engine::new_key;
use coprocessor_store::ApiKey;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{open, open_existing, runtime};
use crate::args::{CreateKey, KeysCommand, ListKeys, RevokeKey};

/// Keys read from the store at once.
const PAGE: usize = 500;

/// What to do where a service has the store open.
const HELD: &str = "a service runs on this store: make, list and revoke keys through its API with an admin key (`cargo coprocessor \
                    keys`, or /api/v1/keys), or stop it first";

/// `coprocessor keys`.
pub(crate) fn keys(command: &KeysCommand) -> anyhow::Result<()> {
    runtime()?.block_on(async {
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
    let store = open(&args.store, HELD).await?;
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
    let store = open_existing(&args.store, HELD).await?;
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
    let store = open_existing(&args.store, HELD).await?;
    let key = store.revoke_key(args.key, Timestamp::now()).await?;
    let Some(key) = key else { bail!("there is no key {}; `coprocessor keys list` lists them", args.key) };
    eprintln!("key {} of {} is revoked", key.id, key.owner);
    Ok(())
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
