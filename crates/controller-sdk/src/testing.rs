//! A host in memory, for a controller's unit tests.
//!
//! ```
//! use controller_sdk::{host, testing::Runtime};
//!
//! let runtime = Runtime::new().with_file("config", b"9");
//! assert_eq!(host::get_storage_file("config").unwrap(), Some(b"9".to_vec()));
//! host::log("read it");
//! assert_eq!(runtime.log(), ["read it"]);
//! ```

use crate::{
    CallError, HostErrorCode, ValidatedBlock,
    host::{Block, RootUpdate},
    http::{Request, Response},
};
use alloc::{
    collections::BTreeMap,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use coprocessor_types::{BlockNumber, BlockOpening, ProgramId, Root, StateProof, Witness};
use core::{cell::RefCell, fmt::Display};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

std::thread_local! {
    static HOST: RefCell<Option<Rc<RefCell<State>>>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct State {
    args: Vec<u8>,
    result: Option<Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    raw: Vec<u8>,
    log: Vec<String>,
    panic: Option<String>,
    full: bool,
    program: ProgramId,
    root: Root,
    reason: String,
    node: Option<Node>,
    web: Option<Web>,
    proofs: Option<StateProofs>,
    latest: Option<LatestBlocks>,
    openings: Option<Openings>,
    history: Vec<RootUpdate>,
}

/// Answers JSON-RPC: chain, method and parameters to the result or a host error.
type Node = Rc<dyn Fn(&str, &str, &Value) -> Result<Value, HostErrorCode>>;

/// Answers HTTP requests.
type Web = Rc<dyn Fn(&Request) -> Result<Response, HostErrorCode>>;

/// Proves state: domain and arguments to the proof or a host error.
type StateProofs = Rc<dyn Fn(&str, &Value) -> Result<StateProof, HostErrorCode>>;

/// The highest block of a domain.
type LatestBlocks = Rc<dyn Fn(&str) -> Result<Option<Block>, HostErrorCode>>;

/// What shows a block of a domain.
type Openings = Rc<dyn Fn(&str, BlockNumber) -> Result<BlockOpening, HostErrorCode>>;

/// The host of the current thread's controller calls until it is dropped. Tests run in threads of their own, so each
/// has its own host.
///
/// Paths are compared as FAT does, without regard to case and to a leading slash, but any name is accepted.
pub struct Runtime(Rc<RefCell<State>>);

impl Runtime {
    /// A host with no files, whose program id and root are zero.
    ///
    /// # Panics
    /// If this thread has a host already.
    #[allow(clippy::new_without_default)] // Making one has an effect on the thread.
    pub fn new() -> Self {
        let state = Rc::new(RefCell::new(State::default()));
        HOST.with_borrow_mut(|host| {
            assert!(host.is_none(), "this thread has a Runtime already: drop it first");
            *host = Some(Rc::clone(&state));
        });
        Self(state)
    }

    /// Puts a file on the volume.
    pub fn with_file(self, path: &str, contents: &[u8]) -> Self {
        self.0.borrow_mut().files.insert(normal(path), contents.to_vec());
        self
    }

    /// Sets the raw bytes.
    pub fn with_raw_storage(self, contents: &[u8]) -> Self {
        self.0.borrow_mut().raw = contents.to_vec();
        self
    }

    /// Sets the program's id.
    pub fn with_program(self, program: ProgramId) -> Self {
        self.0.borrow_mut().program = program;
        self
    }

    /// Sets the root the calls are pinned to.
    pub fn with_root(self, root: Root) -> Self {
        self.0.borrow_mut().root = root;
        self
    }

    /// Answers [`host::rpc`](crate::host::rpc): chain, method and parameters to the result, or the code it fails with.
    /// Without this no chain has a node.
    pub fn with_rpc(self, node: impl Fn(&str, &str, &Value) -> Result<Value, HostErrorCode> + 'static) -> Self {
        self.0.borrow_mut().node = Some(Rc::new(node));
        self
    }

    /// Answers [`host::get_state_proof`](crate::host::get_state_proof): domain and arguments to the proof, or the code it
    /// fails with. Without this no domain proves anything.
    pub fn with_state_proofs(
        self,
        prove: impl Fn(&str, &Value) -> Result<StateProof, HostErrorCode> + 'static,
    ) -> Self {
        self.0.borrow_mut().proofs = Some(Rc::new(prove));
        self
    }

    /// Answers [`host::get_latest_block`](crate::host::get_latest_block): domain to its highest block, or the code it fails
    /// with. Without this there is no domain.
    pub fn with_latest_blocks(self, latest: impl Fn(&str) -> Result<Option<Block>, HostErrorCode> + 'static) -> Self {
        self.0.borrow_mut().latest = Some(Rc::new(latest));
        self
    }

    /// Answers [`host::get_block_proof`](crate::host::get_block_proof): domain and number to what shows the block, or the code
    /// it fails with. Without this there is no block.
    pub fn with_block_proofs(
        self,
        open: impl Fn(&str, BlockNumber) -> Result<BlockOpening, HostErrorCode> + 'static,
    ) -> Self {
        self.0.borrow_mut().openings = Some(Rc::new(open));
        self
    }

    /// Adds what [`host::get_historical_update`](crate::host::get_historical_update) says of its root.
    pub fn with_historical_update(self, update: RootUpdate) -> Self {
        self.0.borrow_mut().history.push(update);
        self
    }

    /// Answers [`http`](crate::http) requests: to a response, whose body is given in the form that the request accepts, or the
    /// code it fails with. Without this no host is allowed.
    pub fn with_http(self, web: impl Fn(&Request) -> Result<Response, HostErrorCode> + 'static) -> Self {
        self.0.borrow_mut().web = Some(Rc::new(web));
        self
    }

    /// The reason that failing calls give beside their code; none without this.
    pub fn with_reason(self, reason: &str) -> Self {
        self.0.borrow_mut().reason = reason.to_string();
        self
    }

    /// Makes every write to the volume fail, as a full one does.
    pub fn with_full_volume(self) -> Self {
        self.0.borrow_mut().full = true;
        self
    }

    /// Calls a controller's `get_witnesses` with JSON arguments, through JSON as the sandbox does.
    ///
    /// # Errors
    /// What the sandbox would report as the controller's message.
    ///
    /// # Panics
    /// Where the controller does.
    pub fn get_witnesses<A: DeserializeOwned, E: Display>(
        &self,
        get_witnesses: impl FnOnce(A) -> Result<Vec<Witness>, E>,
        args: &Value,
    ) -> Result<Vec<Witness>, CallError> {
        let result = self.call(|args| crate::get_witnesses(get_witnesses, args), args)?;
        Ok(serde_json::from_slice(&result).expect("a list of witnesses reads back"))
    }

    /// Calls a controller's `entrypoint` with JSON arguments.
    ///
    /// # Errors
    /// What the sandbox would report as the controller's message.
    ///
    /// # Panics
    /// Where the controller does.
    pub fn entrypoint<A: DeserializeOwned, R: Serialize, E: Display>(
        &self,
        entrypoint: impl FnOnce(A) -> Result<R, E>,
        args: &Value,
    ) -> Result<Value, CallError> {
        let result = self.call(|args| crate::run(entrypoint, args), args)?;
        Ok(serde_json::from_slice(&result).expect("what was written as JSON reads back"))
    }

    /// Calls a domain controller's `validate_block` with JSON arguments.
    ///
    /// # Errors
    /// What the sandbox would report as the controller's message.
    ///
    /// # Panics
    /// Where the controller does.
    pub fn validate_block<A: DeserializeOwned, E: Display>(
        &self,
        validate_block: impl FnOnce(A) -> Result<ValidatedBlock, E>,
        args: &Value,
    ) -> Result<ValidatedBlock, CallError> {
        let result = self.call(|args| crate::validate_block(validate_block, args), args)?;
        Ok(serde_json::from_slice(&result).expect("a block reads back"))
    }

    /// Calls a domain controller's `get_state_proof` with JSON arguments.
    ///
    /// # Errors
    /// What the sandbox would report as the controller's message.
    ///
    /// # Panics
    /// Where the controller does.
    pub fn get_state_proof<A: DeserializeOwned, E: Display>(
        &self,
        get_state_proof: impl FnOnce(A) -> Result<StateProof, E>,
        args: &Value,
    ) -> Result<StateProof, CallError> {
        let result = self.call(|args| crate::get_state_proof(get_state_proof, args), args)?;
        Ok(serde_json::from_slice(&result).expect("a state proof reads back"))
    }

    /// A file of the volume.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.0.borrow().files.get(&normal(path)).cloned()
    }

    /// Paths of all files, in order, upper case, without a leading slash.
    pub fn paths(&self) -> Vec<String> {
        self.0.borrow().files.keys().cloned().collect()
    }

    /// The raw bytes.
    pub fn raw_storage(&self) -> Vec<u8> {
        self.0.borrow().raw.clone()
    }

    /// The lines logged so far.
    pub fn log(&self) -> Vec<String> {
        self.0.borrow().log.clone()
    }

    /// What [`host::panic`](crate::host::panic) was last told.
    pub fn panic_message(&self) -> Option<String> {
        self.0.borrow().panic.clone()
    }

    fn call(
        &self,
        function: impl FnOnce(&[u8]) -> Result<Vec<u8>, CallError>,
        args: &Value,
    ) -> Result<Vec<u8>, CallError> {
        self.0.borrow_mut().args = args.to_string().into_bytes();
        crate::host::ret(&function(&crate::host::args()?)?)?;
        Ok(self.0.borrow_mut().result.take().expect("ret was called the line before"))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        HOST.with_borrow_mut(|host| *host = None);
    }
}

fn normal(path: &str) -> String {
    path.trim_start_matches('/').to_ascii_uppercase()
}

/// The host calls, answered by the thread's [`Runtime`].
pub(crate) mod calls {
    use super::*;
    use crate::{
        msgpack::{write_block_proof, write_latest_block, write_optional_bytes, write_root_update, write_state_proof},
        sys::Buffer,
    };

    fn host<R>(call: impl FnOnce(&mut State) -> R) -> R {
        let state = HOST.with_borrow(Clone::clone);
        let state = state.expect("no host: make a controller_sdk::testing::Runtime in this thread first");
        call(&mut state.borrow_mut())
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).to_string()
    }

    pub(crate) fn args(buffer: &mut Buffer) -> i32 {
        host(|state| buffer.put(&state.args))
    }

    pub(crate) fn ret(result: &[u8]) -> i32 {
        host(|state| state.result = Some(result.to_vec()));
        0
    }

    pub(crate) fn log(line: &[u8]) -> i32 {
        host(|state| state.log.push(text(line)));
        0
    }

    pub(crate) fn panic(message: &[u8]) {
        host(|state| state.panic = Some(text(message)));
    }

    pub(crate) fn get_storage_file(path: &[u8], buffer: &mut Buffer) -> i32 {
        host(|state| {
            let file = state.files.get(&normal(&text(path)));
            buffer.put(&write_optional_bytes(file.map(Vec::as_slice)))
        })
    }

    pub(crate) fn set_storage_file(path: &[u8], contents: &[u8]) -> i32 {
        host(|state| {
            if state.full {
                return HostErrorCode::Storage.as_i32();
            }
            state.files.insert(normal(&text(path)), contents.to_vec());
            0
        })
    }

    pub(crate) fn get_raw_storage(buffer: &mut Buffer) -> i32 {
        host(|state| buffer.put(&state.raw))
    }

    pub(crate) fn set_raw_storage(contents: &[u8]) -> i32 {
        host(|state| state.raw = contents.to_vec());
        0
    }

    pub(crate) fn get_controller(hash: &mut [u8; 32]) -> i32 {
        *hash = host(|state| state.program.0);
        0
    }

    pub(crate) fn get_historical(hash: &mut [u8; 32]) -> i32 {
        *hash = host(|state| state.root.0);
        0
    }

    pub(crate) fn get_state_proof(domain: &[u8], args: &[u8], buffer: &mut Buffer) -> i32 {
        let Some(prove) = host(|state| state.proofs.clone()) else { return HostErrorCode::StateProof.as_i32() };
        let Ok(args) = serde_json::from_slice(args) else { return HostErrorCode::Json.as_i32() };
        match prove(&text(domain), &args) {
            Ok(proof) => buffer.put(&write_state_proof(&proof)),
            Err(code) => code.as_i32(),
        }
    }

    pub(crate) fn alchemy(chain: &[u8], method: &[u8], params: &[u8], buffer: &mut Buffer) -> i32 {
        // Not called while the host is borrowed: it may ask the host itself.
        let Some(node) = host(|state| state.node.clone()) else { return HostErrorCode::NoRpcKey.as_i32() };
        let Ok(params) = serde_json::from_slice(params) else { return HostErrorCode::Json.as_i32() };
        match node(&text(chain), &text(method), &params) {
            Ok(result) => buffer.put(result.to_string().as_bytes()),
            Err(code) => code.as_i32(),
        }
    }

    pub(crate) fn http(args: &[u8], buffer: &mut Buffer) -> i32 {
        let Some(web) = host(|state| state.web.clone()) else { return HostErrorCode::Http.as_i32() };
        let Ok(request) = serde_json::from_slice::<Request>(args) else { return HostErrorCode::Json.as_i32() };
        match web(&request).map(|response| request.written(&response)) {
            Ok(Some(answer)) => buffer.put(answer.to_string().as_bytes()),
            Ok(None) => HostErrorCode::Http.as_i32(),
            Err(code) => code.as_i32(),
        }
    }

    pub(crate) fn get_latest_block(domain: &[u8], buffer: &mut Buffer) -> i32 {
        let Some(latest) = host(|state| state.latest.clone()) else { return HostErrorCode::LatestBlock.as_i32() };
        match latest(&text(domain)) {
            Ok(block) => buffer.put(&write_latest_block(block.as_ref())),
            Err(code) => code.as_i32(),
        }
    }

    pub(crate) fn get_block_proof(domain: &[u8], number: &[u8; 8], buffer: &mut Buffer) -> i32 {
        let Some(open) = host(|state| state.openings.clone()) else { return HostErrorCode::BlockProof.as_i32() };
        match open(&text(domain), u64::from_le_bytes(*number)) {
            Ok(opening) => buffer.put(&write_block_proof(&opening)),
            Err(code) => code.as_i32(),
        }
    }

    pub(crate) fn get_historical_update(root: &[u8; 32], buffer: &mut Buffer) -> i32 {
        host(|state| {
            let update = state.history.iter().find(|update| update.root.0 == *root);
            buffer.put(&write_root_update(update))
        })
    }

    pub(crate) fn get_reason(buffer: &mut Buffer) -> i32 {
        host(|state| buffer.put(state.reason.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainId, TrustId, host, http::Body, json};

    #[test]
    fn host_calls_read_back_what_they_wrote() {
        let runtime = Runtime::new().with_program(ProgramId([1; 32])).with_root(Root([2; 32]));
        assert_eq!(host::program_id(), Ok(ProgramId([1; 32])));
        assert_eq!(host::root(), Ok(Root([2; 32])));
        assert_eq!(host::get_storage_file("a"), Ok(None));
        host::set_storage_file("/a", &[1; 300]).unwrap();
        assert_eq!(host::get_storage_file("A"), Ok(Some([1; 300].into())));
        host::set_raw_storage(b"raw").unwrap();
        assert_eq!((host::get_raw_storage().unwrap(), runtime.raw_storage()), (b"raw".into(), b"raw".into()));
        host::panic("why");
        assert_eq!(runtime.panic_message().as_deref(), Some("why"));
    }

    #[test]
    fn a_full_volume_refuses_with_the_abis_code() {
        let _runtime = Runtime::new().with_full_volume();
        let error = host::set_storage_file("a", b"").unwrap_err();
        assert_eq!(error.code, HostErrorCode::Storage);
    }

    #[test]
    fn a_chains_node_is_asked() {
        let runtime = Runtime::new();
        let ask = |chain| host::rpc(chain, "eth_chainId", &json!([1]));
        assert_eq!(ask("a").unwrap_err().code, HostErrorCode::NoRpcKey);
        let _runtime = runtime.with_rpc(|chain, method, params| match chain {
            "a" => Ok(json!({ "asked": [method, params] })),
            _ => Err(HostErrorCode::RpcResult),
        });
        assert_eq!(ask("a"), Ok(json!({ "asked": ["eth_chainId", [1]] })));
        assert_eq!(ask("b").unwrap_err().code, HostErrorCode::RpcResult);
    }

    #[test]
    fn a_domain_is_asked_for_a_proof() {
        let proof = StateProof {
            domain: DomainId([1; 32]),
            number: 300,
            state_root: [9; 32],
            payload: [2].into(),
            proof: [3].into(),
        };
        let runtime = Runtime::new();
        assert_eq!(host::get_state_proof("d", &json!({})).unwrap_err().code, HostErrorCode::StateProof);
        let answer = proof.clone();
        let _runtime = runtime.with_state_proofs(move |domain, args| match (domain, args["number"].as_u64()) {
            ("d", Some(300)) => Ok(answer.clone()),
            _ => Err(HostErrorCode::Payload),
        });
        assert_eq!(host::get_state_proof("d", &json!({ "number": 300 })), Ok(proof));
        assert_eq!(host::get_state_proof("e", &json!({})).unwrap_err().code, HostErrorCode::Payload);
    }

    fn block(number: u64) -> Block {
        Block { domain: DomainId([1; 32]), number, state_root: [9; 32], payload: [2].into() }
    }

    #[test]
    fn a_root_is_asked_for_what_it_holds() {
        let runtime = Runtime::new().with_root(Root([2; 32]));
        assert_eq!(host::get_latest_block("d").unwrap_err().code, HostErrorCode::LatestBlock);
        assert_eq!(host::get_block_proof("d", 7).unwrap_err().code, HostErrorCode::BlockProof);
        assert_eq!(host::get_historical_update(&Root([2; 32])), Ok(None));
        let opening = BlockOpening { root_siblings: [Root([7; 32])].into(), ..BlockOpening::default() };
        let (id, previous, trust) = ([0xff; 16], Root([1; 32]), TrustId([3; 32]));
        let update = RootUpdate { id, root: Root([2; 32]), previous, block: block(300), trust };
        let shown = opening.clone();
        let _runtime = runtime
            .with_latest_blocks(|domain| match domain {
                "d" => Ok(Some(block(300))),
                "empty" => Ok(None),
                _ => Err(HostErrorCode::LatestBlock),
            })
            .with_block_proofs(move |domain, number| match (domain, number) {
                ("d", 300) => Ok(shown.clone()),
                _ => Err(HostErrorCode::BlockProof),
            })
            .with_historical_update(update.clone());
        assert_eq!(host::get_latest_block("d"), Ok(Some(block(300))));
        assert_eq!(host::get_latest_block("empty"), Ok(None));
        assert_eq!(host::get_block_proof("d", 300), Ok(opening));
        assert_eq!(host::get_block_proof("d", 301).unwrap_err().code, HostErrorCode::BlockProof);
        assert_eq!(host::get_historical_update(&host::root().unwrap()), Ok(Some(update)));
    }

    #[test]
    fn requests_go_out_whole_and_answers_come_as_they_are_accepted() {
        let runtime = Runtime::new().with_reason("not on the list");
        let asked = Request::post("https://a.b/").query("c", "d").json(json!({ "e": 1 })).bearer("t");
        let refused = asked.send().unwrap_err();
        assert_eq!((refused.code, refused.reason.as_str()), (HostErrorCode::Http, "not on the list"));
        let sent = asked.clone();
        let _runtime = runtime.with_http(move |request| match request.url.as_str() {
            "https://a.b/" => {
                assert_eq!(request, &sent);
                Ok(Response::new(201, b"[1]"))
            }
            "https://a.b/page" => Ok(Response::new(404, b"<html>")),
            _ => Err(HostErrorCode::TooLarge),
        });
        let answer = asked.send().unwrap();
        assert_eq!((answer.status, &answer.body), (201, &Body::Bytes(b"[1]".into())));
        assert_eq!(answer.json::<Vec<u8>>().unwrap(), [1]);
        let page = Request::get("https://a.b/page").basic_auth("u", None).bytes(&[0xff]);
        assert_eq!(page.clone().send().unwrap().bytes(), b"<html>");
        assert_eq!(page.clone().header("Accept", "text/html").send().unwrap().body, Body::Text("<html>".into()));
        // HTML is no JSON.
        assert_eq!(page.accept_json().send().unwrap_err().code, HostErrorCode::Http);
        assert_eq!(Request::get("x").send().unwrap_err().code, HostErrorCode::TooLarge);
    }

    #[test]
    fn json_is_read_in_whichever_form_it_comes() {
        let _runtime = Runtime::new().with_http(|request| {
            assert_eq!(request.body, None);
            Ok(Response::new(200, br#"{"price": 5}"#))
        });
        for accept in ["application/json; q=1, */*", "text/html", "*/*"] {
            let answer = Request::get("x").header("accept", accept).send().unwrap();
            assert_eq!(answer.json::<Value>().unwrap(), json!({ "price": 5 }));
            assert!(answer.json::<Vec<u8>>().is_err());
        }
    }

    #[test]
    fn a_domains_functions_are_called_through_json() {
        let runtime = Runtime::new();
        let block = ValidatedBlock { number: 7, root: [3; 32], payload: [1, 2].into() };
        let validate = |number: u64| Ok::<_, String>(ValidatedBlock { number, ..block.clone() });
        assert_eq!(runtime.validate_block(validate, &json!(7)), Ok(block.clone()));
        let as_json = serde_json::to_value(&block).unwrap();
        assert_eq!((&as_json["root"][31], &as_json["payload"]), (&json!(3), &json!([1, 2])));
        let prove = |_: Value| Err::<StateProof, _>("no");
        assert_eq!(runtime.get_state_proof(prove, &json!({})), Err(CallError::Refused("no".into())));
    }

    #[test]
    fn functions_are_called_through_json() {
        let runtime = Runtime::new();
        let witnesses = |bytes: Vec<u8>| Ok::<_, String>([Witness::Data(bytes)].into());
        assert_eq!(runtime.get_witnesses(witnesses, &json!([1])), Ok([Witness::Data([1].into())].into()));
        let refuse = |_: Value| Err::<Value, _>("no");
        assert_eq!(runtime.entrypoint(refuse, &json!({})), Err(CallError::Refused("no".into())));
    }

    #[test]
    #[should_panic(expected = "has a Runtime already")]
    fn a_thread_has_one_host() {
        let _first = Runtime::new();
        let _second = Runtime::new();
    }
}
