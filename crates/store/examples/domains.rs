//! Measures what blocks and roots cost as their trees grow: `domains DIRECTORY BLOCKS`. With DATABASE_URL set, on PostgreSQL.
//!
//! One domain of consecutive blocks, appended by full calls; at each power of ten from a thousand on, single appends, each durable,
//! and openings of random blocks at the newest root and at random ones, one after the other. Each such point is a line of JSON, of
//! lists: blocks a second of the last full calls before it, and milliseconds. `cargo xtask bench --only tree` makes a table of it.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use coprocessor_store::{
    AddDomain, AppendBlocks, EmbeddedConfig, EmbeddedStore, MAX_BATCH, NewBlock, NewDomain, OpenedBlock, RootRecord,
    Store, TrustPolicy,
    postgres::{BlobPlace, PostgresConfig, PostgresStore},
};
use coprocessor_types::{BlockNumber, DomainId, OwnerId, Root, TrustId};
use std::{error::Error, path::PathBuf, sync::Arc, time::Instant};

/// Full calls whose rate is told.
const RATES: usize = 5;
const SINGLE: u64 = 200;
const OPENED: u64 = 2000;
/// Other domains, so that the root tree has some leaves too.
const DOMAINS: usize = 16;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, most] = arguments.as_slice() else { return Err("usage: domains DIRECTORY BLOCKS".into()) };
    let (directory, most) = (PathBuf::from(directory), most.parse::<u64>()?);
    let store: Arc<dyn Store> = match std::env::var("DATABASE_URL") {
        Ok(url) => {
            let config = PostgresConfig::new(url.into(), BlobPlace::Directory(directory.join("blobs")));
            Arc::new(PostgresStore::open(config).await?)
        }
        Err(_) => Arc::new(EmbeddedStore::open(&directory, EmbeddedConfig::default())?),
    };
    for index in 1..=DOMAINS {
        let domain = add_domain(&*store, index).await?;
        append(&*store, domain, 0..1).await?;
    }
    let domain = add_domain(&*store, 0).await?;
    let mut count = 0;
    let mut size = 1000;
    while size <= most {
        let mut rates = Vec::new();
        while count < size {
            let next = size.min(count + MAX_BATCH as u64);
            let began = Instant::now();
            append(&*store, domain, count..next).await?;
            rates.push((next - count) as f64 / began.elapsed().as_secs_f64());
            count = next;
        }
        let last = rates.split_off(rates.len().saturating_sub(RATES));
        println!("{}", point(&*store, domain, &mut count, last).await?);
        size *= 10;
    }
    Ok(())
}

/// What is measured at one size.
async fn point(
    store: &dyn Store,
    domain: DomainId,
    count: &mut u64,
    rates: Vec<f64>,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let blocks = *count;
    let mut single = Vec::new();
    for _ in 0..SINGLE {
        let began = Instant::now();
        append(store, domain, *count..*count + 1).await?;
        single.push(milliseconds(began));
        *count += 1;
    }
    let newest = store.current_root().await?;
    // Random enough, and the same each time.
    let random = |round: u64| round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (mut opened, mut past, mut siblings) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..OPENED {
        let began = Instant::now();
        let found = open(store, newest.root, domain, random(round) % *count).await?;
        opened.push(milliseconds(began));
        siblings.push(found as f64);
    }
    for round in 0..OPENED / 10 {
        // The blocks up to one of the later half of the roots, of which each made one.
        let versions = newest.version / 2 + random(round) % (newest.version / 2);
        let Some(RootRecord { root, .. }) = store.roots(Some(versions - 1), 1).await?.pop() else {
            return Err(format!("there is no root of version {versions}").into());
        };
        let began = Instant::now();
        open(store, root, domain, random(round) % (versions - DOMAINS as u64)).await?;
        past.push(milliseconds(began));
    }
    Ok(serde_json::json!({
        "blocks": blocks, "rates": rates, "single": single, "opened": opened, "past": past, "siblings": siblings,
    }))
}

async fn add_domain(store: &dyn Store, index: usize) -> Result<DomainId, Box<dyn Error>> {
    let name = format!("domain {index}");
    let new = NewDomain {
        id: DomainId::derive(&name),
        name,
        owner: OwnerId::anonymous(),
        controller: store.put_blob(Bytes::from_static(b"controller")).await?,
        settings: serde_json::Value::Null,
        policy: TrustPolicy::ControllerOnly,
    };
    match store.add_domain(new).await? {
        AddDomain::Added(domain) | AddDomain::Exists(domain) => Ok(domain.id),
    }
}

async fn append(
    store: &dyn Store,
    domain: DomainId,
    numbers: std::ops::Range<BlockNumber>,
) -> Result<(), Box<dyn Error>> {
    let block = |number: BlockNumber| NewBlock {
        number,
        state_root: [number as u8; 32],
        payload: Bytes::copy_from_slice(&number.to_be_bytes().repeat(6)),
        trust: TrustId([0; 32]),
    };
    match store.append_blocks(domain, numbers.map(block).collect()).await? {
        AppendBlocks::Appended(_) => Ok(()),
        AppendBlocks::Taken { number, .. } => Err(format!("block {number} is there: take another directory").into()),
    }
}

/// How many siblings the opening has, in both trees.
async fn open(store: &dyn Store, root: Root, domain: DomainId, number: BlockNumber) -> Result<usize, Box<dyn Error>> {
    match store.open_block(root, domain, number).await? {
        OpenedBlock::Member(_, opening) => Ok(opening.domain_siblings.len() + opening.root_siblings.len()),
        other => Err(format!("block {number} is not in {root}: {other:?}").into()),
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
