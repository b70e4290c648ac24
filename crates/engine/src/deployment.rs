//! Deploying programs, replacing controllers, removing programs.

use bytes::Bytes;
use coprocessor_prover::NodeError;
use coprocessor_store::{DeleteProgram, InsertProgram, NewProgram, Program};
use coprocessor_types::{Backend, BlobDigest, OwnerId, ProgramId};
use std::sync::Arc;

use crate::{Engine, EngineError, Inner, ProverSource, controllers::blocking, volumes::NoPages};

/// Longest name of a program, in bytes.
const MAX_NAME: usize = 128;

/// A program to deploy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deployment {
    /// Who deploys it.
    pub owner: OwnerId,
    /// A label for people.
    pub name: String,
    /// What proves its circuit.
    pub backend: Backend,
    /// The controller's WebAssembly.
    pub controller: Bytes,
    /// The circuit.
    pub circuit: Bytes,
    /// Tells apart programs of one circuit.
    pub nonce: u64,
    /// Size of its volume in bytes; the configured one by default.
    pub volume_size: Option<u64>,
}

/// What deploying came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deployed {
    /// A new program.
    New(Program),
    /// The very same was deployed before.
    Same(Program),
}

impl Engine {
    /// Checks a program's parts, sets its circuit up where that can be done now, and registers it.
    ///
    /// # Errors
    /// A controller or circuit that is none; a program of that circuit and nonce with another controller.
    pub async fn deploy(&self, deployment: Deployment) -> Result<Deployed, EngineError> {
        let inner = &self.inner;
        let volume_size = self.check_settings(&deployment)?;
        let id = ProgramId::derive(&deployment.circuit, deployment.nonce);
        inner.check_controller(deployment.controller.clone()).await?;
        let key = inner.check_circuit(deployment.backend, &deployment.circuit).await?;
        let controller = inner.store.put_blob(deployment.controller).await?;
        let circuit = inner.store.put_blob(deployment.circuit).await?;
        let verifying_key = match key {
            Some(key) => Some(inner.store.put_blob(key).await?),
            None => None,
        };
        let program = NewProgram {
            id,
            owner: deployment.owner,
            name: deployment.name,
            backend: deployment.backend,
            controller,
            circuit,
            verifying_key,
            nonce: deployment.nonce,
            volume_size,
        };
        match inner.store.insert_program(program).await? {
            InsertProgram::Inserted(program) => {
                tracing::info!(program = %id, name = program.name, backend = %program.backend, "program deployed");
                Ok(Deployed::New(program))
            }
            InsertProgram::Exists(program) if program.controller != controller => {
                Err(EngineError::ProgramExists(id, "controller"))
            }
            InsertProgram::Exists(program) if program.volume_size != volume_size => {
                Err(EngineError::ProgramExists(id, "volume size"))
            }
            InsertProgram::Exists(program) => Ok(Deployed::Same(program)),
        }
    }

    /// Gives a program another controller. Tasks admitted before keep theirs.
    ///
    /// # Errors
    /// Not a controller; no such program.
    pub async fn set_controller(&self, id: ProgramId, controller: Bytes) -> Result<Program, EngineError> {
        let inner = &self.inner;
        inner.store.program(id).await?.ok_or(EngineError::UnknownProgram(id))?;
        inner.check_controller(controller.clone()).await?;
        let digest = inner.store.put_blob(controller).await?;
        let program = inner.store.set_controller(id, digest).await?;
        tracing::info!(program = %id, controller = %digest, "controller replaced");
        program.ok_or(EngineError::UnknownProgram(id))
    }

    /// Removes a program with its volume and tasks.
    ///
    /// # Errors
    /// Unfinished tasks; no such program.
    pub async fn delete_program(&self, id: ProgramId) -> Result<(), EngineError> {
        match self.inner.store.delete_program(id).await? {
            DeleteProgram::Deleted => {
                tracing::info!(program = %id, "program deleted");
                Ok(())
            }
            DeleteProgram::Unknown => Err(EngineError::UnknownProgram(id)),
            DeleteProgram::Busy { unfinished } => Err(EngineError::ProgramBusy { program: id, unfinished }),
        }
    }

    /// Everything about a deployment that needs no look at its parts; answers with the volume's size.
    fn check_settings(&self, deployment: &Deployment) -> Result<u64, EngineError> {
        let config = &self.inner.config;
        if deployment.name.len() > MAX_NAME || deployment.name.chars().any(char::is_control) {
            let message = format!("a program's name has at most {MAX_NAME} bytes and no control characters");
            return Err(EngineError::InvalidRequest(message));
        }
        if deployment.backend == Backend::Groth16 {
            let reason = "Groth16 bundles are not taken yet; deploy an SP1 ELF".to_owned();
            return Err(EngineError::InvalidCircuit(reason));
        }
        let size = deployment.volume_size.unwrap_or(config.volume_size);
        if size > config.max_volume_size {
            let message = format!("a volume of {size} bytes is over the limit of {}", config.max_volume_size);
            return Err(EngineError::InvalidRequest(message));
        }
        coprocessor_vfs::Volume::format(NoPages, size)?;
        Ok(size)
    }
}

impl Inner {
    /// Checks a circuit, and makes its verifying key where that can be done now: in this process, else by a real prover
    /// node, else the mock prover only checks it.
    async fn check_circuit(self: &Arc<Self>, backend: Backend, circuit: &Bytes) -> Result<Option<Bytes>, EngineError> {
        if let Some(setup) = &self.setup {
            let (setup, circuit) = (Arc::clone(setup), circuit.clone());
            let made = blocking(move || setup.set_up(&circuit)).await?;
            return made.map(|made| Some(made.verifying_key)).map_err(|e| EngineError::InvalidCircuit(e.to_string()));
        }
        let mut nodes = self.provers.nodes();
        nodes.sort_by_key(|(_, source)| *source == ProverSource::InProcess);
        let mut unreachable = None;
        for (node, _) in nodes {
            let made = async {
                let digest = node.upload_circuit(backend, circuit.clone()).await?;
                node.set_up(digest).await
            };
            match made.await {
                Ok(made) if made.verifying_key.is_empty() => return Ok(None),
                Ok(made) => return Ok(Some(made.verifying_key)),
                Err(NodeError::BadCircuit { reason }) => return Err(EngineError::InvalidCircuit(reason)),
                Err(error) => unreachable = Some(error),
            }
        }
        Err(unreachable.map_or_else(
            || EngineError::NoProver("no prover node can check the circuit; configure one with --prover".into()),
            |error| EngineError::NoProver(format!("no prover node can check the circuit: {error}")),
        ))
    }

    /// The verifying key of a stored circuit, where this build makes keys.
    pub(crate) async fn set_up_here(self: &Arc<Self>, circuit: BlobDigest) -> Result<Option<Bytes>, EngineError> {
        let Some(setup) = self.setup.clone() else { return Ok(None) };
        let circuit = self.store.blob(circuit).await?;
        let made = blocking(move || setup.set_up(&circuit)).await?;
        made.map(|made| Some(made.verifying_key)).map_err(|error| EngineError::InvalidCircuit(error.to_string()))
    }
}
