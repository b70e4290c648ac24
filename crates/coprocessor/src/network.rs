//! What controllers may reach, from flags, a file and the environment.

use anyhow::{Context, anyhow, bail};
use coprocessor_engine::{NetworkSettings, RpcEndpoints, RpcMethods};
use coprocessor_sandbox::SandboxConfig;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::time::Duration;

use crate::args::NetworkArgs;

/// RPC endpoints beside those of the file: TOML, or a JSON object of the same shape.
const RPC_VARIABLE: &str = "COPROCESSOR_RPC";

pub(crate) fn settings(args: &NetworkArgs) -> anyhow::Result<NetworkSettings> {
    let mut rpc = RpcEndpoints::default();
    if let Some(file) = &args.rpc_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read RPC endpoints from {}", file.display()))?;
        rpc = endpoints(&text).with_context(|| format!("RPC endpoints in {}", file.display()))?;
    }
    if let Ok(text) = std::env::var(RPC_VARIABLE) {
        rpc = rpc.merged(endpoints(&text).with_context(|| format!("RPC endpoints in {RPC_VARIABLE}"))?);
    }
    for chain in rpc.chains() {
        tracing::info!(chain, "RPC endpoint configured");
    }
    let (http, private) = (args.http_allow.clone(), args.http_allow_private.clone());
    Ok(NetworkSettings { http, private, rpc })
}

pub(crate) fn limit(args: &NetworkArgs, sandbox: &mut SandboxConfig) {
    if let Some(calls) = args.network_calls {
        sandbox.limits.network_calls = calls;
    }
    if let Some(ms) = args.network_call_ms {
        sandbox.limits.network_call = Duration::from_millis(ms);
    }
    if let Some(mib) = args.network_sent_mib {
        sandbox.limits.network_sent_bytes = u64::from(mib) << 20;
    }
    if let Some(mib) = args.network_received_mib {
        sandbox.limits.network_received_bytes = u64::from(mib) << 20;
    }
    if let Some(waiting) = args.controllers_waiting {
        sandbox.waiting = waiting.into();
    }
}

/// Nothing of the text is in an error: it holds secrets.
fn endpoints(text: &str) -> anyhow::Result<RpcEndpoints> {
    let mut all = RpcEndpoints::default();
    for (chain, value) in parse(text)? {
        let Endpoint { url, headers, methods } = match value {
            Value::String(url) => Endpoint { url: url.into(), headers: Vec::new(), methods: RpcMethods::default() },
            Value::Object(table) => from_table(&chain, table)?,
            _ => bail!("`{chain}` is neither a URL nor a table with `url`, `headers` and `methods`"),
        };
        all.insert(&chain, url, headers, methods)?;
    }
    Ok(all)
}

fn parse(text: &str) -> anyhow::Result<Map<String, Value>> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text)
            .map_err(|error| anyhow!("not JSON: line {}, column {}", error.line(), error.column()));
    }
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        anyhow!("not TOML: line {}", before.matches('\n').count() + 1)
    })?;
    match serde_json::to_value(table)? {
        Value::Object(table) => Ok(table),
        _ => bail!("not a table"),
    }
}

struct Endpoint {
    url: SecretString,
    headers: Vec<(String, SecretString)>,
    methods: RpcMethods,
}

fn from_table(chain: &str, table: Map<String, Value>) -> anyhow::Result<Endpoint> {
    let (mut url, mut headers, mut methods) = (None, Vec::new(), RpcMethods::default());
    for (key, value) in table {
        match (key.as_str(), value) {
            ("url", Value::String(value)) => url = Some(SecretString::from(value)),
            ("headers", Value::Object(fields)) => {
                for (name, value) in fields {
                    let Value::String(value) = value else { bail!("the header `{name}` of `{chain}` is not a string") };
                    headers.push((name, SecretString::from(value)));
                }
            }
            ("methods", Value::Array(names)) => {
                let names: Option<Vec<_>> = names.iter().map(Value::as_str).collect();
                let names = names.with_context(|| format!("`{chain}.methods`: expected a list of strings"))?;
                methods = RpcMethods::named(names).with_context(|| format!("`{chain}.methods`"))?;
            }
            (key, _) => bail!(
                "`{chain}.{key}`: expected `url`, a string, `headers`, a table of strings, and `methods`, a list of strings"
            ),
        }
    }
    let url = url.with_context(|| format!("`{chain}.url` is missing"))?;
    Ok(Endpoint { url, headers, methods })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_lines_or_tables_in_toml_or_json() {
        let toml = "eth-mainnet = \"https://a.b/key\"\n[base]\nurl = \"http://10.0.0.1:8545\"\nheaders = { x-key = \"k\" }\nmethods = [\"eth_get*\"]\n";
        let json = r#" {"eth-mainnet": "https://a.b/key",
            "base": {"url": "http://10.0.0.1:8545", "headers": {"x-key": "k"}, "methods": ["eth_get*"]}}"#;
        for text in [toml, json] {
            assert_eq!(endpoints(text).unwrap().chains().collect::<Vec<_>>(), ["base", "eth-mainnet"]);
        }
        assert_eq!(endpoints("").unwrap().chains().count(), 0);
    }

    #[test]
    fn what_is_malformed_is_named_without_its_secrets() {
        for (text, said) in [
            ("a = \"https://hush\nb", "not TOML: line"),
            ("x = \"https://x.y/\"\na = hush", "not TOML: line 2"),
            ("{\"a\": \"hush\"", "not JSON: line 1"),
            ("a = 1", "`a` is neither a URL nor a table"),
            ("[a]\nheaders = { b = \"hush\" }", "`a.url` is missing"),
            ("[a]\nurl = \"https://a/\"\nheaders = { hush = 1 }", "is not a string"),
            ("[a]\nurl = \"https://a/\"\nkey = \"hush\"", "`a.key`"),
            ("[a]\nurl = \"https://a/hush\"\nmethods = [1]", "`a.methods`: expected a list of strings"),
            ("[a]\nurl = \"https://a/hush\"\nmethods = [\"a b\"]", "`a b` names no method"),
            ("a = \"hush\"", "cannot be used"),
            ("a = \"https://u:hush@b/\"", "put credentials into `headers`"),
        ] {
            let error = format!("{:#}", endpoints(text).unwrap_err());
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("hush") || said == "is not a string", "{error}");
        }
    }
}
