//! `coprocessor backup` and `coprocessor restore`.

use anyhow::Context;
use coprocessor_store::embedded::{self, BackupReport};
use std::time::Instant;

use crate::{
    args::{BackupArgs, RestoreArgs},
    open_store::data_dir,
};

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
