//! Deploying programs, removing programs.

use bytes::Bytes;
use coprocessor_prover::NodeError;
use coprocessor_sandbox::Role;
use coprocessor_store::{DeleteProgram, InsertProgram, NewProgram, Program, Scope};
use coprocessor_types::{Backend, BlobDigest, OwnerId, ProgramId};
use std::sync::Arc;

use crate::{Caller, Engine, EngineError, Inner, ProverSource, controllers::blocking, volumes::NoPages};

/// Longest name of a program, in bytes.
const MAX_NAME: usize = 128;

/// A program to deploy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deployment {
    /// A label for people.
    pub name: String,
    /// Whether others may see it, read its files and ask for its proofs.
    pub public: bool,
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
    /// Checks a program's parts, sets its circuit up where that can be done now, and registers it as the caller's owner's.
    ///
    /// # Errors
    /// A controller or circuit that is none; a program of that circuit and nonce that is another's, or has another
    /// controller, volume size or visibility; as many programs as the owner may have; a full store.
    pub async fn deploy(&self, caller: &Caller, deployment: Deployment) -> Result<Deployed, EngineError> {
        caller.require(Scope::Deploy)?;
        let inner = &self.inner;
        inner.check_room()?;
        let volume_size = self.check_settings(&deployment)?;
        let asked_size = deployment.volume_size;
        let quota = self.limits(&caller.owner).await?.programs;
        let id = ProgramId::derive(&deployment.circuit, deployment.nonce);
        if let Some(program) = inner.store.program(id).await? {
            // Said before any work is done, and looked at again when it is written.
            is_callers(caller, &program)?;
        }
        inner.check_controller(deployment.controller.clone(), Role::Program).await?;
        let key = inner.check_circuit(&caller.owner, deployment.backend, &deployment.circuit).await?;
        let controller = inner.store.put_blob(deployment.controller).await?;
        let circuit = inner.store.put_blob(deployment.circuit).await?;
        let verifying_key = match key {
            Some(key) => Some(inner.store.put_blob(key).await?),
            None => None,
        };
        let program = NewProgram {
            id,
            owner: caller.owner.clone(),
            key: caller.key,
            name: deployment.name,
            public: deployment.public,
            backend: deployment.backend,
            controller,
            circuit,
            verifying_key,
            nonce: deployment.nonce,
            volume_size,
        };
        let asked = program.clone();
        match inner.store.insert_program(program, quota).await? {
            InsertProgram::Inserted(program) => {
                tracing::info!(program = %id, name = program.name, owner = %program.owner, backend = %program.backend, "program deployed");
                Ok(Deployed::New(program))
            }
            InsertProgram::Exists(program) => {
                is_same(caller, &asked, asked_size, &program).map(|()| Deployed::Same(program))
            }
            InsertProgram::QuotaFull => Err(EngineError::ProgramQuota { limit: quota }),
        }
    }

    /// Removes a program with its volume and tasks.
    ///
    /// # Errors
    /// Unfinished tasks, of others too where it is public; a program that is unknown or not the caller's.
    pub async fn delete_program(&self, caller: &Caller, id: ProgramId) -> Result<(), EngineError> {
        self.owned(caller, Scope::Deploy, id).await?;
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
        let size = deployment.volume_size.unwrap_or(config.volume_size);
        if size > config.max_volume_size {
            let message = format!("a volume of {size} bytes is over the limit of {}", config.max_volume_size);
            return Err(EngineError::InvalidRequest(message));
        }
        coprocessor_vfs::Volume::format(NoPages, size)?;
        Ok(size)
    }
}

/// Refuses a program that is there and another's. Its id follows from circuit and nonce, so that there is one cannot be
/// hidden; whose it is can.
fn is_callers(caller: &Caller, there: &Program) -> Result<(), EngineError> {
    if caller.owns(&there.owner) {
        Ok(())
    } else if caller.sees(there) {
        Err(EngineError::ProgramExists(there.id, "owner"))
    } else {
        Err(EngineError::NonceTaken { nonce: there.nonce })
    }
}

/// Whether the program that is there is the one that was to be deployed. Its volume may have another size by now than
/// programs are given unasked.
fn is_same(caller: &Caller, asked: &NewProgram, asked_size: Option<u64>, there: &Program) -> Result<(), EngineError> {
    is_callers(caller, there)?;
    let other = if there.controller != asked.controller {
        "controller"
    } else if asked_size.is_some_and(|size| there.volume_size != size) {
        "volume size"
    } else if there.public != asked.public {
        "visibility"
    } else {
        return Ok(());
    };
    Err(EngineError::ProgramExists(there.id, other))
}

impl Inner {
    /// Checks a circuit, and makes its verifying key where that can be done now: in this process, else by a real prover
    /// node that serves the owner, else the mock prover only checks it.
    async fn check_circuit(
        self: &Arc<Self>,
        owner: &OwnerId,
        backend: Backend,
        circuit: &Bytes,
    ) -> Result<Option<Bytes>, EngineError> {
        if let Some(setup) = self.setups.get(&backend) {
            let (setup, circuit) = (Arc::clone(setup), circuit.clone());
            let made = blocking(move || setup.set_up(&circuit)).await?;
            return made.map(|made| Some(made.verifying_key)).map_err(|e| EngineError::InvalidCircuit(e.to_string()));
        }
        let mut nodes = self.provers.nodes(owner);
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
    pub(crate) async fn set_up_here(
        self: &Arc<Self>,
        backend: Backend,
        circuit: BlobDigest,
    ) -> Result<Option<Bytes>, EngineError> {
        let Some(setup) = self.setups.get(&backend).cloned() else { return Ok(None) };
        let circuit = self.store.blob(circuit).await?;
        let made = blocking(move || setup.set_up(&circuit)).await?;
        made.map(|made| Some(made.verifying_key)).map_err(|error| EngineError::InvalidCircuit(error.to_string()))
    }
}
