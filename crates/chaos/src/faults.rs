//! Carries the plan out: harms a part, waits, heals it; and writes down when.

use anyhow::{Context, Result};
use coprocessor_test_servers::BreakingProxy;
use jiff::Timestamp;
use serde::Serialize;
use std::{
    fs::File,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    book::{Book, Breach},
    plan::{Fault, Harm, Part},
    process::Process,
    system::System,
};

/// How long a process that is told to stop may take: its own limit, and something for a busy machine.
const STOPPING: Duration = Duration::from_secs(20);

/// A fault as it happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Happened {
    /// What was planned.
    #[serde(flatten)]
    pub(crate) fault: Fault,
    /// When the part was harmed.
    pub(crate) harmed_at: Timestamp,
    /// When it was whole again: its process listens, its link carries, its disk has room.
    pub(crate) healed_at: Timestamp,
    /// What could not be done, if something could not.
    pub(crate) error: Option<String>,
}

/// All faults that have happened, also as a file with a line of JSON for each.
#[derive(Debug)]
pub(crate) struct FaultLog {
    file: Mutex<File>,
    happened: Mutex<Vec<Happened>>,
}

impl FaultLog {
    /// Begins `faults.jsonl` in the system's directory.
    pub(crate) fn begin(directory: &std::path::Path) -> Result<Self> {
        let path = directory.join("faults.jsonl");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file: Mutex::new(file), happened: Mutex::default() })
    }

    /// All that have happened.
    pub(crate) fn happened(&self) -> Vec<Happened> {
        self.happened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many have happened.
    pub(crate) fn count(&self) -> usize {
        self.happened.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn add(&self, happened: Happened) -> Result<()> {
        let line = serde_json::to_string(&happened)?;
        writeln!(self.file.lock().unwrap_or_else(PoisonError::into_inner), "{line}")?;
        self.happened.lock().unwrap_or_else(PoisonError::into_inner).push(happened);
        Ok(())
    }
}

/// Lets every fault happen at its time; returns when all have been healed.
pub(crate) async fn carry_out(system: Arc<System>, book: Arc<Book>, log: Arc<FaultLog>, plan: Vec<Fault>) {
    let began = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for fault in plan {
        tokio::time::sleep(fault.at.saturating_sub(began.elapsed())).await;
        let (system, book, log) = (Arc::clone(&system), Arc::clone(&book), Arc::clone(&log));
        running.spawn(async move {
            let harmed_at = Timestamp::now();
            let error = happen(&system, &fault).await.err().map(|error| format!("{error:#}"));
            if let Some(error) = &error {
                book.violate(Breach::Other, format!("fault {} ({}): {error}", fault.number, fault.kind));
            }
            let happened = Happened { fault, harmed_at, healed_at: Timestamp::now(), error };
            if let Err(error) = log.add(happened) {
                book.violate(Breach::Other, format!("the log of faults cannot be written: {error:#}"));
            }
        });
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}

async fn happen(system: &System, fault: &Fault) -> Result<()> {
    match fault.kind.part {
        Part::Coprocessor => harm_process(&mut *system.coprocessors[fault.index].lock().await, fault).await,
        Part::Node => harm_process(&mut *system.nodes[fault.index].lock().await, fault).await,
        Part::CallerLink => link(&system.caller_links, fault).await,
        Part::NodeLink => link(&system.node_links, fault).await,
        Part::DatabaseLink => link(&system.database_links, fault).await,
        Part::BlobLink => link(&system.blob_links, fault).await,
        Part::Database => {
            let mut database = system.database.as_ref().context("there is no PostgreSQL")?.lock().await;
            tokio::task::block_in_place(|| database.kill())?;
            tokio::time::sleep(fault.hold).await;
            Ok(tokio::task::block_in_place(|| database.restart())?)
        }
        Part::Disk => {
            let disk = system.disk.as_ref().context("there is no small disk")?;
            disk.fill()?;
            tokio::time::sleep(fault.hold).await;
            disk.free()
        }
        Part::Receiver => {
            system.receiver.set_failing(true);
            tokio::time::sleep(fault.hold).await;
            system.receiver.set_failing(false);
            Ok(())
        }
    }
}

async fn harm_process(process: &mut Process, fault: &Fault) -> Result<()> {
    match fault.kind.harm {
        Harm::Pause => {
            process.pause();
            tokio::time::sleep(fault.hold).await;
            process.resume();
            return Ok(());
        }
        Harm::Stop => {
            let status = process.terminate(STOPPING).await;
            let status = status.with_context(|| format!("{} does not end when it is told to", process.name()))?;
            if !status.success() {
                process.revive().await?;
                anyhow::bail!("{} ended with {status} when it was told to end", process.name());
            }
        }
        _ => process.kill().await,
    }
    tokio::time::sleep(fault.hold).await;
    process.revive().await
}

async fn link(links: &[BreakingProxy], fault: &Fault) -> Result<()> {
    let link = &links[fault.index];
    match fault.kind.harm {
        Harm::Stall => {
            link.stall(true);
            tokio::time::sleep(fault.hold).await;
            link.stall(false);
        }
        Harm::Swallow => {
            link.stall_answers(true);
            tokio::time::sleep(fault.hold).await;
            link.cut_all();
            link.stall_answers(false);
        }
        Harm::Refuse => {
            link.refuse(true);
            link.cut_all();
            tokio::time::sleep(fault.hold).await;
            link.refuse(false);
        }
        _ => link.cut_all(),
    }
    Ok(())
}
