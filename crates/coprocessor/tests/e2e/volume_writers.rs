//! Who writes to one volume at once: controllers that wait for the network in the middle of a run, clients of the API, images.
//!
//! A server answers the controllers when it is told to, so each test knows what came in between.

use crate::{
    cluster::Shared,
    guests::hello_circuit,
    service::{Service, json_of, within},
};
use axum::{Json, Router, extract::State, routing::get};
use coprocessor_api::TaskState;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

/// What [`appender`] appends to.
const LIST: &str = "list.txt";

/// A server that answers nobody before it is opened, and counts who asks.
struct Gate {
    address: String,
    open: watch::Sender<bool>,
    asked: watch::Receiver<u32>,
}

#[derive(Clone)]
struct Door {
    open: watch::Receiver<bool>,
    asked: watch::Sender<u32>,
}

impl Gate {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (open, (counter, asked)) = (watch::Sender::new(false), watch::channel(0));
        let door = Door { open: open.subscribe(), asked: counter };
        let app = Router::new().route("/", get(enter)).with_state(door);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, open, asked }
    }

    fn flags(&self) -> Vec<String> {
        let flags = ["--http-allow", "*", "--http-allow-private", &self.address, "--network-call-ms", "60000"];
        flags.into_iter().chain(["--controller-ms", "90000"]).map(str::to_owned).collect()
    }

    /// Waits until so many have asked.
    async fn reached(&self, times: u32) {
        let mut asked = self.asked.clone();
        let reached = asked.wait_for(|asked| *asked >= times);
        within(reached, || format!("{times} ask the server")).await.unwrap();
    }

    fn times(&self) -> u32 {
        *self.asked.borrow()
    }

    fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn enter(State(mut door): State<Door>) -> Json<Value> {
    door.asked.send_modify(|asked| *asked += 1);
    door.open.wait_for(|open| *open).await.unwrap();
    Json(json!("in"))
}

/// When a controller writes.
#[derive(Clone, Copy, PartialEq)]
enum Export {
    GetWitnesses,
    Entrypoint,
}

/// A controller for the hello circuit that reads a file in `export`, asks the server, and then writes the file with one character
/// more.
fn appender(gate: &Gate, export: Export, file: &str, mark: char) -> Vec<u8> {
    let request = format!(r#"{{\"url\":\"http://{}/\"}}"#, gate.address);
    let (path, asked, mark) = (file.len(), request.replace('\\', "").len(), u32::from(mark));
    let (in_witnesses, in_entrypoint) = match export {
        Export::GetWitnesses => ("(call $append)", ""),
        Export::Entrypoint => ("", "(call $append)"),
    };
    wat::parse_str(format!(
        r#"(module
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "get_storage_file" (func $get_file (param i32 i32 i32) (result i32)))
        (import "valence" "set_storage_file" (func $set_file (param i32 i32 i32 i32) (result i32)))
        (import "valence" "http" (func $http (param i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (data (i32.const 0) "[{{\"Data\":[87]}}]")
        (data (i32.const 64) "{file}")
        (data (i32.const 128) "{request}")
        (func $append (local $len i32)
          ;; MessagePack: nil where there is no file, else bin 8 with a length of one byte before the content.
          (local.set $len (call $get_file (i32.const 64) (i32.const {path}) (i32.const 4096)))
          (local.set $len (select (i32.sub (local.get $len) (i32.const 2)) (i32.const 0)
            (i32.gt_s (local.get $len) (i32.const 1))))
          (if (i32.lt_s (call $http (i32.const 128) (i32.const {asked}) (i32.const 16384)) (i32.const 0)) (then (unreachable)))
          (i32.store8 (i32.add (i32.const 4098) (local.get $len)) (i32.const {mark}))
          (if (call $set_file (i32.const 64) (i32.const {path}) (i32.const 4098) (i32.add (local.get $len) (i32.const 1)))
            (then (unreachable))))
        (func (export "get_witnesses") {in_witnesses} (drop (call $ret (i32.const 0) (i32.const 15))))
        (func (export "entrypoint") {in_entrypoint}))"#
    ))
    .unwrap()
}

/// One service that is alone, or two on one PostgreSQL.
struct Services {
    all: Vec<Service>,
    _shared: Option<Shared>,
}

impl Services {
    fn alone(gate: &Gate) -> Self {
        let flags = gate.flags();
        let service = Service::start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        Self { all: vec![service], _shared: None }
    }

    fn two(gate: &Gate) -> Option<Self> {
        let shared = Shared::start()?;
        let flags = gate.flags();
        let all = ["one", "two"].map(|worker| shared.service_with(worker, &flags)).into();
        Some(Self { all, _shared: Some(shared) })
    }

    fn first(&self) -> &Service {
        &self.all[0]
    }

    /// Whom clients ask: where there are two, it is by chance the one that has the controller or the other.
    fn last(&self) -> &Service {
        self.all.last().unwrap()
    }
}

async fn on_both(test: impl AsyncFn(Services, Gate)) {
    let gate = Gate::start().await;
    test(Services::alone(&gate), gate).await;
    let gate = Gate::start().await;
    if let Some(services) = Services::two(&gate) {
        test(services, gate).await;
    }
}

async fn write(service: &Service, program: &str, file: &str, content: &'static str) {
    let put = service.request(Method::PUT, &format!("/api/v1/programs/{program}/files/{file}")).body(content);
    assert_eq!(put.send().await.unwrap().status(), StatusCode::NO_CONTENT);
}

async fn delivered(services: &Services, tasks: &[String]) {
    for task in tasks {
        let task = services.first().finished(task).await;
        assert_eq!(task.state, TaskState::Delivered, "{:?}", task.failure);
    }
}

async fn an_api_write_in_the_middle(services: Services, gate: Gate, export: Export) {
    let program = services.first().deploy(&appender(&gate, export, LIST, 'c'), &hello_circuit()).await;
    write(services.first(), &program, LIST, "before").await;
    let task = services.first().submit(&program, json!({})).await;
    gate.reached(1).await;
    // The controller has read the file and waits. It does not hold who writes up.
    write(services.last(), &program, LIST, "client").await;
    write(services.last(), &program, "other.txt", "too").await;
    assert!(!services.first().task(&task).await.state.is_finished());
    gate.open();
    delivered(&services, &[task]).await;
    // It was run again, on what the client wrote.
    assert_eq!(services.last().file(&program, LIST).await, b"clientc");
    assert_eq!(services.last().file(&program, "other.txt").await, b"too");
    assert!(gate.times() >= 2, "{}", gate.times());
}

#[tokio::test]
async fn a_client_writes_while_get_witnesses_waits() {
    on_both(async |services, gate| an_api_write_in_the_middle(services, gate, Export::GetWitnesses).await).await;
}

#[tokio::test]
async fn a_client_writes_while_an_entrypoint_waits() {
    on_both(async |services, gate| an_api_write_in_the_middle(services, gate, Export::Entrypoint).await).await;
}

/// Of two runs that read the same, the later to end is made again.
#[tokio::test]
async fn two_controllers_that_write_the_same_file_at_once_both_do() {
    on_both(async |services, gate| {
        let appender = appender(&gate, Export::GetWitnesses, LIST, 'c');
        let program = services.first().deploy(&appender, &hello_circuit()).await;
        let mut tasks = Vec::new();
        for service in [services.first(), services.last()] {
            tasks.push(service.submit(&program, json!({})).await);
        }
        gate.reached(2).await;
        gate.open();
        delivered(&services, &tasks).await;
        assert_eq!(services.last().file(&program, LIST).await, b"cc");
        assert!(gate.times() >= 3, "{}", gate.times());
    })
    .await;
}

/// A controller that is replaced while a run of it waits writes its file, and the new one its own.
#[tokio::test]
async fn two_controllers_that_write_different_files_at_once_both_do() {
    on_both(async |services, gate| {
        let program =
            services.first().deploy(&appender(&gate, Export::GetWitnesses, "a.txt", 'a'), &hello_circuit()).await;
        write(services.first(), &program, "b.txt", "old").await;
        let mut tasks = vec![services.first().submit(&program, json!({})).await];
        let other = appender(&gate, Export::GetWitnesses, "b.txt", 'b');
        let path = format!("/api/v1/programs/{program}/controller");
        json_of(services.first().request(Method::PUT, &path).body(other), StatusCode::OK).await;
        tasks.push(services.last().submit(&program, json!({})).await);
        gate.reached(2).await;
        gate.open();
        delivered(&services, &tasks).await;
        assert_eq!(services.last().file(&program, "a.txt").await, b"a");
        assert_eq!(services.last().file(&program, "b.txt").await, b"oldb");
    })
    .await;
}

/// Calls take turns within a process; of two processes' the later to end is made again.
#[tokio::test]
async fn two_calls_at_once_both_write() {
    on_both(async |services, gate| {
        let program = services.first().deploy(&appender(&gate, Export::Entrypoint, LIST, 'c'), &hello_circuit()).await;
        let path = format!("/api/v1/programs/{program}/call");
        let call = async |service: &Service| json_of(service.post(&path, &json!({})), StatusCode::OK).await;
        let opening = async {
            gate.reached(services.all.len() as u32).await;
            write(services.last(), &program, "other.txt", "too").await;
            gate.open();
        };
        tokio::join!(call(services.first()), call(services.last()), opening);
        assert_eq!(services.last().file(&program, LIST).await, b"cc");
        assert_eq!(services.last().file(&program, "other.txt").await, b"too");
    })
    .await;
}

#[tokio::test]
async fn an_image_takes_the_volumes_place_while_a_controller_waits() {
    on_both(async |services, gate| {
        let program = services.first().deploy(&appender(&gate, Export::Entrypoint, LIST, 'c'), &hello_circuit()).await;
        let source =
            services.first().deploy_beside(1, &appender(&gate, Export::Entrypoint, LIST, 'x'), &hello_circuit()).await;
        write(services.first(), &program, LIST, "old").await;
        write(services.first(), &program, "gone.txt", "old").await;
        write(services.first(), &source, LIST, "image").await;
        write(services.first(), &source, "new.txt", "image").await;
        let image = services.first().bytes(&format!("/api/v1/programs/{source}/image")).await;
        let task = services.first().submit(&program, json!({})).await;
        gate.reached(1).await;
        let upload = services.last().request(Method::PUT, &format!("/api/v1/programs/{program}/image")).body(image);
        json_of(upload, StatusCode::OK).await;
        assert_eq!(services.last().file(&program, LIST).await, b"image");
        gate.open();
        delivered(&services, &[task]).await;
        assert_eq!(services.last().file(&program, LIST).await, b"imagec");
        assert_eq!(services.last().file(&program, "new.txt").await, b"image");
        let gone = services.last().request(Method::GET, &format!("/api/v1/programs/{program}/files/gone.txt"));
        assert_eq!(gone.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    })
    .await;
}
