//! A controller's JSON-RPC call to an endpoint of the operator's. Its address and headers often hold a key, and appear nowhere.

use bytes::Bytes;
use coprocessor_outbound::{AllowedHost, Answer, OutboundError, Request, Target};
use coprocessor_sandbox::{HostError, MAX_BUFFER, NetworkAllowance, NetworkReply, RpcRequest};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt};

use super::{Network, RpcMethods, header_bytes, most};

/// Of what an endpoint says went wrong, so much is passed on, in characters.
const MAX_MESSAGE: usize = 300;

/// A part of an address shorter than this is not taken for a secret: it would be found in any text.
const SHORTEST_SECRET: usize = 6;

/// Endpoints by the name of the chain they serve.
#[derive(Clone, Debug, Default)]
pub struct RpcEndpoints(BTreeMap<String, RpcEndpoint>);

/// Where calls on a chain go. Shows nothing but its host and its methods.
#[derive(Clone)]
pub struct RpcEndpoint {
    url: SecretString,
    host: AllowedHost,
    headers: Vec<(String, SecretString)>,
    methods: RpcMethods,
}

/// Why something is no endpoint. Never repeats an address or a header's value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RpcEndpointError {
    /// A name that no controller could ask for.
    #[error("`{0}` is no name for a chain; expected 1 to 64 of a-z A-Z 0-9 - _ .")]
    Name(String),
    /// A header that cannot be sent.
    #[error(
        "the header `{name}` of the RPC endpoint for `{chain}` cannot be sent: a name of letters, digits and -, and a value without line ends"
    )]
    Header {
        /// The chain.
        chain: String,
        /// The header's name.
        name: String,
    },
    /// An address that no request can be sent to.
    #[error("the URL of the RPC endpoint for `{chain}` cannot be used: {reason}; put credentials into `headers`")]
    Url {
        /// The chain.
        chain: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RpcEndpoints {
    /// Adds an endpoint, in place of one with the same name.
    ///
    /// # Errors
    /// A name or an address that cannot be used.
    pub fn insert(
        &mut self,
        chain: &str,
        url: SecretString,
        headers: Vec<(String, SecretString)>,
        methods: RpcMethods,
    ) -> Result<(), RpcEndpointError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=64).contains(&chain.len()) || !chain.bytes().all(good) {
            return Err(RpcEndpointError::Name(chain.chars().take(64).collect()));
        }
        let named =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let sendable = |value: &SecretString| value.expose_secret().bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if let Some((name, _)) = headers.iter().find(|(name, value)| !named(name) || !sendable(value)) {
            return Err(RpcEndpointError::Header { chain: chain.to_owned(), name: name.clone() });
        }
        let unusable = |reason: String| RpcEndpointError::Url { chain: chain.to_owned(), reason };
        let target: Target = url.expose_secret().parse().map_err(|error| unusable(format!("{error}")))?;
        let host =
            format!("{}:{}", target.host(), target.port()).parse().map_err(|error| unusable(format!("{error}")))?;
        self.0.insert(chain.to_owned(), RpcEndpoint { url, host, headers, methods });
        Ok(())
    }

    /// The chains, in order.
    pub fn chains(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All there are here and in `other`; where both have one of a name, the other's.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Hosts that may be reached wherever they are: the operator named them.
    pub(super) fn hosts(&self) -> Vec<AllowedHost> {
        self.0.values().map(|endpoint| endpoint.host.clone()).collect()
    }
}

impl RpcEndpoint {
    /// A text of somebody else's, without anything of the endpoint's address or headers.
    fn without_secrets(&self, text: &str) -> String {
        let url = self.url.expose_secret();
        let mut secrets: Vec<&str> = vec![url];
        secrets.extend(self.headers.iter().map(|(_, value)| value.expose_secret()));
        // A key is often a part of the path or the query, and a header's value begins with the name of its scheme.
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let after_host = rest.find('/').map_or("", |at| &rest[at..]);
        secrets.extend(after_host.split(['/', '?', '&', '=']));
        secrets.extend(self.headers.iter().flat_map(|(_, value)| value.expose_secret().split([' ', ',', ';', ':'])));
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }
}

impl fmt::Debug for RpcEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, methods, .. } = self;
        f.debug_struct("RpcEndpoint").field("host", host).field("methods", methods).finish_non_exhaustive()
    }
}

pub(super) async fn call(network: &Network, request: RpcRequest, allowance: NetworkAllowance) -> NetworkReply<Value> {
    let RpcRequest { chain, method, params } = request;
    let Some(endpoint) = network.settings().rpc.0.get(&chain) else {
        return NetworkReply::refused(format!(
            "there is no RPC endpoint for the chain `{chain}`; the operator names them with --rpc-file"
        ));
    };
    if !endpoint.methods.allow(&method) {
        return NetworkReply::refused(format!(
            "the operator does not allow `{method}` on `{chain}`; the endpoint's `methods` in --rpc-file say what is"
        ));
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let mut reply = NetworkReply { answer: Ok(Value::Null), sent_bytes: body.len() as u64, received_bytes: 0 };
    if reply.sent_bytes > allowance.sent_bytes {
        // The run ends for this, whatever is said here.
        reply.answer = Err(HostError::Refused { reason: "the call is longer than what may still be sent".into() });
        return reply;
    }
    reply.answer = match send(network, endpoint, body, allowance).await {
        Ok(answer) => {
            reply.received_bytes = header_bytes(answer.headers()) + answer.body_prefix.len() as u64;
            if !answer.is_whole && allowance.received_bytes < MAX_BUFFER as u64 {
                reply.received_bytes = reply.received_bytes.max(allowance.received_bytes.saturating_add(1));
            }
            result(endpoint, &chain, &answer)
        }
        Err(error) => Err(error),
    };
    reply
}

async fn send(
    network: &Network,
    endpoint: &RpcEndpoint,
    body: String,
    allowance: NetworkAllowance,
) -> Result<Answer, HostError> {
    let failed = |reason: String| HostError::Failed { reason };
    let client = network.rpc_client().map_err(failed)?;
    // Checked when it was configured.
    let to: Target = endpoint.url.expose_secret().parse().map_err(|error| failed(format!("{error}")))?;
    let mut headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("accept".to_owned(), "application/json".to_owned()),
    ];
    headers.extend(endpoint.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())));
    let request = Request {
        method: "POST",
        to: &to,
        headers: &headers,
        body: Some(&Bytes::from(body)),
        timeout: allowance.time,
        max_response_bytes: most(allowance.received_bytes),
    };
    client.send(request).await.map_err(|error| match error {
        OutboundError::TimedOut { limit, .. } => {
            HostError::Unanswered { reason: format!("the endpoint gave no answer within {} s", limit.as_secs_f64()) }
        }
        // Which host it is is the operator's business.
        OutboundError::Unresolved { .. } => {
            HostError::Unanswered { reason: "the endpoint's host cannot be resolved".into() }
        }
        OutboundError::Connect { reason, .. } => HostError::Unanswered {
            reason: format!("no connection to the endpoint: {}", endpoint.without_secrets(&reason)),
        },
        OutboundError::Broken { reason, .. } => HostError::Unanswered {
            reason: format!("the exchange with the endpoint failed: {}", endpoint.without_secrets(&reason)),
        },
        OutboundError::Header(name) => failed(format!("the endpoint's header `{name}` cannot be sent")),
        OutboundError::Refused { .. } | OutboundError::Method(_) | OutboundError::SetUp(_) => {
            failed("the endpoint cannot be asked".into())
        }
    })
}

/// The call's result, or what the endpoint says went wrong.
fn result(endpoint: &RpcEndpoint, chain: &str, answer: &Answer) -> Result<Value, HostError> {
    if !answer.is_whole {
        return Err(HostError::TooLarge { len: answer.body_prefix.len() as u64 + 1 });
    }
    let unanswered = |reason: String| Err(HostError::Unanswered { reason: format!("`{chain}`: {reason}") });
    let body: Option<Value> = serde_json::from_slice(&answer.body_prefix).ok();
    let Some(Value::Object(mut body)) = body else {
        return unanswered(format!("status {}, and no JSON-RPC answer", answer.status));
    };
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        let message = error["message"].as_str().unwrap_or("no message");
        let message: String = endpoint.without_secrets(message).chars().take(MAX_MESSAGE).collect();
        return unanswered(format!("error {}: {message}", error["code"].as_i64().unwrap_or_default()));
    }
    match body.remove("result") {
        Some(result) if (200..300).contains(&answer.status) => Ok(result),
        _ => unanswered(format!("status {}, and no result", answer.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{
        NetworkSettings,
        testing::{Server, answer},
    };
    use std::time::Duration;

    const ALLOWANCE: NetworkAllowance =
        NetworkAllowance { time: Duration::from_secs(20), sent_bytes: 10_000, received_bytes: 10_000 };
    const KEY: &str = "k3y-of-the-operator";
    const TOKEN: &str = "t0ken-of-the-operator";

    fn endpoints(url: &str) -> NetworkSettings {
        let mut rpc = RpcEndpoints::default();
        let headers = vec![("authorization".to_owned(), SecretString::from(format!("Bearer {TOKEN}")))];
        rpc.insert("eth-mainnet", SecretString::from(url.to_owned()), headers, RpcMethods::default()).unwrap();
        NetworkSettings { rpc, ..NetworkSettings::default() }
    }

    fn network(server: &Server) -> Network {
        Network::new(endpoints(&server.url("127.0.0.1", &format!("/v2/{KEY}"))))
    }

    fn request(chain: &str) -> RpcRequest {
        RpcRequest { chain: chain.into(), method: "eth_call".into(), params: json!([1]) }
    }

    #[tokio::test]
    async fn a_named_endpoint_is_asked_and_its_result_given() {
        let server =
            Server::start(vec![answer("200 OK", "", r#"{"jsonrpc":"2.0","id":1,"result":{"a":"0x1"}}"#)]).await;
        let reply = network(&server).rpc(request("eth-mainnet"), ALLOWANCE).await;
        assert_eq!(reply.answer, Ok(json!({"a": "0x1"})));
        assert!(reply.sent_bytes > 20 && reply.received_bytes > 20);
        let seen = server.requests()[0].clone();
        assert!(seen.starts_with(&format!("POST /v2/{KEY} ")) && seen.contains(TOKEN), "{seen}");
        let body: Value = serde_json::from_str(seen.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body, json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [1]}));
    }

    #[tokio::test]
    async fn another_chain_is_refused() {
        let server = Server::start(vec![answer("200 OK", "", "{}")]).await;
        for chain in ["eth-sepolia", "ETH-MAINNET", "", "eth-mainnet "] {
            let reply = network(&server).rpc(request(chain), ALLOWANCE).await;
            assert!(matches!(&reply.answer, Err(HostError::Refused { reason }) if reason.contains("--rpc-file")));
        }
        assert_eq!(server.requests().len(), 0);
    }

    #[tokio::test]
    async fn a_method_that_is_not_allowed_never_goes_out() {
        let server = Server::start(vec![answer("200 OK", "", r#"{"result":1}"#)]).await;
        let url = server.url("127.0.0.1", "/");
        let mut rpc = endpoints(&url).rpc;
        let methods = RpcMethods::named(["eth_getProof"]).unwrap();
        rpc.insert("narrow", SecretString::from(url), Vec::new(), methods).unwrap();
        let network = Network::new(NetworkSettings { rpc, ..NetworkSettings::default() });
        let call = |chain: &str, method: &str| RpcRequest { method: method.into(), ..request(chain) };
        for (chain, method) in [("eth-mainnet", "personal_sign"), ("narrow", "eth_call"), ("narrow", "personal_sign")] {
            let reply = network.rpc(call(chain, method), ALLOWANCE).await;
            let Err(HostError::Refused { reason }) = &reply.answer else { panic!("{:?}", reply.answer) };
            assert!(reason.contains(method) && reason.contains("`methods`"), "{reason}");
            assert_eq!(reply.sent_bytes, 0);
        }
        assert_eq!(server.requests().len(), 0);
        assert_eq!(network.rpc(call("narrow", "eth_getProof"), ALLOWANCE).await.answer, Ok(json!(1)));
    }

    #[tokio::test]
    async fn a_null_result_is_a_result() {
        let server = Server::start(vec![answer("200 OK", "", r#"{"result":null,"error":null}"#)]).await;
        assert_eq!(network(&server).rpc(request("eth-mainnet"), ALLOWANCE).await.answer, Ok(Value::Null));
    }

    #[tokio::test]
    async fn what_an_endpoint_says_went_wrong_is_told_without_the_operators_secrets() {
        let echo = format!("no credit left for {KEY} at /v2/{KEY} with Bearer {TOKEN} {}", "x".repeat(1000));
        for (status, body, said) in [
            ("200 OK", json!({"error": {"code": -32000, "message": echo}}).to_string(), "error -32000: no credit left"),
            ("429 Slow Down", json!({"error": {"code": 7, "message": "later"}}).to_string(), "error 7: later"),
            ("401 Unauthorized", format!("<html>{KEY}</html>"), "status 401, and no JSON-RPC answer"),
            ("200 OK", "[]".into(), "status 200, and no JSON-RPC answer"),
            ("200 OK", "{}".into(), "status 200, and no result"),
            ("500 Oops", r#"{"result":1}"#.into(), "status 500, and no result"),
            ("302 Found", "{}".into(), "status 302, and no result"),
        ] {
            let server = Server::start(vec![answer(status, "location: http://127.0.0.1:1/\r\n", &body)]).await;
            let reply = network(&server).rpc(request("eth-mainnet"), ALLOWANCE).await;
            let Err(HostError::Unanswered { reason }) = &reply.answer else { panic!("{:?}", reply.answer) };
            assert!(reason.contains(said), "{reason}");
            assert!(!reason.contains(KEY) && !reason.contains(TOKEN) && reason.len() < 500, "{reason}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_is_silent_or_away_says_nothing_of_where_it_is() {
        let silent = Server::holding(vec![Vec::new()]).await;
        let allowance = NetworkAllowance { time: Duration::from_millis(150), ..ALLOWANCE };
        let away = Network::new(endpoints(&format!("http://127.0.0.1:1/v2/{KEY}")));
        let nowhere = Network::new(endpoints(&format!("http://{KEY}.invalid/v2/{KEY}")));
        for network in [network(&silent), away, nowhere] {
            let reply = network.rpc(request("eth-mainnet"), allowance).await;
            let Err(HostError::Unanswered { reason }) = &reply.answer else { panic!("{:?}", reply.answer) };
            assert!(!reason.contains(KEY) && !reason.contains("127.0.0.1"), "{reason}");
        }
    }

    #[tokio::test]
    async fn calls_are_bounded() {
        let long = json!({"result": "x".repeat(5000)}).to_string();
        let server = Server::start(vec![answer("200 OK", "", &long)]).await;
        let allowance = NetworkAllowance { received_bytes: 100, ..ALLOWANCE };
        let reply = network(&server).rpc(request("eth-mainnet"), allowance).await;
        assert!(matches!(reply.answer, Err(HostError::TooLarge { .. })) && reply.received_bytes > 100);
        let allowance = NetworkAllowance { sent_bytes: 10, ..ALLOWANCE };
        let reply = network(&server).rpc(request("eth-mainnet"), allowance).await;
        assert!(reply.answer.is_err() && reply.sent_bytes > 10);
        assert_eq!(server.requests().len(), 1);
    }

    #[test]
    fn nothing_of_an_endpoint_is_shown_but_its_host() {
        let settings = endpoints(&format!("https://rpc.example.com/v2/{KEY}"));
        let shown = format!("{settings:?}");
        assert!(shown.contains("rpc.example.com") && !shown.contains(KEY) && !shown.contains(TOKEN), "{shown}");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_repeating_it() {
        let mut rpc = RpcEndpoints::default();
        let mut refused = |chain: &str, url: &str| {
            let url = SecretString::from(url.to_owned());
            rpc.insert(chain, url, Vec::new(), RpcMethods::default()).unwrap_err().to_string()
        };
        for name in ["", "a b", "ä", &"x".repeat(65)] {
            assert!(refused(name, "https://a.b/").contains("no name for a chain"), "{name}");
        }
        for (name, value) in [("a b", "x"), ("", "x"), ("a", "b\r\nc: d"), ("a", "ä")] {
            let headers = vec![(name.to_owned(), SecretString::from(value.to_owned()))];
            let (url, methods) = (SecretString::from("https://a.b/".to_owned()), RpcMethods::default());
            let error = RpcEndpoints::default().insert("eth", url, headers, methods).unwrap_err();
            assert!(matches!(&error, RpcEndpointError::Header { name: named, .. } if named == name), "{error}");
        }
        for url in [format!("https://user:{KEY}@a.b/"), format!("wss://a.b/{KEY}"), format!("a.b/{KEY}")] {
            let error = refused("eth", &url);
            assert!(error.contains("`eth`") && !error.contains(KEY), "{error}");
        }
    }
}
