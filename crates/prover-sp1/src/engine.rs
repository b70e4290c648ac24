//! Where proving happens: one of the SDK's provers, chosen when the backend is made.

use bytes::Bytes;
use coprocessor_prover::BackendError;
use coprocessor_types::BlobDigest;
use sp1_sdk::{
    Elf, SP1ProofMode, SP1ProofWithPublicValues, SP1Stdin,
    blocking::{CpuProver, ProveRequest, Prover},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Where proving happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Device {
    /// This machine's CPU.
    #[default]
    Cpu,
    /// This machine's NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda,
    /// Succinct's prover network, or a cluster that speaks its protocol. The SDK reads where and with which key from
    /// `NETWORK_RPC_URL` and `NETWORK_PRIVATE_KEY`.
    #[cfg(feature = "network")]
    Network,
}

impl Device {
    /// The name in versions and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            #[cfg(feature = "cuda")]
            Self::Cuda => "cuda",
            #[cfg(feature = "network")]
            Self::Network => "network",
        }
    }
}

/// A prover that is ready. Making one takes half a minute and several GB on the CPU.
pub(crate) enum Engine {
    Cpu(Keyed<CpuProver>),
    #[cfg(feature = "cuda")]
    Cuda(Keyed<sp1_sdk::blocking::CudaProver>),
    #[cfg(feature = "network")]
    Network(Keyed<sp1_sdk::blocking::NetworkProver>),
}

impl Engine {
    pub(crate) fn new(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Cpu(Keyed::new(CpuProver::new())),
            #[cfg(feature = "cuda")]
            Device::Cuda => Self::Cuda(Keyed::new(sp1_sdk::blocking::ProverClient::builder().cuda().build())),
            #[cfg(feature = "network")]
            Device::Network => Self::Network(Keyed::new(sp1_sdk::blocking::ProverClient::builder().network().build())),
        }
    }

    /// Makes the circuit's proving key unless it is there.
    pub(crate) fn set_up(&self, circuit: &Bytes) -> Result<(), BackendError> {
        match self {
            Self::Cpu(keyed) => keyed.key(circuit).map(drop),
            #[cfg(feature = "cuda")]
            Self::Cuda(keyed) => keyed.key(circuit).map(drop),
            #[cfg(feature = "network")]
            Self::Network(keyed) => keyed.key(circuit).map(drop),
        }
    }

    pub(crate) fn prove(
        &self,
        circuit: &Bytes,
        stdin: SP1Stdin,
        mode: SP1ProofMode,
    ) -> Result<SP1ProofWithPublicValues, BackendError> {
        match self {
            Self::Cpu(keyed) => keyed.prove(circuit, stdin, mode),
            #[cfg(feature = "cuda")]
            Self::Cuda(keyed) => keyed.prove(circuit, stdin, mode),
            #[cfg(feature = "network")]
            Self::Network(keyed) => keyed.prove(circuit, stdin, mode),
        }
    }
}

/// A prover with the proving keys it has made.
pub(crate) struct Keyed<P: Prover> {
    prover: P,
    keys: Mutex<HashMap<BlobDigest, Arc<P::ProvingKey>>>,
}

impl<P: Prover> Keyed<P> {
    fn new(prover: P) -> Self {
        Self { prover, keys: Mutex::new(HashMap::new()) }
    }

    /// Holds the lock while a key is made, so that one circuit is never set up twice at once.
    fn key(&self, circuit: &Bytes) -> Result<Arc<P::ProvingKey>, BackendError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = BlobDigest::of(circuit);
        if let Some(key) = keys.get(&digest) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(self.prover.setup(Elf::from(&circuit[..])).map_err(|error| failed(&error))?);
        keys.insert(digest, Arc::clone(&key));
        Ok(key)
    }

    fn prove(
        &self,
        circuit: &Bytes,
        stdin: SP1Stdin,
        mode: SP1ProofMode,
    ) -> Result<SP1ProofWithPublicValues, BackendError> {
        let key = self.key(circuit)?;
        self.prover.prove(&key, stdin).mode(mode).run().map_err(|error| failed(&error))
    }
}

fn failed(error: &impl std::fmt::Display) -> BackendError {
    BackendError::Failed { reason: error.to_string() }
}
