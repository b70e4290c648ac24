//! The program itself: over a node whose recorded answers it gets as they are or changed, and over a real one.
#![allow(missing_docs)]

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use coprocessor_ethereum::{Address, Slot, U256, json::StateJson};
use coprocessor_test_servers::{EthereumNode, compile_solidity, skip_or_fail};
use serde_json::{Value, json};
use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

const SECRET: &str = "topsecretkey";
const HOLDER: Address = Address::repeat_byte(0x22);

/// The program, over one chain called `anvil`.
struct Service {
    process: Child,
    url: String,
    folder: TempDir,
}

impl Service {
    async fn start(node: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (rpc, port) = (folder.path().join("rpc.toml"), folder.path().join("port"));
        fs::write(&rpc, format!("[anvil]\nurl = '{node}'\nheaders = {{ x-key = '{SECRET}' }}\n")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_state-proof"))
            .args(["--listen", "127.0.0.1:0", "--log", "json", "--rpc-seconds", "5"])
            .arg("--rpc-file")
            .arg(&rpc)
            .arg("--port-file")
            .arg(&port)
            .env_remove("COPROCESSOR_RPC")
            .env("RUST_LOG", "debug")
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let given_up = Instant::now() + Duration::from_secs(60);
        let address = loop {
            match fs::read_to_string(&port) {
                Ok(address) => break address,
                Err(_) => assert!(Instant::now() < given_up, "it does not start"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self { process, url: format!("http://{}", address.trim()), folder }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = client().get(format!("{}{path}", self.url)).send().await.unwrap();
        let status = answer.status().as_u16();
        if status >= 400 && !path.starts_with("/health") {
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
        (status, answer.json().await.unwrap())
    }

    async fn refused(&self, path: &str) -> (u16, String) {
        let (status, problem) = self.get(path).await;
        assert!(!problem.to_string().contains(SECRET), "{problem}");
        assert_eq!(problem["status"], status);
        (status, problem["code"].as_str().unwrap_or_else(|| panic!("{problem}")).to_owned())
    }

    async fn state(&self, query: &str) -> StateJson {
        let (status, answer) = self.get(&format!("/api/v1/chains/anvil/state?{query}")).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_value(answer).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Changes the result of a method.
type Change = dyn Fn(&str, &mut Value) + Send + Sync;

/// A node that answers what a real one was recorded to, after `change` has had a look at it.
struct Recorded {
    answers: Vec<Value>,
    last_final: Mutex<usize>,
    change: Box<Change>,
    /// Answers still to be refused with 429.
    busy: AtomicUsize,
    asked: AtomicUsize,
}

impl Recorded {
    async fn start(change: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> (String, Arc<Self>) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../ethereum/tests/fixtures/anvil.json");
        let recorded: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let answers = recorded["answers"].as_array().unwrap()[..4].to_vec();
        let node = Arc::new(Self {
            answers,
            last_final: Mutex::new(2),
            change: Box::new(change),
            busy: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/{SECRET}", listener.local_addr().unwrap());
        let routes = Router::new().route(&format!("/{SECRET}"), post(Self::answer)).with_state(Arc::clone(&node));
        tokio::spawn(async { axum::serve(listener, routes).await });
        (url, node)
    }

    async fn answer(State(node): State<Arc<Self>>, Json(question): Json<Value>) -> impl IntoResponse {
        node.asked.fetch_add(1, Ordering::SeqCst);
        if node.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return (StatusCode::TOO_MANY_REQUESTS, Json(json!({})));
        }
        let (method, params) = (question["method"].as_str().unwrap(), &question["params"]);
        let last_final = *node.last_final.lock().unwrap();
        let block = |found: &dyn Fn(&Value) -> bool| {
            let answer = node.answers.iter().find(|answer| found(&answer["block"]));
            answer.map_or(Value::Null, |answer| answer["block"].clone())
        };
        let mut result = match method {
            "eth_chainId" => json!("0x7a69"),
            "eth_getBlockByNumber" if params[0] == "finalized" => node.answers[last_final]["block"].clone(),
            "eth_getBlockByNumber" if params[0] == "latest" => node.answers[3]["block"].clone(),
            "eth_getBlockByNumber" => block(&|block| block["number"] == params[0]),
            "eth_getBlockByHash" => block(&|block| block["hash"] == params[0]),
            _ => {
                let at = |answer: &&Value| answer["block"]["hash"] == params[2]["blockHash"];
                node.answers.iter().find(at).unwrap()["proof"].clone()
            }
        };
        (node.change)(method, &mut result);
        (StatusCode::OK, Json(json!({ "jsonrpc": "2.0", "id": 1, "result": result })))
    }

    /// What the second recorded block was asked for.
    fn query(&self) -> String {
        let proof = &self.answers[1]["proof"];
        let (address, slot) = (proof["address"].as_str().unwrap(), proof["storageProof"][0]["key"].as_str().unwrap());
        format!("address={address}&slots={slot}")
    }

    fn number(&self, index: usize) -> u64 {
        u64::from_str_radix(&self.answers[index]["block"]["number"].as_str().unwrap()[2..], 16).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_served_with_its_proofs_and_kept_by_block() {
    let (url, node) = Recorded::start(|_, _| ()).await;
    let service = Service::start(&url).await;
    let (query, number) = (node.query(), node.number(1));

    let state = service.state(&format!("{query}&block={number}")).await;
    state.check().unwrap();
    assert_eq!((state.chain.as_str(), state.chain_id, state.block.number), ("anvil", 31337, number));
    assert_eq!(state.storage[0].value, U256::from(5));

    let asked = node.asked.load(Ordering::SeqCst);
    let again = service.state(&format!("{query}&block={}", state.block.hash)).await;
    assert_eq!(again, state);
    assert_eq!(node.asked.load(Ordering::SeqCst), asked, "a final block that is known takes no question");

    let post =
        json!({ "address": state.address.to_string(), "slots": [state.storage[0].slot.to_string()], "block": number });
    let posted = client().post(format!("{}/api/v1/chains/anvil/state", service.url)).json(&post).send().await.unwrap();
    assert_eq!(posted.json::<StateJson>().await.unwrap(), state);

    let by_default = service.state(&query).await;
    assert_eq!(by_default.block.number, node.number(2), "the last final block");
    assert_eq!(by_default.storage[0].value, U256::from(42));
    assert_eq!(service.get("/api/v1/chains").await, (200, json!([{ "name": "anvil", "chain_id": 31337 }])));
    assert_eq!(service.get("/health/ready").await, (200, json!({ "status": "ok", "chains": { "anvil": "ok" } })));
    let live = client().get(format!("{}/health/live", service.url)).send().await.unwrap();
    assert_eq!(live.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_are_not_final_are_refused_unless_asked_for() {
    let (url, node) = Recorded::start(|_, _| ()).await;
    let service = Service::start(&url).await;
    *node.last_final.lock().unwrap() = 0;
    let path = format!("/api/v1/chains/anvil/state?{}&block=", node.query());
    let not_final = (422, "block_not_finalized".to_owned());
    let hash = node.answers[1]["block"]["hash"].as_str().unwrap();
    for block in [node.number(1).to_string().as_str(), hash] {
        assert_eq!(service.refused(&format!("{path}{block}")).await, not_final);
    }
    let state = service.state(&format!("{}&block={hash}&allow_unfinalized=true", node.query())).await;
    assert_eq!(state.storage[0].value, U256::from(5));
    assert_eq!(service.refused(&format!("{path}{hash}")).await, not_final, "also where it is known by now");
    assert_eq!(service.refused(&format!("{path}latest")).await, not_final);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_proved_is_not_passed_on() {
    fn flip(text: &mut Value) {
        let old = text.as_str().unwrap().to_owned();
        let last = if old.ends_with('0') { '1' } else { '0' };
        *text = format!("{}{last}", &old[..old.len() - 1]).into();
    }
    type Forgery = (&'static str, fn(&mut Value));
    let changes: [Forgery; 5] = [
        ("eth_getBlockByNumber", |block| flip(&mut block["stateRoot"])),
        ("eth_getBlockByNumber", |block| flip(&mut block["hash"])),
        ("eth_getProof", |proof| flip(&mut proof["accountProof"][0])),
        ("eth_getProof", |proof| flip(&mut proof["storageProof"][0]["proof"][0])),
        ("eth_getProof", |proof| proof["storageProof"] = json!([])),
    ];
    for (changed, change) in changes {
        let (url, node) = Recorded::start(move |method, result| {
            if method == changed {
                change(result);
            }
        })
        .await;
        let service = Service::start(&url).await;
        let path = format!("/api/v1/chains/anvil/state?{}&block={}", node.query(), node.number(1));
        assert_eq!(service.refused(&path).await, (502, "not_proved".into()), "{changed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_node_is_asked_again_and_a_dead_one_is_not_shown() {
    let (url, node) = Recorded::start(|_, _| ()).await;
    let service = Service::start(&url).await;
    node.busy.store(3, Ordering::SeqCst);
    service.state(&node.query()).await;
    node.busy.store(usize::MAX, Ordering::SeqCst);
    let path = format!("/api/v1/chains/anvil/state?{}&block=latest&allow_unfinalized=true", node.query());
    assert_eq!(service.refused(&path).await, (503, "node_unavailable".into()));

    let dead = Service::start(&format!("http://127.0.0.1:1/{SECRET}")).await;
    assert_eq!(dead.refused(&path).await, (503, "node_unavailable".into()));
    assert_eq!(dead.get("/health/ready").await.0, 503);
    for log in [service.log(), dead.log()] {
        assert!(log.contains("asking the node again"), "{log}");
        assert!(!log.contains(SECRET), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_wrong_say_what_is() {
    let (url, node) = Recorded::start(|_, _| ()).await;
    let service = Service::start(&url).await;
    let anvil = "/api/v1/chains/anvil/state";
    let query = node.query();
    let many = vec!["1"; 257].join(",");
    for (path, expected) in [
        (format!("/api/v1/chains/other/state?{query}"), (404, "unknown_chain")),
        (format!("{anvil}?{query}&block=999&allow_unfinalized=true"), (404, "unknown_block")),
        (format!("{anvil}?{query}&block=pending"), (400, "bad_request")),
        (format!("{anvil}?address=0x12"), (400, "bad_request")),
        (anvil.to_owned(), (400, "bad_request")),
        (format!("{anvil}?{query}&more=1"), (400, "bad_request")),
        (format!("{anvil}?{query},0xg"), (400, "bad_request")),
        (format!("{anvil}?{query},{many}"), (400, "too_many_slots")),
        ("/api/v2".to_owned(), (404, "not_found")),
    ] {
        let (status, code) = service.refused(&path).await;
        assert_eq!((status, code.as_str()), expected, "{path}");
    }
    let wrong = client().delete(format!("{}{anvil}", service.url)).send().await.unwrap();
    assert_eq!(wrong.status(), 405);
    let wrong = client().post(format!("{}{anvil}", service.url)).body("{").send().await.unwrap();
    assert_eq!(wrong.json::<Value>().await.unwrap()["code"], "bad_request");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_asked_to() {
    let (url, _) = Recorded::start(|_, _| ()).await;
    let mut service = Service::start(&url).await;
    let pid = service.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || (service.process.wait().unwrap(), service)).await.unwrap();
    assert!(ended.0.success());
    assert!(ended.1.log().contains("stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_nodes_state_is_served() {
    let Some(node) = skip_or_fail(EthereumNode::start()) else { return };
    let source = include_str!("../../ethereum/tests/contracts/Ledger.sol");
    let Some(contract) = skip_or_fail(compile_solidity(source, "Ledger")) else { return };
    let ledger = node.deploy(&contract).unwrap();
    let transfer = format!("0xa9059cbb{}{:064x}", &HOLDER.into_word().to_string()[2..], 9);
    node.transact(json!({ "to": ledger, "data": transfer })).unwrap();

    let service = Service::start(&node.url()).await;
    let slot = Slot::at(0).entry(HOLDER).key();
    let state = service.state(&format!("address={ledger}&slots={slot}&block=latest&allow_unfinalized=true")).await;
    assert_eq!(state.check().unwrap().number(), 2);
    assert_eq!(state.storage[0].value, U256::from(9));
    let absent = service.state(&format!("address={HOLDER}&block=latest&allow_unfinalized=true")).await;
    assert_eq!(absent.account, None);
    assert_eq!(service.refused(&format!("/api/v1/chains/anvil/state?address={ledger}&block=2")).await.0, 422);
}
