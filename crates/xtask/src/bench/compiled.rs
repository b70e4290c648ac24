//! Many programs, each called once by a process that was just started: what compiling costs, and what having compiled before saves.

use super::figures::{Figure, Target, Unit};
use crate::{
    cargo::{Cargo, Programs},
    service::{Backend, Folders, Guest, Service, with_service},
    terminal::{self, Step},
};
use anyhow::{Result, ensure};
use coprocessor_api::{
    CompiledView,
    client::{Client, Deployment},
};
use coprocessor_types::ProgramId;
use serde_json::json;
use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

/// Most of compiled controllers on the disk in MiB: more than all of them need.
const ROOM: u32 = 1 << 20;

/// One call of each program.
struct Pass {
    /// Milliseconds of each.
    calls: Vec<f64>,
    /// How many controllers were compiled for them.
    compiled: u64,
    /// How many were read from the disk.
    loaded: u64,
}

/// Deploys programs with controllers that all differ, and calls each once: in a process with nothing but the store; in another one, with
/// what that kept; and there once more.
///
/// # Errors
/// A controller that was compiled twice.
pub(super) fn measure(cargo: &Cargo, programs: &Programs, hello: &Guest, number: u32) -> Result<Vec<Figure>> {
    let data = tempfile::Builder::new().prefix("coprocessor-bench-").tempdir()?;
    let folders = Folders { data: data.path().to_owned(), logs: cargo.target().join("bench") };
    let service = Service::new(programs, Backend::Mock, folders)?.with_flags(flags(0));
    with_service(service, async |service| {
        let deployed = deploy(&service.start_coprocessor().await?, hello, number).await?;
        service.stop_coprocessor().await?;
        service.set_flags(flags(ROOM));
        let client = service.start_coprocessor().await?;
        let cold = pass(&client, &deployed, "the store alone").await?;
        let kept = client.storage().await?.compiled;
        service.stop_coprocessor().await?;
        let client = service.start_coprocessor().await?;
        let ready = milliseconds(service.coprocessor()?.started().elapsed());
        let again = pass(&client, &deployed, "what was kept").await?;
        let warm = pass(&client, &deployed, "once more").await?;

        let all = u64::from(number);
        ensure!(cold.compiled == all, "{} of {all} were compiled in the first pass: it was not cold", cold.compiled);
        ensure!(kept.files == all, "{} of {all} compiled controllers were kept: {:?}", kept.files, kept.problem);
        ensure!(again.loaded == all, "{} of {all} were loaded in the second pass", again.loaded);
        for (which, pass) in [("second", &again), ("third", &warm)] {
            ensure!(pass.compiled == 0, "{} of {all} were compiled again in the {which} pass", pass.compiled);
        }
        figures(cold, again, warm, &kept, ready)
    })
}

fn flags(compiled_mib: u32) -> [OsString; 4] {
    let unbounded = ["--owner-programs=1000000", "--owner-requests-per-second=1000000", "--owner-burst=1000000"];
    let [programs, requests, burst] = unbounded.map(OsString::from);
    [programs, requests, burst, format!("--keep-compiled-mib={compiled_mib}").into()]
}

async fn deploy(client: &Client, hello: &Guest, number: u32) -> Result<Vec<ProgramId>> {
    let mut step = Step::begin("Programs", "deploying");
    let mut programs = Vec::new();
    for nonce in 0..number {
        let controller = numbered(&hello.controller, nonce).into();
        let deployment = Deployment { controller, nonce: nonce.into(), ..hello.deployment() };
        programs.push(client.deploy(deployment).await?.program.id.parse()?);
        step.doing(&format!("{} of {number}", programs.len()));
    }
    step.done(format!(
        "{number} deployed, each with a controller of {}",
        terminal::bytes(hello.controller.len() as u64)
    ));
    Ok(programs)
}

/// The same code as another module: it has one more custom section, in which the number is.
fn numbered(controller: &[u8], number: u32) -> Vec<u8> {
    const NAME: &[u8] = b"bench";
    let content = [&[NAME.len() as u8][..], NAME, &number.to_le_bytes()].concat();
    [controller, &[0, content.len() as u8], &content].concat()
}

async fn pass(client: &Client, programs: &[ProgramId], what: &str) -> Result<Pass> {
    let mut step = Step::begin("Calls", what);
    let before = client.storage().await?.compiled;
    let mut calls = Vec::with_capacity(programs.len());
    for program in programs {
        let began = Instant::now();
        client.call(program, &json!({"payload": null})).await?;
        calls.push(milliseconds(began.elapsed()));
        step.doing(&format!("{what}: {} of {}", calls.len(), programs.len()));
    }
    let after = client.storage().await?.compiled;
    let (compiled, loaded) = (after.compiled - before.compiled, after.loaded - before.loaded);
    step.done(format!("{what}: {compiled} compiled, {loaded} loaded"));
    Ok(Pass { calls, compiled, loaded })
}

fn figures(cold: Pass, again: Pass, warm: Pass, kept: &CompiledView, ready: f64) -> Result<Vec<Figure>> {
    let of = |name: &str, unit, measured| Figure::new(name, unit, vec![measured]);
    let none = Target::p50_at_most(0.0);
    #[allow(clippy::cast_precision_loss)] // Three digits are shown.
    let (compiled, bytes) = (cold.compiled as f64, kept.bytes as f64 / 1e6);
    Ok(vec![
        Figure::new("first call of a program, from the store alone", Unit::Milliseconds, cold.calls)?,
        of("  controllers compiled", Unit::Controllers, compiled)?,
        of("  kept of that on the disk", Unit::Megabytes, bytes)?,
        Figure::new("first call of a program, after a restart", Unit::Milliseconds, again.calls)?,
        of("  controllers compiled", Unit::Controllers, again.compiled as f64)?.with(none),
        of("  start with all of them kept, to ready", Unit::Milliseconds, ready)?,
        Figure::new("second call of each in that process", Unit::Milliseconds, warm.calls)?,
        of("  controllers compiled", Unit::Controllers, warm.compiled as f64)?.with(none),
    ])
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_controllers_differ_and_are_modules() {
        let module = b"\0asm\x01\0\0\0";
        assert_eq!(numbered(module, 258), b"\0asm\x01\0\0\0\0\x0a\x05bench\x02\x01\0\0");
        assert_ne!(numbered(module, 1), numbered(module, 2));
    }
}
