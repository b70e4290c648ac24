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

use crate::{CallError, HostErrorCode, ValidatedBlock};
use alloc::{
    collections::BTreeMap,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use coprocessor_types::{ProgramId, Root, StateProof, Witness};
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
    node: Option<Node>,
    domains: Option<Domains>,
}

/// Answers JSON-RPC: chain, method and parameters to the result or a host error.
type Node = Rc<dyn Fn(&str, &str, &Value) -> Result<Value, HostErrorCode>>;

/// Proves state: domain and arguments to the proof or a host error.
type Domains = Rc<dyn Fn(&str, &Value) -> Result<StateProof, HostErrorCode>>;

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
        self.0.borrow_mut().domains = Some(Rc::new(prove));
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
        msgpack::{write_optional_bytes, write_state_proof},
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
        let Some(prove) = host(|state| state.domains.clone()) else { return HostErrorCode::StateProof.as_i32() };
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainId, host, json};

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
