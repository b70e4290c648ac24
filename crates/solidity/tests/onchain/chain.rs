//! A chain of the test's own, and everything compiled for it.

use crate::fixtures::{key, sp1_program};
use coprocessor_solidity::{
    Word,
    abi::{Argument, call, encode, selector},
    sp1_contract,
};
use coprocessor_test_servers::{
    Compiled, EthereumNode, ServerError, compile_sources, install_npm, run_script, skip_or_fail,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// More than any call here takes.
const GAS: u64 = 5_000_000;

/// A verifier as snarkjs writes it, from its own template. It is under another licence than this repository, so it is written at
/// every run and not kept.
const SNARKJS: &str = r#"
const snarkjs = require.resolve("snarkjs");
const ejs = require("module").createRequire(snarkjs)("ejs");
const { readFileSync } = require("fs");
const { dirname, join } = require("path");
const template = readFileSync(join(dirname(snarkjs), "../templates/verifier_groth16.sol.ejs"), "utf8");
process.stdout.write(ejs.render(template, JSON.parse(readFileSync(0, "utf8"))));
"#;

/// A node of one test, and the contracts.
pub(crate) struct Chain {
    pub(crate) node: EthereumNode,
    compiled: &'static Compiled,
    accounts: Vec<Address>,
}

/// An account or a contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Address(pub(crate) Word);

/// What a call was refused with: an error's selector and arguments.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Revert(pub(crate) Vec<u8>);

impl Chain {
    /// `None` where npm is missing; the test is then skipped.
    pub(crate) fn start() -> Option<Self> {
        let node = skip_or_fail(EthereumNode::start())?;
        let compiled = contracts()?;
        let accounts = node.call("eth_accounts", json!([])).unwrap();
        let accounts = accounts.as_array().unwrap().iter().map(Address::read).collect();
        Some(Self { node, compiled, accounts })
    }

    /// One of ten accounts with ether. The first is who sends unless another is named.
    pub(crate) fn account(&self, at: usize) -> Address {
        self.accounts[at]
    }

    pub(crate) fn deploy(&self, contract: &str, arguments: &[Argument<'_>]) -> Address {
        self.deploy_from(self.account(0), contract, arguments)
    }

    pub(crate) fn deploy_from(&self, from: Address, contract: &str, arguments: &[Argument<'_>]) -> Address {
        let code = &self.compiled.contracts.get(contract).unwrap_or_else(|| panic!("there is no {contract}")).bytecode;
        assert!(code.len() > 2, "{contract} is abstract");
        self.deploy_code(from, code, arguments)
    }

    pub(crate) fn deploy_code(&self, from: Address, code: &str, arguments: &[Argument<'_>]) -> Address {
        let data = format!("{code}{}", hex::encode(encode(arguments)));
        let receipt = self.node.transact(json!({ "from": from.to_string(), "data": data, "gas": "0xe00000" })).unwrap();
        Address::read(&receipt["contractAddress"])
    }

    /// What a contract with that constructor is refused with.
    pub(crate) fn refused_deployment(&self, contract: &str, arguments: &[Argument<'_>]) -> Revert {
        let data = format!("{}{}", self.compiled.contracts[contract].bytecode, hex::encode(encode(arguments)));
        let call = json!([{ "from": self.account(0).to_string(), "data": data }, "latest"]);
        revert(self.node.call("eth_call", call)).unwrap_err()
    }

    /// Asks without changing anything.
    pub(crate) fn ask(&self, to: Address, data: &[u8]) -> Result<Vec<u8>, Revert> {
        self.ask_as(self.account(0), to, data)
    }

    pub(crate) fn ask_as(&self, from: Address, to: Address, data: &[u8]) -> Result<Vec<u8>, Revert> {
        let call = transaction(from, to, data, GAS);
        revert(self.node.call("eth_call", json!([call, "latest"])))
    }

    /// A word that a getter gives.
    pub(crate) fn word(&self, to: Address, signature: &str, arguments: &[Argument<'_>]) -> Word {
        Word(self.ask(to, &call(signature, arguments)).unwrap().try_into().expect("one word"))
    }

    /// Sends a transaction; the gas it used, or what it is refused with.
    pub(crate) fn send(&self, to: Address, data: &[u8]) -> Result<u64, Revert> {
        self.send_as(self.account(0), to, data)
    }

    pub(crate) fn send_as(&self, from: Address, to: Address, data: &[u8]) -> Result<u64, Revert> {
        self.ask_as(from, to, data)?;
        Ok(self.used(transaction(from, to, data, GAS)))
    }

    /// The gas that a transaction used, which must not fail.
    pub(crate) fn used(&self, transaction: Value) -> u64 {
        let receipt = self.node.transact(transaction).unwrap();
        number(&receipt["gasUsed"])
    }

    /// The source that snarkjs writes for a `verification_key.json`.
    pub(crate) fn snarkjs_verifier(packages: &Path, key: &[u8]) -> String {
        String::from_utf8(run_script(packages, SNARKJS, key).unwrap()).unwrap()
    }

    /// Sends ether.
    pub(crate) fn fund(&self, to: Address, wei: usize) {
        let from = self.account(0).to_string();
        let value = format!("{wei:#x}");
        self.node.transact(json!({ "from": from, "to": to.to_string(), "value": value })).unwrap();
    }
}

pub(crate) fn transaction(from: Address, to: Address, data: &[u8], gas: u64) -> Value {
    let data = format!("0x{}", hex::encode(data));
    json!({ "from": from.to_string(), "to": to.to_string(), "data": data, "gas": format!("{gas:#x}") })
}

pub(crate) fn number(hex: &Value) -> u64 {
    u64::from_str_radix(hex.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

impl Address {
    fn read(hex: &Value) -> Self {
        let digits = hex.as_str().unwrap().trim_start_matches("0x").to_lowercase();
        Self(Word::from_hex(&format!("{digits:0>64}")).unwrap())
    }

    pub(crate) const fn argument(self) -> Argument<'static> {
        Argument::Static(self.0)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{}", hex::encode(&self.0.as_bytes()[12..]))
    }
}

impl Revert {
    /// An error as Solidity encodes it.
    pub(crate) fn of(signature: &str, arguments: &[Word]) -> Self {
        let arguments: Vec<_> = arguments.iter().copied().map(Argument::Static).collect();
        Self([&selector(signature)[..], &encode(&arguments)].concat())
    }
}

impl std::fmt::Debug for Revert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Revert({})", hex::encode(&self.0))
    }
}

/// What the node answered to `eth_call`. It says what a call was refused with in its error's data.
fn revert(answer: Result<Value, ServerError>) -> Result<Vec<u8>, Revert> {
    let bytes = |hex: &Value| hex::decode(hex.as_str().unwrap().trim_start_matches("0x")).unwrap();
    match answer {
        Ok(result) => Ok(bytes(&result)),
        Err(ServerError::Failed { output, .. }) => {
            let error: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output}"));
            assert!(error["message"].as_str().unwrap().contains("revert"), "{error}");
            Err(Revert(bytes(&error["data"])))
        }
        Err(other) => panic!("{other}"),
    }
}

/// Everything in `contracts/`, the verifiers of the fixtures' key (ours is `Verifier`, snarkjs's is `Groth16Verifier`), and the
/// contract of an SP1 program (`Program`): compiled once for all tests.
fn contracts() -> Option<&'static Compiled> {
    static COMPILED: OnceLock<Option<Compiled>> = OnceLock::new();
    let compile = || {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
        let mut sources = BTreeMap::new();
        for part in ["src", "src/examples", "test"] {
            read_into(&mut sources, &folder, part);
        }
        sources.insert("Verifier.sol".into(), key().contract(&"Verifier".parse().unwrap()));
        sources.insert("Program.sol".into(), sp1_contract(&"Program".parse().unwrap(), &sp1_program()));
        let packages = snarkjs()?;
        let key = std::fs::read(folder.join("fixtures/verification_key.json")).unwrap();
        sources.insert("snarkjs.sol".into(), Chain::snarkjs_verifier(&packages, &key));
        let compiled = skip_or_fail(compile_sources(&sources))?;
        assert_eq!(compiled.warnings, Vec::<String>::new());
        Some(compiled)
    };
    COMPILED.get_or_init(compile).as_ref()
}

/// The folder with snarkjs.
pub(crate) fn snarkjs() -> Option<PathBuf> {
    skip_or_fail(install_npm("snarkjs", &["snarkjs@0.7.6"]))
}

fn read_into(sources: &mut BTreeMap<String, String>, folder: &Path, part: &str) {
    for entry in std::fs::read_dir(folder.join(part)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sol") {
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            sources.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}
