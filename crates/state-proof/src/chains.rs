//! Which chains there are, and which node is asked about each. A node's URL and headers hold secrets: nothing shows them.

use anyhow::{Context, bail};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use std::{collections::BTreeMap, env, fmt, fs, path::Path};

const VARIABLE: &str = "COPROCESSOR_RPC";

/// The chains by name.
#[derive(Debug, Default)]
pub(crate) struct Chains(BTreeMap<String, Endpoint>);

/// A node's JSON-RPC.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint")
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Url(String),
    Table(Table),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Those that the coprocessor's controllers may call, where it reads the same file. This service asks for what it asks for.
    #[serde(default, rename = "methods")]
    _methods: Vec<String>,
}

/// The chains from the file or the environment.
///
/// # Errors
/// None are named, or what is written is wrong; without any part of a URL or a header's value.
pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Chains> {
    match (file, env::var(VARIABLE).ok()) {
        (Some(_), Some(_)) => bail!("there are two lists of chains: {VARIABLE} and --rpc-file; give one"),
        (Some(file), None) => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            Chains::parse(&text).with_context(|| format!("{} is wrong", file.display()))
        }
        (None, Some(text)) => Chains::parse(&text).with_context(|| format!("{VARIABLE} is wrong")),
        (None, None) => bail!("no chain is named: give --rpc-file, or set {VARIABLE}"),
    }
}

impl Chains {
    fn parse(text: &str) -> anyhow::Result<Self> {
        // What a parser says quotes the text, and with it the secrets.
        let written: BTreeMap<String, Written> = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| {
                anyhow::anyhow!("not the JSON of a list of chains, at line {} column {}", error.line(), error.column())
            })?
        } else {
            toml::from_str(text).map_err(|error| {
                let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
                anyhow::anyhow!("not the TOML of a list of chains, near line {line}")
            })?
        };
        if written.is_empty() {
            bail!("it names no chain");
        }
        let endpoint = |(name, written): (String, Written)| {
            let endpoint = Endpoint::of(written).with_context(|| format!("chain {name:?}"))?;
            Ok((name, endpoint))
        };
        written.into_iter().map(endpoint).collect::<anyhow::Result<_>>().map(Self)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn into_endpoints(self) -> impl Iterator<Item = (String, Endpoint)> {
        self.0.into_iter()
    }
}

impl Endpoint {
    fn of(written: Written) -> anyhow::Result<Self> {
        let (url, written) = match written {
            Written::Url(url) => (url, BTreeMap::new()),
            Written::Table(Table { url, headers, .. }) => (url, headers),
        };
        let url: Url = url.parse().map_err(|_| anyhow::anyhow!("its URL is none"))?;
        if !matches!(url.scheme(), "http" | "https") {
            bail!("its URL begins with neither https:// nor http://");
        }
        let mut headers = HeaderMap::new();
        for (name, value) in written {
            let mut value: HeaderValue =
                value.parse().map_err(|_| anyhow::anyhow!("the value of its header {name:?} can't be sent"))?;
            value.set_sensitive(true);
            let parsed: HeaderName =
                name.parse().map_err(|_| anyhow::anyhow!("its header {name:?} is no header's name"))?;
            headers.insert(parsed, value);
        }
        Ok(Self { url, headers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_urls_or_tables_in_toml_or_json() {
        let toml = "eth-mainnet = 'https://node/key'\n[anvil]\nurl = 'http://127.0.0.1:8545'\nheaders = { x-key = 'k' }\nmethods = ['eth_getProof']";
        let json = r#"{"eth-mainnet": "https://node/key", "anvil": {"url": "http://127.0.0.1:8545", "headers": {"x-key": "k"}}}"#;
        for text in [toml, json] {
            let chains = Chains::parse(text).unwrap();
            assert_eq!(chains.names().collect::<Vec<_>>(), ["anvil", "eth-mainnet"]);
            assert_eq!(chains.0["anvil"].headers["x-key"], "k");
            assert_eq!(chains.0["eth-mainnet"].url.path(), "/key");
            assert!(!format!("{chains:?}").contains("key"));
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for wrong in [
            "a = 'secret'",
            "a = 'ftp://secret'",
            "a = 'https://secret",
            "a = { url = 'https://secret', other = 1 }",
            "a = { url = 'https://h', headers = { x = \"secret\\n\" } }",
            r#"{"a": "https://secret""#,
            "",
            "{}",
        ] {
            let error = format!("{:#}", Chains::parse(wrong).unwrap_err());
            assert!(!error.contains("secret"), "{wrong}: {error}");
        }
    }
}
