//! Prints what blocks and roots cost as their trees grow: `domains [DIRECTORY] [BLOCKS]`, up to a million blocks unless told
//! otherwise. With DATABASE_URL set, on PostgreSQL.
//!
//! One domain of consecutive blocks, appended by full calls; at each power of ten, single appends, each durable, and
//! openings of random blocks at the newest root and at random ones, one after the other. Beside it stands what the disk
//! itself takes for one fsync.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use coprocessor_store::{
    AddDomain, AppendBlocks, EmbeddedConfig, EmbeddedStore, MAX_BATCH, NewBlock, NewDomain, OpenedBlock, RootRecord,
    Store, TrustPolicy,
    postgres::{BlobPlace, PostgresConfig, PostgresStore},
};
use coprocessor_types::{BlockNumber, DomainId, OwnerId, Root, TrustId};
use std::{
    error::Error,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

const SINGLE: u64 = 100;
const OPENED: u64 = 2000;
/// Other domains, so that the root tree has some leaves too.
const DOMAINS: usize = 16;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(|| std::env::temp_dir().join("coprocessor-domains"), PathBuf::from);
    let most: u64 = arguments.next().map_or(Ok(1_000_000), |count| count.parse())?;
    fsyncs(&directory)?;
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
    println!(
        "{:>9} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>9}",
        "blocks", "batch /s", "one p50 ms", "one p90 ms", "open p50 us", "open p90 us", "past p50 us", "siblings"
    );
    let mut count = store.domain(domain).await?.map_or(0, |domain| domain.blocks);
    let mut size = 1000;
    while size <= most {
        let (began, before) = (Instant::now(), count);
        while count < size {
            let next = size.min(count + MAX_BATCH as u64);
            append(&*store, domain, count..next).await?;
            count = next;
        }
        let rate = (count - before) as f64 / began.elapsed().as_secs_f64();
        report(&*store, domain, &mut count, rate).await?;
        size *= 10;
    }
    Ok(())
}

/// One line of the table.
async fn report(store: &dyn Store, domain: DomainId, count: &mut u64, rate: f64) -> Result<(), Box<dyn Error>> {
    let size = *count;
    let mut single = Vec::new();
    for _ in 0..SINGLE {
        let began = Instant::now();
        append(store, domain, *count..*count + 1).await?;
        single.push(began.elapsed());
        *count += 1;
    }
    let newest = store.current_root().await?;
    let (mut opened, mut past, mut siblings) = (Vec::new(), Vec::new(), 0);
    for round in 0..OPENED {
        // Random enough, and the same each time.
        let number = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % *count;
        let began = Instant::now();
        siblings += open(store, newest.root, domain, number).await?;
        opened.push(began.elapsed());
    }
    for round in 0..OPENED / 10 {
        let number = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % *count;
        let after = newest.version - number / 2;
        let Some(RootRecord { root, .. }) = store.roots(Some(after - 1), 1).await?.pop() else { continue };
        let began = Instant::now();
        open(store, root, domain, number / 2).await?;
        past.push(began.elapsed());
    }
    println!(
        "{size:>9} {rate:>11.0} {:>11.3} {:>11.3} {:>11.1} {:>11.1} {:>11.1} {:>9.1}",
        at(&mut single, 0.5) / 1e3,
        at(&mut single, 0.9) / 1e3,
        at(&mut opened, 0.5),
        at(&mut opened, 0.9),
        at(&mut past, 0.5),
        siblings as f64 / OPENED as f64
    );
    Ok(())
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

/// The disk alone: appends of 32 KiB, each made durable.
fn fsyncs(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join("fsync-probe");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..100 {
        file.write_all(&[7; 32 * 1024])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    println!("the disk's fsync: {:.3} ms p50, {:.3} ms p90", at(&mut times, 0.5) / 1e3, at(&mut times, 0.9) / 1e3);
    std::fs::remove_file(path)
}

/// Microseconds that so large a share took at most.
fn at(times: &mut [Duration], share: f64) -> f64 {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6
}
