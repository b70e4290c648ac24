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
mod source;
mod sse;

pub use chain::Registered;
pub use download::Download;
pub use error::ClientError;
pub use files::PathContent;
pub use follow::{Follow, FollowAll, OwnerUpdate, Update, Whose};

use crate::{
    CallView, ControllerVersionList, DeliveryList, DeliveryView, EventList, ExecuteRequest, ExecutionView, HealthView,
    KeyList, KeyRequest, KeyView, NewKeyView, NewWebhookView, OwnerList, OwnerRequest, OwnerView, ProgramList,
    ProgramView, ProofView, ProverList, ProverRequest, ProverView, RollbackRequest, ServiceInfo, StorageView, TaskList,
    TaskRequest, TaskState, TaskView, VerifyRequest, VerifyView, VerifyingKeyView, WebhookList, WebhookRequest,
    WebhookView, WhoamiView, WitnessView,
};
use bytes::Bytes;
use coprocessor_types::{Backend, OwnerId, ProgramId, TaskId};
use exchange::{Exchange, Patience};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
    multipart::{Form, Part},
};
use secrecy::SecretString;
use std::time::{Duration, Instant};

/// How often a request with an idempotency key is sent again when its answer was lost.
const RESENDS: u32 = 3;

/// How long one request waits for a task to finish.
const WAIT_SLICE: Duration = Duration::from_secs(30);

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

    /// Asks for a proof. With an idempotency key, a request whose answer was lost on the way is sent again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_task(
        &self,
        program: &ProgramId,
        request: &TaskRequest,
        idempotency_key: Option<&str>,
    ) -> Result<TaskView, ClientError> {
        let path = ["programs", &program.to_string(), "tasks"];
        let mut resends = 0;
        loop {
            let mut post = self.exchange.request(Method::POST, &path, Patience::Answer)?.json(request);
            if let Some(key) = idempotency_key {
                post = post.header("idempotency-key", key);
            }
            let answer = match self.exchange.send(post).await {
                Ok(response) => exchange::json(response).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(ClientError::Interrupted { .. }) if idempotency_key.is_some() && resends < RESENDS => {
                    resends += 1;
                    tokio::time::sleep(Duration::from_millis(250) * resends).await;
                }
                answer => return answer,
            }
        }
    }

    /// A page of tasks, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn tasks(&self, filter: &TaskFilter, page: &Page) -> Result<TaskList, ClientError> {
        let mut query = page.query();
        query.extend(filter.program.map(|program| ("program", program.to_string())));
        query.extend(filter.state.map(|state| ("state", state.as_str().to_owned())));
        self.exchange.get(&["tasks"], &query).await
    }

    /// The recording of a run of a task's controller: of the stage `execute` or `deliver`, or the last one made.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `no_recording` where there is none.
    pub async fn recording(&self, task: &TaskId, stage: Option<&str>) -> Result<Download, ClientError> {
        let query: Vec<_> = stage.map(|stage| ("stage", stage.to_owned())).into_iter().collect();
        self.exchange.download(&["tasks", &task.to_string(), "recording"], &query).await
    }

    /// A task.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn task(&self, task: &TaskId) -> Result<TaskView, ClientError> {
        self.exchange.get(&["tasks", &task.to_string()], &[]).await
    }

    /// Waits until a task has finished, or `patience` is over: the task as it is then. Asks again over lost connections.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wait(&self, task: &TaskId, patience: Duration) -> Result<TaskView, ClientError> {
        let began = Instant::now();
        loop {
            let left = patience.saturating_sub(began.elapsed());
            let seconds = left.min(WAIT_SLICE).as_secs_f64().ceil();
            let asked = self.exchange.get(&["tasks", &task.to_string()], &[("wait", seconds.to_string())]).await;
            match asked {
                Err(error) if ClientError::may_pass(&error) && !left.is_zero() => {
                    tokio::time::sleep(left.min(Duration::from_secs(1))).await;
                }
                Ok(task) if !TaskView::is_finished(&task) && !left.is_zero() => {}
                answer => return answer,
            }
        }
    }

    /// What has happened to a task so far: events after sequence number `after`, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(
        &self,
        task: &TaskId,
        after: Option<u64>,
        limit: Option<u32>,
    ) -> Result<EventList, ClientError> {
        let mut query = Vec::new();
        query.extend(after.map(|after| ("after", after.to_string())));
        query.extend(limit.map(|limit| ("limit", limit.to_string())));
        self.exchange.get(&["tasks", &task.to_string(), "events"], &query).await
    }

    /// Follows a task's events as they happen, from after sequence number `after`, over lost connections, to its end.
    pub fn follow(&self, task: TaskId, after: Option<u64>) -> Follow {
        Follow::new(self.clone(), task, after)
    }

    /// What has happened to all tasks of an owner: events after sequence number `after`, oldest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn all_events(
        &self,
        whose: &Whose,
        after: Option<u64>,
        limit: Option<u32>,
    ) -> Result<EventList, ClientError> {
        let mut query = whose.query();
        query.extend(after.map(|after| ("after", after.to_string())));
        query.extend(limit.map(|limit| ("limit", limit.to_string())));
        self.exchange.get(&["events"], &query).await
    }

    /// Follows all tasks of an owner as things happen, over lost connections: from after sequence number `after`, or from now on.
    pub fn follow_all(&self, whose: &Whose, after: Option<u64>) -> FollowAll {
        FollowAll::new(self.clone(), whose, after)
    }

    /// A task's verified proof and all that a verifier needs.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `no_proof` while there is none.
    pub async fn proof(&self, task: &TaskId) -> Result<ProofView, ClientError> {
        self.exchange.get(&["tasks", &task.to_string(), "proof"], &[]).await
    }

    /// A task's proof alone, in its backend's encoding.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `no_proof` while there is none.
    pub async fn proof_bytes(&self, task: &TaskId) -> Result<Download, ClientError> {
        self.exchange.download(&["tasks", &task.to_string(), "proof"], &[]).await
    }

    /// Has a failed task tried again.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `task_not_retryable`.
    pub async fn retry(&self, task: &TaskId) -> Result<TaskView, ClientError> {
        let path = ["tasks", &task.to_string(), "retry"];
        exchange::json(self.exchange.send(self.exchange.request(Method::POST, &path, Patience::Answer)?).await?).await
    }

    /// Cancels a task.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `task_finished`.
    pub async fn cancel(&self, task: &TaskId) -> Result<TaskView, ClientError> {
        let path = ["tasks", &task.to_string()];
        exchange::json(self.exchange.send(self.exchange.request(Method::DELETE, &path, Patience::Answer)?).await?).await
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
    /// See [`ClientError`]; so for every method below. Keys, other owners and storage take the scope `admin`: problem
    /// `forbidden`.
    pub async fn storage(&self) -> Result<StorageView, ClientError> {
        self.exchange.get(&["storage"], &[]).await
    }

    /// Who the service takes this client for.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn whoami(&self) -> Result<WhoamiView, ClientError> {
        self.exchange.get(&["whoami"], &[]).await
    }

    /// Makes a key. Its secret is in this answer and nowhere else.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_key(&self, request: &KeyRequest) -> Result<NewKeyView, ClientError> {
        self.exchange.post(&["keys"], request).await
    }

    /// A page of keys, newest first; those of one owner, or all that may be seen.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn keys(&self, owner: Option<&OwnerId>, page: &Page) -> Result<KeyList, ClientError> {
        let mut query = page.query();
        query.extend(owner.map(|owner| ("owner", owner.to_string())));
        self.exchange.get(&["keys"], &query).await
    }

    /// Revokes a key, from now on. Doing so again is no error.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_key`.
    pub async fn revoke_key(&self, key: &str) -> Result<KeyView, ClientError> {
        let request = self.exchange.request(Method::DELETE, &["keys", key], Patience::Answer)?;
        exchange::json(self.exchange.send(request).await?).await
    }

    /// A page of the owners for whom something was set, by name.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn owners(&self, page: &Page) -> Result<OwnerList, ClientError> {
        self.exchange.get(&["owners"], &page.query()).await
    }

    /// An owner.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn owner(&self, owner: &OwnerId) -> Result<OwnerView, ClientError> {
        self.exchange.get(&["owners", owner.as_str()], &[]).await
    }

    /// Sets an owner's share and quotas; what the request leaves out goes back to its default.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_owner(&self, owner: &OwnerId, request: &OwnerRequest) -> Result<OwnerView, ClientError> {
        self.exchange.put(&["owners", owner.as_str()], request).await
    }

    /// Registers a webhook. Its secret is in this answer and nowhere else.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn add_webhook(&self, request: &WebhookRequest) -> Result<NewWebhookView, ClientError> {
        self.exchange.post(&["webhooks"], request).await
    }

    /// A page of webhooks, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn webhooks(&self, page: &Page) -> Result<WebhookList, ClientError> {
        self.exchange.get(&["webhooks"], &page.query()).await
    }

    /// A webhook.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_webhook`; so for the methods below.
    pub async fn webhook(&self, webhook: &str) -> Result<WebhookView, ClientError> {
        self.exchange.get(&["webhooks", webhook], &[]).await
    }

    /// Forgets a webhook, with its deliveries.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_webhook(&self, webhook: &str) -> Result<(), ClientError> {
        self.exchange.delete(&["webhooks", webhook]).await
    }

    /// A page of what was sent to a webhook or is to be, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn deliveries(&self, webhook: &str, page: &Page) -> Result<DeliveryList, ClientError> {
        self.exchange.get(&["webhooks", webhook, "deliveries"], &page.query()).await
    }

    /// Has something sent to a webhook once more, whatever became of it.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_delivery`.
    pub async fn redeliver(&self, webhook: &str, delivery: &str) -> Result<DeliveryView, ClientError> {
        let path = ["webhooks", webhook, "deliveries", delivery, "redeliver"];
        exchange::json(self.exchange.send(self.exchange.request(Method::POST, &path, Patience::Answer)?).await?).await
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
