//! SP1 as a proving backend.

use crate::{Circuits, Device, engine::Engine};
use bytes::Bytes;
use coprocessor_prover::{
    BackendError, BackendInfo, Cancellation, Execution, ExecutionLimits, KindOffer, Progress, Proof, ProvingBackend,
    Setup,
};
use coprocessor_types::{Backend, ProofKind};
use sp1_sdk::{SP1_CIRCUIT_VERSION, SP1ProofMode, SP1Stdin};
use std::{
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

const GIB: u64 = 1 << 30;

/// Peaks measured on a 2-core machine with the SDK's default shards: docs/PERFORMANCE.md. A core proof of millions of
/// cycles grows to 22 GiB; what is set aside is what a circuit of one shard needs.
const CORE_MEMORY: u64 = 11 * GIB;
const COMPRESSED_MEMORY: u64 = 18 * GIB;
const WRAPPED_MEMORY: u64 = 32 * GIB;

/// How SP1 proves here.
#[derive(Clone, Debug, Default)]
pub struct Sp1Config {
    /// Where proving happens.
    pub device: Device,
    /// Directory with the SDK's groth16 and plonk circuit artifacts (`groth16/`, `plonk/`). Without it those kinds are not
    /// offered on the CPU: making them would have the SDK download gigabytes unasked.
    pub artifacts: Option<PathBuf>,
}

/// SP1 as a proving backend. The prover is made by [`ProvingBackend::warm_up`] or by the first proof, and kept.
pub struct Sp1Backend {
    config: Sp1Config,
    circuits: Circuits,
    engine: OnceLock<Engine>,
}

impl Sp1Backend {
    /// Cheap; nothing is loaded yet.
    pub fn new(config: Sp1Config) -> Self {
        Self { config, circuits: Circuits::new(), engine: OnceLock::new() }
    }

    fn engine(&self) -> &Engine {
        self.engine.get_or_init(|| {
            let start = Instant::now();
            tracing::info!(
                device = self.config.device.as_str(),
                "loading the SP1 prover; on a CPU this takes half a minute to two"
            );
            let engine = Engine::new(self.config.device);
            tracing::info!(seconds = start.elapsed().as_secs_f32(), "the SP1 prover is loaded");
            engine
        })
    }

    fn wrapping(&self, kind: ProofKind) -> Result<(), String> {
        if self.config.device != Device::Cpu {
            return Ok(());
        }
        let Some(dir) = &self.config.artifacts else {
            return Err("SP1's circuit artifacts are not here; give their directory with --sp1-artifacts".into());
        };
        let needed = dir.join(kind.as_str());
        if !needed.is_dir() {
            return Err(format!("SP1's circuit artifacts are not in {}", needed.display()));
        }
        Err("this build has no wrapping prover: the SDK's `native-gnark` needs a Go toolchain; use --device network or cuda".into())
    }
}

impl ProvingBackend for Sp1Backend {
    fn info(&self) -> BackendInfo {
        let mut offers = vec![
            KindOffer { kind: ProofKind::Core, memory: CORE_MEMORY },
            KindOffer { kind: ProofKind::Compressed, memory: COMPRESSED_MEMORY },
        ];
        let mut missing = Vec::new();
        for kind in [ProofKind::Groth16, ProofKind::Plonk] {
            match self.wrapping(kind) {
                Ok(()) => offers.push(KindOffer { kind, memory: WRAPPED_MEMORY }),
                Err(reason) => missing.push((kind, reason)),
            }
        }
        if self.config.device != Device::Cpu {
            offers.iter_mut().for_each(|offer| offer.memory = 0);
        }
        let version = format!("sp1 {SP1_CIRCUIT_VERSION} ({})", self.config.device.as_str());
        BackendInfo { backend: Some(Backend::Sp1), version, offers, missing }
    }

    fn prepare(&self) -> Result<(), BackendError> {
        self.circuits.warm_up();
        Ok(())
    }

    fn warm_up(&self) -> Result<(), BackendError> {
        self.engine();
        Ok(())
    }

    fn set_up(&self, circuit: &Bytes) -> Result<Setup, BackendError> {
        self.circuits.set_up(circuit)
    }

    fn execute(&self, circuit: &Bytes, input: &[u8], limits: ExecutionLimits) -> Result<Execution, BackendError> {
        self.circuits.execute(circuit, input, limits)
    }

    fn prove(
        &self,
        circuit: &Bytes,
        input: &[u8],
        kind: ProofKind,
        progress: &Progress<'_>,
        cancellation: &Cancellation,
    ) -> Result<Proof, BackendError> {
        let mode = self.mode(kind)?;
        let engine = self.engine();
        progress.step("setting up");
        let began = Instant::now();
        engine.set_up(circuit)?;
        let set_up = began.elapsed();
        // The SDK offers no way to stop a proof it has begun: this is the last chance.
        if cancellation.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        progress.step("proving");
        let began = Instant::now();
        let mut stdin = SP1Stdin::new();
        stdin.write_slice(input);
        let proof = engine.prove(circuit, stdin, mode)?;
        let proving = began.elapsed();
        if cancellation.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        let bytes = bincode::serialize(&proof).map_err(|error| BackendError::Failed { reason: error.to_string() })?;
        Ok(Proof {
            kind,
            bytes: bytes.into(),
            public_inputs: Bytes::copy_from_slice(proof.public_values.as_slice()),
            // The node knows them: it executed the circuit before.
            cycles: 0,
            proving,
            set_up: if set_up < Duration::from_millis(1) { Duration::ZERO } else { set_up },
            peak_memory: peak_memory(),
        })
    }
}

impl Sp1Backend {
    fn mode(&self, kind: ProofKind) -> Result<SP1ProofMode, BackendError> {
        let unsupported = |reason: String| BackendError::Unsupported { kind, reason };
        match kind {
            ProofKind::Core => Ok(SP1ProofMode::Core),
            ProofKind::Compressed => Ok(SP1ProofMode::Compressed),
            ProofKind::Groth16 => self.wrapping(kind).map(|()| SP1ProofMode::Groth16).map_err(unsupported),
            ProofKind::Plonk => self.wrapping(kind).map(|()| SP1ProofMode::Plonk).map_err(unsupported),
            ProofKind::Mock => Err(unsupported("this node makes real proofs".into())),
        }
    }
}

/// The process's peak resident memory in bytes; zero where the system does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
