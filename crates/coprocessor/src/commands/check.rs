//! `coprocessor check`: whether a store holds together.

use anyhow::bail;
use coprocessor_store::{Cursor, Page, Store, StoreError, TaskFilter};
use coprocessor_types::BlobDigest;
use futures::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};

use super::{open_existing, runtime};
use crate::args::CheckArgs;

/// Rows read at once.
const PAGE: usize = 500;
/// Blobs read at once.
const AT_ONCE: usize = 8;
/// Blobs that are named when they cannot be read; the others are counted.
const NAMED: usize = 20;

/// What to do where a service has the store open.
const HELD: &str = "a service runs on this store: stop it first, or check a backup of it that was restored elsewhere";

/// Looks whether the rows contradict each other, and unless told otherwise reads every blob that a program or a task names.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let store = open_existing(&args.store, HELD).await?;
        let mut problems = store.contradictions().await?;
        let tasks: u64 = store.task_counts().await?.0.into_iter().map(|(_, count)| count).sum();
        let mut looked_at = format!("{tasks} tasks");
        if !args.rows_only {
            let blobs = named_blobs(&*store).await?;
            looked_at += &format!(", {} blobs", blobs.len());
            let mut harmed = unreadable(&*store, &blobs).await?;
            if !harmed.is_empty() {
                // Where coprocessors run meanwhile, some may have aged out.
                let named = named_blobs(&*store).await?;
                harmed.retain(|digest, _| named.contains(digest));
            }
            problems.extend(harmed.values().take(NAMED).map(StoreError::to_string));
            if harmed.len() > NAMED {
                problems.push(format!("{} more blobs cannot be read", harmed.len() - NAMED));
            }
        }
        for problem in &problems {
            println!("{problem}");
        }
        if problems.is_empty() {
            println!("the store holds together: {looked_at}");
            return Ok(());
        }
        bail!(
            "the store does not hold together; keep a copy of it as it is, and restore the last good backup (docs/OPERATIONS.md)"
        )
    })
}

/// Every blob that a program or a task names.
async fn named_blobs(store: &dyn Store) -> Result<BTreeSet<BlobDigest>, StoreError> {
    let mut digests = BTreeSet::new();
    let mut after: Option<Cursor> = None;
    loop {
        let Page { items, next } = store.programs(None, after, PAGE).await?;
        for program in items {
            digests.extend([program.controller, program.circuit]);
            digests.extend(program.verifying_key);
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    loop {
        let Page { items, next } = store.tasks(TaskFilter::default(), after, PAGE).await?;
        for task in items {
            digests.insert(task.controller);
            digests.extend(task.witness);
            digests.extend(task.proof);
        }
        after = next;
        if after.is_none() {
            return Ok(digests);
        }
    }
}

/// Blobs that cannot be read or are not what their digest says, and why.
async fn unreadable(
    store: &dyn Store,
    digests: &BTreeSet<BlobDigest>,
) -> Result<BTreeMap<BlobDigest, StoreError>, StoreError> {
    let mut read = stream::iter(digests)
        .map(|digest| async move { (*digest, store.blob(*digest).await) })
        .buffer_unordered(AT_ONCE);
    let mut found = BTreeMap::new();
    while let Some((digest, blob)) = read.next().await {
        match blob {
            Ok(_) => {}
            // It says nothing about this blob.
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => {
                found.insert(digest, error);
            }
        }
    }
    Ok(found)
}
