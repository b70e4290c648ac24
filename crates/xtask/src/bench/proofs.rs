//! Core proofs through the service beside the same proofs by the SDK alone.

use super::{
    figures::{Figure, Report, Target, Unit},
    service::{between_first_and_last, prove},
};
use crate::{
    cargo::{Cargo, Sp1},
    service::{Backend, Folders, Guest, Service, with_service},
    terminal::Step,
};
use anyhow::{Context, Result, bail, ensure};
use coprocessor_api::{EventView, ExecuteRequest, TaskRequest, client::Client};
use coprocessor_types::{CircuitInput, OpenedWitness, ProgramId, Root, Witness};
use serde::Deserialize;
use std::path::Path;

/// Proofs of each way. Each takes half a minute or more.
const PROOFS: usize = 3;

/// What the example `direct` prints: one line for each proof.
#[derive(Deserialize)]
struct Direct {
    /// Seconds for the circuit's keys.
    setup_s: f64,
    /// Seconds for the proof.
    prove_s: f64,
}

/// One proof through the service.
struct Served {
    /// Seconds from admitted to delivered.
    total_s: f64,
    /// Seconds for the circuit's keys; zero where they were kept.
    set_up_s: f64,
    /// Seconds that the node says it was proving.
    proving_s: f64,
}

/// Measures both, one after the other: together they would need twice the memory.
pub(super) fn measure(cargo: &Cargo, hello: &Guest, report: &mut Report) -> Result<()> {
    let programs = cargo.build_service(Sp1::With)?;
    let direct = cargo.build(Sp1::With, &["--example", "direct"])?;
    let direct = direct.first().context("cargo built no example called direct")?;
    let data = tempfile::Builder::new().prefix("coprocessor-bench-").tempdir()?;
    let folders = Folders { data: data.path().to_owned(), logs: cargo.target().join("bench") };
    let input = data.path().join("input.bin");
    with_service(Service::new(&programs, Backend::Sp1, folders)?, async |service| {
        // The input comes from the service, so that both prove the same; no prover is needed for it.
        let client = service.start_coprocessor().await?;
        let program = client.deploy(hello.deployment()).await?.program.id.parse()?;
        std::fs::write(&input, circuit_input(&client, program, hello).await?.to_bytes())?;
        service.stop_coprocessor().await?;

        let alone = prove_directly(direct, &hello.circuit_path, &input).await?;
        let mut step = Step::begin("Service", "starting");
        service.start_prover().await?;
        let client = service.start_coprocessor().await?;
        service.wait_for_prover(&client, "core", &mut step).await?;
        step.done("warm");
        let served = prove_through(&client, program, hello).await?;
        report.add(compare(&alone, &served)?);
        Ok(())
    })
}

/// What the circuit of `hello` is given for its example.
async fn circuit_input(client: &Client, program: ProgramId, hello: &Guest) -> Result<CircuitInput> {
    let request = ExecuteRequest { args: hello.example.clone(), ..ExecuteRequest::default() };
    let view = client.witness(&program, &request).await?;
    let witnesses = view.witnesses.into_iter().map(|witness| match serde_json::from_value(witness)? {
        Witness::Data(bytes) => Ok(OpenedWitness::Data(bytes)),
        Witness::StateProof(_) => bail!("the example of hello opens a block, which only the service can do"),
    });
    Ok(CircuitInput { root: view.root.parse::<Root>()?, witnesses: witnesses.collect::<Result<_>>()? })
}

/// By the SDK in a process of its own that has nothing else to do.
async fn prove_directly(example: &Path, circuit: &Path, input: &Path) -> Result<Vec<Direct>> {
    let step = Step::begin("SDK alone", &format!("{PROOFS} core proofs"));
    let mut command = tokio::process::Command::new(example);
    command.arg(circuit).arg(input).arg("core").arg(PROOFS.to_string()).kill_on_drop(true);
    let output = command.output().await?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        example.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let lines = String::from_utf8(output.stdout)?;
    let proofs = lines.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str);
    let proofs: Vec<Direct> = proofs.collect::<Result<_, _>>().context("the example prints something else")?;
    ensure!(proofs.len() == PROOFS, "the example made {} proofs instead of {PROOFS}", proofs.len());
    step.done(format!("{PROOFS} core proofs"));
    Ok(proofs)
}

async fn prove_through(client: &Client, program: ProgramId, hello: &Guest) -> Result<Vec<Served>> {
    let request = TaskRequest { args: hello.example.clone(), kind: Some("core".into()), ..TaskRequest::default() };
    let mut step = Step::begin("Service", "proving");
    let mut served = Vec::new();
    for number in 1..=PROOFS {
        step.doing(&format!("core proof {number} of {PROOFS}"));
        served.push(Served::of(&prove(client, program, &request).await?)?);
    }
    step.done(format!("{PROOFS} core proofs"));
    Ok(served)
}

impl Served {
    fn of(events: &[EventView]) -> Result<Self> {
        let verified = events.iter().rev().find(|event| event.name == "proof_verified");
        let detail = &verified.context("the task has no event proof_verified")?.detail;
        let seconds = |name: &str| {
            let milliseconds = detail[name].as_u64().with_context(|| format!("proof_verified says no {name}"))?;
            anyhow::Ok(milliseconds as f64 / 1e3)
        };
        Ok(Self {
            total_s: between_first_and_last(events).as_secs_f64(),
            set_up_s: seconds("set_up_ms")?,
            proving_s: seconds("proving_ms")?,
        })
    }
}

/// The first proof of a circuit pays for its keys on both sides; those after it are compared.
fn compare(alone: &[Direct], served: &[Served]) -> Result<Vec<Figure>> {
    let (Some(first), Some(later)) = (served.first(), served.get(1..)) else { bail!("nothing was proved") };
    let figure = |name: &str, numbers: Vec<f64>| Figure::new(name, Unit::Seconds, numbers);
    let direct = figure("core proof by the SDK alone", alone.iter().map(|proof| proof.prove_s).collect())?;
    let total = figure(
        "core proof through the service, admitted to delivered, from the 2nd on",
        later.iter().map(|proof| proof.total_s).collect(),
    )?;
    let more = (total.median() / direct.median() - 1.0) * 100.0;
    Ok(vec![
        figure("keys of a circuit by the SDK alone", alone.iter().map(|proof| proof.setup_s).take(1).collect())?,
        direct,
        figure("1st core proof through the service, admitted to delivered", vec![first.total_s])?,
        figure("  of it keys", vec![first.set_up_s])?,
        total,
        figure("  of it proving, as the node says", later.iter().map(|proof| proof.proving_s).collect())?,
        figure("  of it keys", later.iter().map(|proof| proof.set_up_s).collect())?.with(Target::p50_at_most(0.0)),
        Figure::new("what the service adds to a core proof", Unit::Percent, vec![more])?.with(Target::p50_at_most(2.0)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_service_is_compared_with_the_sdk() {
        let alone: Vec<_> = [30.0, 31.0, 30.5].map(|prove_s| Direct { setup_s: 2.5, prove_s }).into();
        let served: Vec<_> = [(33.5, 2.5), (30.8, 0.0), (31.0, 0.0)]
            .map(|(total_s, set_up_s)| Served { total_s, set_up_s, proving_s: 30.0 })
            .into();
        let json = serde_json::to_value(compare(&alone, &served).unwrap()).unwrap();
        let more = json.as_array().unwrap().last().unwrap();
        assert!((more["p50"].as_f64().unwrap() - 0.98).abs() < 0.01, "{more}");
        assert_eq!(more["met"], true);
        assert_eq!(json[6]["met"], true, "the second proof pays for no keys: {}", json[6]);
    }

    #[test]
    fn times_are_read_from_the_events() {
        let event = |millisecond, name: &str, detail| EventView {
            seq: 1,
            task: "t".into(),
            at: jiff::Timestamp::from_millisecond(millisecond).unwrap(),
            state: coprocessor_api::TaskState::Proving,
            name: name.into(),
            detail,
        };
        let detail = json!({"set_up_ms": 2_500, "proving_ms": 28_000});
        let events = [event(0, "admitted", json!({})), event(31_000, "proof_verified", detail)];
        let served = Served::of(&events).unwrap();
        assert_eq!((served.total_s, served.set_up_s, served.proving_s), (31.0, 2.5, 28.0));
        assert!(Served::of(&events[..1]).is_err());
    }
}
