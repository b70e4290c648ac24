//! A typed client of `/api/v1`.
//!
//! ```no_run
//! # async fn example() -> Result<(), coprocessor_api::client::ClientError> {
//! use coprocessor_api::{TaskRequest, client::{Client, Update}};
//!
//! let client = Client::new("http://127.0.0.1:37281")?;
//! let program = "…64 hexadecimal digits…".parse().expect("an id");
//! let task = client.create_task(&program, &TaskRequest::default(), Some("order-17")).await?;
//! let mut follow = client.follow(task.id.parse().expect("the service hands out ids"), None);
//! while let Some(update) = follow.next().await? {
//!     if let Update::Event(event) = update {
//!         assert_eq!(event.task, task.id);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod chain;
mod download;
mod error;
mod exchange;
mod files;
mod follow;
mod people;
mod source;
mod sse;
mod tasks;

pub use chain::Registered;
pub use download::Download;
pub use error::ClientError;
pub use files::PathContent;
pub use follow::{Follow, FollowAll, OwnerUpdate, Update, Whose};

use crate::{
    CallView, ControllerVersionList, ExecuteRequest, ExecutionView, HealthView, ProgramList, ProgramView, ProverList,
    ProverRequest, ProverView, RollbackRequest, ServiceInfo, StorageView, TaskState, VerifyRequest, VerifyView,
    VerifyingKeyView, WitnessView,
};
use bytes::Bytes;
use coprocessor_types::{Backend, ProgramId};
use exchange::{Exchange, Patience};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
    multipart::{Form, Part},
};
use secrecy::SecretString;

/// A coprocessor at one address. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    exchange: Exchange,
}

/// A program to deploy.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    /// A label for people; up to 128 characters.
    pub name: String,
    /// The controller: a WebAssembly module.
    pub controller: Bytes,
    /// The circuit.
    pub circuit: Bytes,
    /// What proves it; the service's default is SP1.
    pub backend: Option<Backend>,
    /// Tells apart programs of one circuit.
    pub nonce: u64,
    /// Size of its volume in bytes.
    pub volume_size: Option<u64>,
    /// Whether others may see it and ask for its proofs.
    pub public: bool,
}

/// What a deployment came to.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The program.
    pub program: ProgramView,
    /// False where the service had this very program already.
    pub created: bool,
}

/// Which part of a list to get.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// Entries at most; the service's default and upper bound apply.
    pub limit: Option<u32>,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Only of this program.
    pub program: Option<ProgramId>,
    /// Only in this state.
    pub state: Option<TaskState>,
}

impl Client {
    /// A client of the coprocessor at `base_url`, such as `http://127.0.0.1:37281`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`], or [`ClientError::Tls`] where `https` is asked for and the system has no roots.
    pub fn new(base_url: &str) -> Result<Self, ClientError> {
        Ok(Self { exchange: Exchange::new(base_url)? })
    }

    /// Sends `key` along with every request, to a service that asks for keys.
    ///
    /// # Errors
    /// [`ClientError::KeyInClear`] where the address is neither `https` nor loopback; [`ClientError::BadKey`].
    pub fn with_key(mut self, key: &SecretString) -> Result<Self, ClientError> {
        self.exchange.authorize(key, false)?;
        Ok(self)
    }

    /// As [`Self::with_key`], also where everybody on the way can read it.
    ///
    /// # Errors
    /// [`ClientError::BadKey`].
    pub fn with_key_in_clear(mut self, key: &SecretString) -> Result<Self, ClientError> {
        self.exchange.authorize(key, true)?;
        Ok(self)
    }

    /// The address, without a slash at the end.
    pub fn base_url(&self) -> &str {
        self.exchange.base_url()
    }

    /// The service's name, version and identity.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every method below.
    pub async fn info(&self) -> Result<ServiceInfo, ClientError> {
        self.exchange.get(&[], &[]).await
    }

    /// Whether the process answers at all.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn live(&self) -> Result<(), ClientError> {
        self.exchange.live().await
    }

    /// Whether the service can work (first), and what it says of itself.
    ///
    /// # Errors
    /// See [`ClientError`]. A service that answers it is not ready is no error.
    pub async fn ready(&self) -> Result<(bool, HealthView), ClientError> {
        self.exchange.ready().await
    }

    /// Deploys a program. The same deployment again answers the same program.
    ///
    /// # Errors
    /// See [`ClientError`]; problems `invalid_controller`, `invalid_circuit`, `program_exists`, `too_large`.
    pub async fn deploy(&self, deployment: Deployment) -> Result<Deployed, ClientError> {
        let request = self.exchange.request(Method::POST, &["programs"], Patience::Work)?;
        let response = self.exchange.send(request.multipart(deployment.into_form())).await?;
        let created = response.status() == StatusCode::CREATED;
        Ok(Deployed { program: exchange::json(response).await?, created })
    }

    /// A page of programs, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn programs(&self, page: &Page) -> Result<ProgramList, ClientError> {
        self.exchange.get(&["programs"], &page.query()).await
    }

    /// A program.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn program(&self, program: &ProgramId) -> Result<ProgramView, ClientError> {
        self.exchange.get(&["programs", &program.to_string()], &[]).await
    }

    /// A program's controller: the current one, or the version with that number.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_version` for one that is not kept.
    pub async fn controller(&self, program: &ProgramId, version: Option<u64>) -> Result<Download, ClientError> {
        let path = ["programs", &program.to_string(), "controller"];
        let query: Vec<_> = version.map(|version| ("version", version.to_string())).into_iter().collect();
        self.exchange.download(&path, &query).await
    }

    /// A program's circuit.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn circuit(&self, program: &ProgramId) -> Result<Download, ClientError> {
        self.exchange.download(&["programs", &program.to_string(), "circuit"], &[]).await
    }

    /// A program's verifying key.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `no_verifying_key` while it is not known.
    pub async fn verifying_key(&self, program: &ProgramId) -> Result<VerifyingKeyView, ClientError> {
        self.exchange.get(&["programs", &program.to_string(), "vk"], &[]).await
    }

    /// Replaces a program's controller. Tasks admitted before keep the one they have.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_controller(&self, program: &ProgramId, controller: Bytes) -> Result<ProgramView, ClientError> {
        let path = ["programs", &program.to_string(), "controller"];
        let request = self.exchange.request(Method::PUT, &path, Patience::Work)?;
        exchange::json(self.exchange.send(octets(request, controller)).await?).await
    }

    /// A page of a program's controllers, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn controller_versions(
        &self,
        program: &ProgramId,
        page: &Page,
    ) -> Result<ControllerVersionList, ClientError> {
        self.exchange.get(&["programs", &program.to_string(), "controller", "versions"], &page.query()).await
    }

    /// Goes back to a version of a program's controller. Tasks admitted before keep the one they have. Doing so again changes
    /// nothing.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_version` for one that is not kept.
    pub async fn rollback_controller(
        &self,
        program: &ProgramId,
        request: &RollbackRequest,
    ) -> Result<ProgramView, ClientError> {
        self.exchange.post(&["programs", &program.to_string(), "controller", "rollback"], request).await
    }

    /// Deletes a program with its volume.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `program_busy` while tasks are unfinished.
    pub async fn delete_program(&self, program: &ProgramId) -> Result<(), ClientError> {
        self.exchange.delete(&["programs", &program.to_string()]).await
    }

    /// Runs a controller's `get_witnesses` without a task.
    ///
    /// # Errors
    /// See [`ClientError`]; a failing guest is a problem with the guest's code and log.
    pub async fn witness(&self, program: &ProgramId, request: &ExecuteRequest) -> Result<WitnessView, ClientError> {
        self.exchange.post(&["programs", &program.to_string(), "witness"], request).await
    }

    /// Runs the controller and the circuit, without a proof.
    ///
    /// # Errors
    /// See [`ClientError`]; a failing guest is a problem with the guest's code and log.
    pub async fn execute(&self, program: &ProgramId, request: &ExecuteRequest) -> Result<ExecutionView, ClientError> {
        self.exchange.post(&["programs", &program.to_string(), "execute"], request).await
    }

    /// Calls a controller's `entrypoint` with `args`. What it writes to its volume stays.
    ///
    /// # Errors
    /// See [`ClientError`]; a failing guest is a problem with the guest's code and log.
    pub async fn call(&self, program: &ProgramId, args: &serde_json::Value) -> Result<CallView, ClientError> {
        self.exchange.post(&["programs", &program.to_string(), "call"], args).await
    }

    /// As [`Self::call`], and records the run.
    ///
    /// # Errors
    /// See [`ClientError`]; a failing guest is a problem with the guest's code, log and recording.
    pub async fn recorded_call(&self, program: &ProgramId, args: &serde_json::Value) -> Result<CallView, ClientError> {
        let path = ["programs", &program.to_string(), "call"];
        let request = self.exchange.request(Method::POST, &path, Patience::Work)?.query(&[("record", true)]);
        exchange::json(self.exchange.send(request.json(args)).await?).await
    }

    /// Has a proof verified by the service. A proof that does not hold is an answer, not an error.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `invalid_claim` for a request that lacks something.
    pub async fn verify(&self, request: &VerifyRequest) -> Result<VerifyView, ClientError> {
        self.exchange.post(&["verify"], request).await
    }

    /// The prover nodes that the service knows.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn provers(&self) -> Result<ProverList, ClientError> {
        self.exchange.get(&["provers"], &[]).await
    }

    /// Registers a prover node.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `invalid_prover`.
    pub async fn add_prover(&self, request: &ProverRequest) -> Result<ProverView, ClientError> {
        self.exchange.post(&["provers"], request).await
    }

    /// Takes a registered prover node away.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_prover`.
    pub async fn remove_prover(&self, address: &str) -> Result<(), ClientError> {
        let request = self.exchange.request(Method::DELETE, &["provers"], Patience::Answer)?;
        self.exchange.send(request.query(&[("address", address)])).await.map(drop)
    }

    /// How large the store is, and how long things are kept.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `forbidden` without the scope `admin`.
    pub async fn storage(&self) -> Result<StorageView, ClientError> {
        self.exchange.get(&["storage"], &[]).await
    }
}

impl Page {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        query.extend(self.cursor.clone().map(|cursor| ("cursor", cursor)));
        query.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        query
    }
}

impl Deployment {
    fn into_form(self) -> Form {
        let raw = |content: Bytes, name: &'static str| {
            let length = content.len() as u64;
            Part::stream_with_length(content, length).file_name(name)
        };
        let mut form = Form::new().text("name", self.name).text("nonce", self.nonce.to_string());
        if let Some(backend) = self.backend {
            form = form.text("backend", backend.as_str());
        }
        if let Some(size) = self.volume_size {
            form = form.text("volume_size", size.to_string());
        }
        if self.public {
            form = form.text("public", "true");
        }
        form.part("controller", raw(self.controller, "controller.wasm"))
            .part("circuit", raw(self.circuit, "circuit.elf"))
    }
}

fn octets(request: reqwest::RequestBuilder, content: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    request.header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")).body(content)
}
