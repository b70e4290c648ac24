//! A coprocessor with a directory of its own, and what tests ask of it over HTTP.

use crate::process::{PATIENCE, Process, SECRET, coprocessor};
use coprocessor_api::{
    EventView, Problem, TaskView,
    client::{Client, Follow, Update},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::CONTENT_TYPE};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tempfile::TempDir;

pub(crate) struct Service {
    // Before the directory, which is removed last.
    process: Option<Process>,
    directory: TempDir,
    http: reqwest::Client,
    environment: Vec<(String, String)>,
    key: Option<String>,
}

impl Service {
    /// Starts a service with an empty directory. Volumes have 4 MiB unless the flags say otherwise.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags)
    }

    /// Starts a service on what lies in `directory/data`.
    pub(crate) fn start_in(directory: TempDir, flags: &[&str]) -> Self {
        let mut service = Self::stopped(directory);
        service.restart(flags);
        service
    }

    /// A service that does not run yet.
    pub(crate) fn stopped(directory: TempDir) -> Self {
        // The client needs a TLS provider even for plain HTTP; making a typed one sets it.
        Client::new("http://127.0.0.1:1").unwrap();
        // A service that refuses a request before its body closes the connection; the next request must not meet that.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().tls_certs_only([]).timeout(PATIENCE);
        let http = http.build().unwrap();
        Self { process: None, directory, http, environment: Vec::new(), key: None }
    }

    /// Starts a service with an empty directory, these variables in its environment now and whenever it is started again.
    pub(crate) fn start_with(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut service = Self::stopped(tempfile::tempdir().unwrap());
        service.environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        service.restart(flags);
        service
    }

    /// Asks with this key from now on.
    pub(crate) fn act_as(&mut self, key: &str) {
        self.key = Some(key.to_owned());
    }

    /// Asks without a key from now on.
    pub(crate) fn act_as_nobody(&mut self) {
        self.key = None;
    }

    /// Makes a key for an owner with the key it acts as, and answers it.
    pub(crate) async fn key_for(&self, owner: &str, scopes: &[&str]) -> String {
        let made = json_of(self.post("/api/v1/keys", &json!({"owner": owner, "scopes": scopes})), StatusCode::CREATED);
        made.await["secret"].as_str().unwrap().to_owned()
    }

    /// Starts it again on the same directory, after it was killed or stopped.
    pub(crate) fn restart(&mut self, flags: &[&str]) {
        self.restart_with_secret(flags, SECRET);
    }

    /// As [`Self::restart`], with another secret for its nodes.
    pub(crate) fn restart_with_secret(&mut self, flags: &[&str], secret: &str) {
        assert!(self.process.is_none(), "it still runs");
        let mut command = coprocessor();
        command.arg("--data-dir").arg(self.directory.path().join("data")).args(flags);
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !flags.contains(&"--volume-mib") {
            command.args(["--volume-mib", "4"]);
        }
        command.env("VALENCE_PROVER_SECRET", secret);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start(command, self.directory.path(), "coprocessor"));
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// SIGTERM; it must end as it should.
    pub(crate) fn stop(&mut self) {
        let process = self.process.take().expect("it runs");
        let status = process.terminate();
        assert!(status.success(), "{status}");
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn log(&self) -> String {
        self.process.as_ref().expect("it runs").log()
    }

    /// The typed client.
    pub(crate) fn client(&self) -> Client {
        let client = Client::new(&format!("http://{}", self.address())).unwrap();
        match &self.key {
            Some(key) => client.with_key_in_clear(&SecretString::from(key.as_str())).unwrap(),
            None => client,
        }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.process.as_ref().expect("it runs").address
    }

    /// A request of any shape.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_as(self.key.as_deref(), method, path)
    }

    /// A request with another key, or without one.
    pub(crate) fn request_as(&self, key: Option<&str>, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("http://{}{path}", self.address()));
        match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        json_of(self.request(Method::GET, path), StatusCode::OK).await
    }

    pub(crate) async fn bytes(&self, path: &str) -> Vec<u8> {
        let response = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.bytes().await.unwrap().to_vec()
    }

    /// All that a caller can see of what is kept.
    pub(crate) async fn everything(&self) -> Value {
        let programs = self.get("/api/v1/programs?limit=1000").await;
        let mut volumes = Vec::new();
        for program in programs["items"].as_array().unwrap() {
            let id = program["id"].as_str().unwrap();
            let image = self.bytes(&format!("/api/v1/programs/{id}/image")).await;
            volumes.push(coprocessor_types::BlobDigest::of(&image).to_string());
        }
        let mut provers = self.get("/api/v1/provers").await;
        for prover in provers["items"].as_array_mut().unwrap() {
            // How busy it is changes by itself.
            *prover = prover["address"].clone();
        }
        json!({
            "programs": programs,
            "tasks": self.get("/api/v1/tasks?limit=1000").await,
            "volumes": volumes,
            "provers": provers,
            "root": self.get("/api/v1/roots/current").await,
        })
    }

    /// Sends what must be refused with `status` and `code`, and checks that it changed nothing.
    pub(crate) async fn refuses(&self, what: &str, request: RequestBuilder, status: u16, code: &str) -> Problem {
        let before = self.everything().await;
        let problem = problem_of(what, request, status, code).await;
        assert_eq!(self.everything().await, before, "{what}: something changed");
        problem
    }

    /// Deploys, and answers the program's id.
    pub(crate) async fn deploy(&self, controller: &[u8], circuit: &[u8]) -> String {
        let body = deployment(controller, circuit);
        let program = json_of(self.post("/api/v1/programs", &body), StatusCode::CREATED).await;
        program["id"].as_str().unwrap().to_owned()
    }

    /// As [`Self::deploy`], beside others of the same circuit.
    pub(crate) async fn deploy_beside(&self, nonce: u64, controller: &[u8], circuit: &[u8]) -> String {
        let mut body = deployment(controller, circuit);
        body["nonce"] = nonce.into();
        let program = json_of(self.post("/api/v1/programs", &body), StatusCode::CREATED).await;
        program["id"].as_str().unwrap().to_owned()
    }

    /// Asks for a mock proof, and answers the task's id.
    pub(crate) async fn submit(&self, program: &str, args: Value) -> String {
        let task = json_of(self.prove(program, args), StatusCode::ACCEPTED).await;
        task["id"].as_str().unwrap().to_owned()
    }

    /// The request for a mock proof.
    pub(crate) fn prove(&self, program: &str, args: Value) -> RequestBuilder {
        self.post(&format!("/api/v1/programs/{program}/tasks"), &json!({"args": args, "kind": "mock"}))
    }

    pub(crate) async fn task(&self, task: &str) -> TaskView {
        serde_json::from_value(self.get(&format!("/api/v1/tasks/{task}")).await).unwrap()
    }

    pub(crate) async fn events(&self, task: &str) -> Vec<EventView> {
        let events = self.get(&format!("/api/v1/tasks/{task}/events?limit=1000")).await;
        serde_json::from_value(events["items"].clone()).unwrap()
    }

    /// Follows a task to its end.
    pub(crate) async fn finished(&self, task: &str) -> TaskView {
        let mut follow = self.follow(task);
        within(async { while follow.next().await.unwrap().is_some() {} }, || format!("task {task} ends")).await;
        let task = self.task(task).await;
        assert!(task.state.is_finished(), "{task:?}");
        task
    }

    /// Follows a task to its delivery.
    pub(crate) async fn delivered(&self, task: &str) -> TaskView {
        let task = self.finished(task).await;
        assert_eq!(task.state, coprocessor_api::TaskState::Delivered, "{:?}; {}", task.failure, self.log());
        task
    }

    /// Waits until a task has an event that fits, and answers it.
    pub(crate) async fn event(&self, task: &str, fits: impl Fn(&EventView) -> bool) -> EventView {
        let mut follow = self.follow(task);
        let wanted = async {
            while let Some(update) = follow.next().await.unwrap() {
                if let Update::Event(event) = update
                    && fits(&event)
                {
                    return event;
                }
            }
            panic!("task {task} ended without it: {:?}", self.events(task).await);
        };
        within(wanted, || format!("an event of task {task}")).await
    }

    fn follow(&self, task: &str) -> Follow {
        self.client().follow(task.parse().unwrap(), None)
    }

    /// A file of a program's volume.
    pub(crate) async fn file(&self, program: &str, path: &str) -> Vec<u8> {
        self.bytes(&format!("/api/v1/programs/{program}/files/{path}")).await
    }

    /// How often the program of [`crate::guests::counter`] was delivered to, by its own account.
    pub(crate) async fn count(&self, program: &str) -> u32 {
        let file = self.file(program, crate::guests::COUNT_FILE).await;
        u32::from_le_bytes(file.try_into().unwrap())
    }
}

/// What a deployment looks like as JSON.
pub(crate) fn deployment(controller: &[u8], circuit: &[u8]) -> Value {
    json!({
        "controller": coprocessor_api::Base64(controller.to_vec()),
        "circuit": coprocessor_api::Base64(circuit.to_vec()),
    })
}

/// The JSON of an answer that must have this status.
pub(crate) async fn json_of(request: RequestBuilder, status: StatusCode) -> Value {
    let response = request.send().await.unwrap();
    let (got, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(got, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Sends what must be refused with `status` and `code`.
pub(crate) async fn problem_of(what: &str, request: RequestBuilder, status: u16, code: &str) -> Problem {
    check_problem(what, request.send().await.unwrap(), status, code).await
}

async fn check_problem(what: &str, response: Response, status: u16, code: &str) -> Problem {
    let got = response.status();
    let media = response.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    assert_eq!(got.as_u16(), status, "{what}: {text}");
    assert_eq!(media.as_deref(), Some("application/problem+json"), "{what}: {text}");
    let problem: Problem = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
    assert_eq!((problem.status, problem.code.as_str()), (status, code), "{what}: {text}");
    assert_eq!(problem.kind, format!("urn:coprocessor:problem:{code}"), "{what}");
    assert!(!problem.title.is_empty() && !problem.detail.is_empty(), "{what}: {text}");
    problem
}

/// Waits for something that must come; `what` says what did not.
pub(crate) async fn within<T>(wait: impl Future<Output = T>, what: impl Fn() -> String) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {}", what()))
}

/// Asks again until the answer is yes, where there is no event to follow.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let asked = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(asked, || what.to_owned()).await;
}
