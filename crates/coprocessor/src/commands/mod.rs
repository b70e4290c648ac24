//! What the program does besides serving.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command's answer.

mod backup;
mod check;
mod health;
mod keys;
mod verify;

pub(crate) use backup::{backup, restore};
pub(crate) use check::check;
pub(crate) use health::health;
pub(crate) use keys::keys;
pub(crate) use verify::verify;

use anyhow::{Context, bail};
use coprocessor_store::{Store, StoreError};
use std::{process::ExitCode, sync::Arc};
use tokio::runtime::Runtime;

use crate::{args::StoreArgs, open_store::StorePlace};

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

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}

/// Opens a store that must be there: looking at it makes none. `held` says what to do where a service has it open.
async fn open_existing(args: &StoreArgs, held: &'static str) -> anyhow::Result<Arc<dyn Store>> {
    match StorePlace::new(args)? {
        StorePlace::Embedded(directory) if !directory.exists() => bail!("there is no store in {}", directory.display()),
        _ => open(args, held).await,
    }
}

async fn open(args: &StoreArgs, held: &'static str) -> anyhow::Result<Arc<dyn Store>> {
    StorePlace::new(args)?.open().await.map_err(|error| {
        let locked = matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Locked { .. }));
        if locked { error.context(held) } else { error }
    })
}
