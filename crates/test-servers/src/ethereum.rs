//! An Ethereum node of its own chain, and a Solidity compiler; both from npm.

use crate::{
    ServerError,
    npm::{install, run_script},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ANVIL: &str = "@foundry-rs/anvil@1.7.1";
const SOLC: &str = "solc@0.8.30";

/// How long a transaction may take to be in a block.
const PATIENCE: Duration = Duration::from_secs(30);

/// Compiles what it reads, and says what the compiler says.
const COMPILE: &str = r#"
const input = require("fs").readFileSync(0, "utf8");
process.stdout.write(require("solc").compile(input));
"#;

/// A node (anvil) that makes a block for every transaction, on chain 31337, with accounts that have money and sign
/// unasked. Gone with this value.
#[derive(Debug)]
pub struct EthereumNode {
    process: Child,
    port: u16,
}

/// What the compiler made of a contract.
#[derive(Clone, Debug)]
pub struct Contract {
    /// The code that makes it, in hex after `0x`.
    pub bytecode: String,
    /// Its storage layout, as the compiler writes it.
    pub layout: Value,
}

/// What the compiler made of several sources.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Contracts by their names. Interfaces and abstract contracts have no code.
    pub contracts: BTreeMap<String, Contract>,
    /// What the compiler warns of.
    pub warnings: Vec<String>,
}

impl EthereumNode {
    /// Starts one.
    ///
    /// # Errors
    /// npm or the network is missing, or what fails.
    pub fn start() -> Result<Self, ServerError> {
        let program = anvil(&packages()?)?;
        let mut process = Command::new(&program)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ServerError::file(&program))?;
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("Listening on 127.0.0.1:").and_then(|port| port.trim().parse().ok()));
        let Some(port) = port else {
            let _ = process.kill();
            let _ = process.wait();
            return Err(ServerError::Failed { program: "anvil".into(), output: "it listens on no port".into() });
        };
        // It would end of a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, port })
    }

    /// Its JSON-RPC over HTTP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Calls a method; its result.
    ///
    /// # Errors
    /// What the node says, or that it can't be reached.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, ServerError> {
        let failed = |output: String| ServerError::Failed { program: format!("anvil: {method}"), output };
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let answer = self.post(&body).map_err(ServerError::io("the Ethereum node"))?;
        let (_, answer) = answer.split_once("\r\n\r\n").ok_or_else(|| failed(answer.clone()))?;
        let mut answer: Value = serde_json::from_str(answer).map_err(|error| failed(error.to_string()))?;
        match answer.get("error") {
            Some(error) => Err(failed(error.to_string())),
            None => Ok(answer["result"].take()),
        }
    }

    /// Sends a transaction, waits for its block, and gives its receipt. It is the first account's unless it has a `from`.
    ///
    /// # Errors
    /// What the node says, also of a transaction that failed.
    pub fn transact(&self, mut transaction: Value) -> Result<Value, ServerError> {
        if transaction["from"].is_null() {
            transaction["from"] = self.call("eth_accounts", json!([]))?[0].take();
        }
        let hash = self.call("eth_sendTransaction", json!([transaction]))?;
        // The block is made as soon as the transaction is there, but not before the answer.
        let given_up = Instant::now() + PATIENCE;
        let receipt = loop {
            match self.call("eth_getTransactionReceipt", json!([hash]))? {
                Value::Null if Instant::now() < given_up => std::thread::sleep(Duration::from_millis(5)),
                receipt => break receipt,
            }
        };
        match receipt["status"].as_str() {
            Some("0x1") => Ok(receipt),
            _ => Err(ServerError::Failed { program: "anvil: transaction".into(), output: receipt.to_string() }),
        }
    }

    /// Makes a contract; its address.
    ///
    /// # Errors
    /// As [`transact`](Self::transact).
    pub fn deploy(&self, contract: &Contract) -> Result<String, ServerError> {
        let receipt = self.transact(json!({ "data": contract.bytecode }))?;
        Ok(receipt["contractAddress"].as_str().unwrap_or_default().to_owned())
    }

    fn post(&self, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(
            stream,
            "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for EthereumNode {
    fn drop(&mut self) {
        // It keeps nothing: there is nothing to end in order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Compiles one contract of a Solidity source.
///
/// # Errors
/// npm or the network is missing, or what the compiler says.
pub fn compile_solidity(source: &str, contract: &str) -> Result<Contract, ServerError> {
    let mut compiled = compile_sources(&BTreeMap::from([("source".to_owned(), source.to_owned())]))?;
    compiled.contracts.remove(contract).ok_or_else(|| solc_failed(format!("the source has no contract {contract}")))
}

/// Compiles Solidity sources that import each other by their paths.
///
/// # Errors
/// npm or the network is missing, or what the compiler says.
pub fn compile_sources(sources: &BTreeMap<String, String>) -> Result<Compiled, ServerError> {
    let content: BTreeMap<_, _> = sources.iter().map(|(path, source)| (path, json!({ "content": source }))).collect();
    let input = json!({
        "language": "Solidity",
        "sources": content,
        "settings": {
            "optimizer": { "enabled": true },
            "outputSelection": { "*": { "*": ["evm.bytecode.object", "storageLayout"] } },
        },
    });
    let output = run_script(&packages()?, COMPILE, input.to_string().as_bytes())?;
    let mut made: Value = serde_json::from_slice(&output).map_err(|error| solc_failed(error.to_string()))?;
    let said = |severity: &str| -> Vec<String> {
        let all = made["errors"].as_array().into_iter().flatten();
        let of_it = all.filter(|message| message["severity"] == severity);
        of_it.filter_map(|message| message["formattedMessage"].as_str().map(str::to_owned)).collect()
    };
    let (errors, warnings) = (said("error"), said("warning"));
    if !errors.is_empty() {
        return Err(solc_failed(errors.join("\n")));
    }
    let files = made["contracts"].as_object_mut().into_iter().flatten();
    let all = files.filter_map(|(_, file)| file.as_object_mut()).flatten();
    let contracts = all.map(|(name, made)| {
        let bytecode = format!("0x{}", made["evm"]["bytecode"]["object"].as_str().unwrap_or_default());
        (name.clone(), Contract { bytecode, layout: made["storageLayout"].take() })
    });
    Ok(Compiled { contracts: contracts.collect(), warnings })
}

fn solc_failed(output: String) -> ServerError {
    ServerError::Failed { program: "solc".into(), output }
}

/// A folder with both packages.
fn packages() -> Result<PathBuf, ServerError> {
    install("npm", &[ANVIL, SOLC])
}

/// The program itself, which npm has for each kind of machine in a package of its own.
fn anvil(packages: &Path) -> Result<PathBuf, ServerError> {
    let folder = packages.join("node_modules/@foundry-rs");
    let entries = fs::read_dir(&folder).map_err(ServerError::file(&folder))?;
    let programs = entries.filter_map(Result::ok).map(|entry| entry.path().join("bin").join("anvil"));
    programs.into_iter().find(|program| program.is_file()).ok_or_else(|| ServerError::NotInstallable {
        what: ANVIL.into(),
        output: "there is none for this kind of machine".into(),
    })
}
