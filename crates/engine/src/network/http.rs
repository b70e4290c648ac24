//! A controller's HTTP request: asked of the rules, sent, and its redirects the same way.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use coprocessor_outbound::{Answer, OutboundError, Request, Target};
use coprocessor_sandbox::{
    Authorization, HostError, HttpAnswer, HttpRequest, MAX_BUFFER, NetworkAllowance, NetworkReply,
};
use std::time::Instant;

use super::{Network, header_bytes, most};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// Headers that say how a request is sent, or to whom: not the controller's to say. A host beside the address's own would get
/// around what the operator allowed.
const NOT_ITS_OWN: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that are for the origin they were written for.
const FOR_ONE_ORIGIN: &[&str] = &["authorization", "cookie", "www-authenticate"];

/// Headers that describe a body.
const OF_A_BODY: &[&str] = &["content-type", "content-encoding", "content-language", "content-location"];

/// What one request of a controller, with its redirects, has used and may use.
struct Exchange<'a> {
    network: &'a Network,
    allowance: NetworkAllowance,
    began: Instant,
    sent: u64,
    received: u64,
}

/// One request of them.
struct Hop {
    method: String,
    to: Target,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

pub(super) async fn send(
    network: &Network,
    request: HttpRequest,
    allowance: NetworkAllowance,
) -> NetworkReply<HttpAnswer> {
    let mut exchange = Exchange { network, allowance, began: Instant::now(), sent: 0, received: 0 };
    let answer = match first(request) {
        Ok(hop) => exchange.follow(hop).await,
        Err(reason) => Err(HostError::Refused { reason }),
    };
    NetworkReply { answer, sent_bytes: exchange.sent, received_bytes: exchange.received }
}

/// The request as it was written, checked for its form.
fn first(request: HttpRequest) -> Result<Hop, String> {
    let HttpRequest { method, url, query, mut headers, authorization, body } = request;
    // A fragment is never sent.
    let url = url.split_once('#').map_or(url.as_str(), |(url, _)| url);
    let to: Target = url.parse().map_err(|error| format!("`url`: {error}"))?;
    let to = to.with_query(&query).map_err(|error| format!("`query`: {error}"))?;
    if let Some((name, _)) = headers.iter().find(|(name, _)| is_among(name, NOT_ITS_OWN)) {
        return Err(format!("the header `{name}` is set by the service"));
    }
    if let Some(authorization) = authorization {
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        headers.push(("authorization".into(), written(&authorization)));
    }
    Ok(Hop { method, to, headers, body: body.map(Bytes::from) })
}

fn written(authorization: &Authorization) -> String {
    match authorization {
        Authorization::Bearer(token) => format!("Bearer {token}"),
        Authorization::Basic { username, password } => {
            let both = format!("{username}:{}", password.as_deref().unwrap_or_default());
            format!("Basic {}", STANDARD.encode(both))
        }
    }
}

fn is_among(name: &str, names: &[&str]) -> bool {
    names.iter().any(|among| name.eq_ignore_ascii_case(among))
}

impl Exchange<'_> {
    async fn follow(&mut self, mut hop: Hop) -> Result<HttpAnswer, HostError> {
        for redirects in 0..=MAX_REDIRECTS {
            let answer = self.one(&hop).await?;
            let Some(location) = location(&answer) else { return self.whole(answer) };
            if redirects < MAX_REDIRECTS {
                hop = hop.redirected(answer.status, location)?;
            }
        }
        Err(HostError::Unanswered {
            reason: format!("more than {MAX_REDIRECTS} redirects, the last from {}", hop.to.host()),
        })
    }

    async fn one(&mut self, hop: &Hop) -> Result<Answer, HostError> {
        let Hop { method, to, headers, body } = hop;
        if !self.network.settings().http.iter().any(|rule| rule.allows(method, to)) {
            let (host, port) = (to.host(), to.port());
            let reason =
                format!("{method} requests to {host}:{port} are not allowed here; the operator can with --http-allow");
            return Err(HostError::Refused { reason });
        }
        self.sent += (method.len() + to.as_str().len()) as u64
            + header_bytes(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            + body.as_ref().map_or(0, |body| body.len() as u64);
        if self.sent > self.allowance.sent_bytes {
            // The run ends for this, whatever is said here.
            return Err(HostError::Refused { reason: "the request is longer than what may still be sent".into() });
        }
        let client = self.network.http_client().map_err(|reason| HostError::Failed { reason })?;
        let left = self.allowance.received_bytes.saturating_sub(self.received);
        let answer = client
            .send(Request {
                method,
                to,
                headers,
                body: body.as_ref(),
                timeout: self.allowance.time.saturating_sub(self.began.elapsed()),
                max_response_bytes: most(left),
            })
            .await
            .map_err(|error| self.failed(error))?;
        self.received += header_bytes(answer.headers()) + answer.body_prefix.len() as u64;
        if !answer.is_whole && left < MAX_BUFFER as u64 {
            // At the first byte too many: the run ends for this.
            self.received = self.received.max(self.allowance.received_bytes.saturating_add(1));
        }
        Ok(answer)
    }

    fn failed(&self, error: OutboundError) -> HostError {
        let reason = match error {
            OutboundError::Refused { host } => {
                let reason = format!(
                    "{host} has no public address; where it is meant, the operator has to allow it with --http-allow-private"
                );
                return HostError::Refused { reason };
            }
            OutboundError::Header(_) | OutboundError::Method(_) => {
                return HostError::Refused { reason: error.to_string() };
            }
            // What is left for a redirect is not what the whole call had.
            OutboundError::TimedOut { host, .. } => {
                format!("{host} gave no answer within {} s", self.allowance.time.as_secs_f64())
            }
            other => other.to_string(),
        };
        HostError::Unanswered { reason }
    }

    fn whole(&self, answer: Answer) -> Result<HttpAnswer, HostError> {
        if !answer.is_whole {
            return Err(HostError::TooLarge { len: answer.body_prefix.len() as u64 + 1 });
        }
        let headers = answer.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(HttpAnswer { status: answer.status, headers, body: answer.body_prefix.to_vec() })
    }
}

/// Where an answer sends on to.
fn location(answer: &Answer) -> Option<&str> {
    matches!(answer.status, 301 | 302 | 303 | 307 | 308).then(|| answer.header("location")).flatten()
}

impl Hop {
    /// The next request, as browsers make it: after 303, and after 301 and 302 to a POST, it is a GET without a body.
    fn redirected(self, status: u16, location: &str) -> Result<Self, HostError> {
        let Self { mut method, to: from, mut headers, mut body } = self;
        let to = from.redirected(location).map_err(|error| HostError::Refused {
            reason: format!("{} redirects to where no request can be sent: {error}", from.host()),
        })?;
        let becomes_get = match status {
            303 => method != "HEAD",
            301 | 302 => method == "POST",
            _ => false,
        };
        if becomes_get {
            method = "GET".into();
            body = None;
            headers.retain(|(name, _)| !is_among(name, OF_A_BODY));
        }
        if !to.is_same_origin(&from) {
            headers.retain(|(name, _)| !is_among(name, FOR_ONE_ORIGIN));
        }
        Ok(Self { method, to, headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{
        NetworkSettings,
        testing::{HERE, Names, Server, answer, network},
    };
    use std::{sync::Arc, time::Duration};

    const ALLOWANCE: NetworkAllowance =
        NetworkAllowance { time: Duration::from_secs(20), sent_bytes: 10_000, received_bytes: 10_000 };

    fn get(url: &str) -> HttpRequest {
        HttpRequest {
            method: "GET".into(),
            url: url.into(),
            query: Vec::new(),
            headers: Vec::new(),
            authorization: None,
            body: None,
        }
    }

    async fn sent(network: &Network, request: HttpRequest) -> Result<HttpAnswer, HostError> {
        network.http(request, ALLOWANCE).await.answer
    }

    fn refusal(answer: Result<HttpAnswer, HostError>) -> String {
        match answer {
            Err(HostError::Refused { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn nothing_is_allowed_by_default() {
        let server = Server::start(vec![answer("200 OK", "", "")]).await;
        let network = Network::new(NetworkSettings::default());
        let reason = refusal(sent(&network, get(&server.url("127.0.0.1", "/"))).await);
        assert!(reason.contains("GET requests to 127.0.0.1") && reason.contains("--http-allow"), "{reason}");
        assert_eq!(server.requests().len(), 0);
    }

    #[tokio::test]
    async fn an_allowed_request_is_sent_as_it_was_written() {
        let server = Server::start(vec![answer("201 Created", "x-a: b\r\n", "thanks")]).await;
        let network = network(&["POST@127.0.0.1"], &["127.0.0.1"]);
        let request = HttpRequest {
            method: "POST".into(),
            query: vec![("q".into(), "1 2".into())],
            headers: vec![("X-Mine".into(), "yes".into())],
            authorization: Some(Authorization::Basic { username: "u".into(), password: None }),
            body: Some(b"hello".to_vec()),
            ..get(&server.url("127.0.0.1", "/a?b=c#d"))
        };
        let reply = network.http(request.clone(), ALLOWANCE).await;
        let got = reply.answer.unwrap();
        assert_eq!((got.status, &*got.body), (201, &b"thanks"[..]));
        assert!(got.headers.contains(&("x-a".into(), "b".into())));
        assert!(reply.sent_bytes > 50 && reply.received_bytes > 10, "{} {}", reply.sent_bytes, reply.received_bytes);
        let seen = server.requests()[0].clone();
        assert!(seen.starts_with("POST /a?b=c&q=1+2 HTTP/1.1\r\n") && seen.ends_with("\r\n\r\nhello"), "{seen}");
        assert!(seen.contains("x-mine: yes") && seen.contains("authorization: Basic dTo="), "{seen}");
        let reason = refusal(sent(&network, HttpRequest { method: "PUT".into(), ..request }).await);
        assert!(reason.starts_with("PUT requests"), "{reason}");
    }

    #[tokio::test]
    async fn an_allowed_host_that_is_not_public_is_refused_all_the_same() {
        let server = Server::start(vec![answer("200 OK", "", "")]).await;
        let network = network(&["*"], &[]);
        for host in ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"] {
            let reason = refusal(sent(&network, get(&server.url(host, "/"))).await);
            assert!(reason.contains("--http-allow-private"), "{reason}");
        }
        assert_eq!(server.requests().len(), 0);
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_at_each_connection_without_saying_where_it_leads() {
        let server = Server::start(vec![answer("200 OK", "", "")]).await;
        let settings = NetworkSettings { http: vec!["*".parse().unwrap()], ..NetworkSettings::default() };
        let network = Network::with_resolver(settings, Arc::new(Names(HERE)));
        for _ in 0..3 {
            let reason = refusal(sent(&network, get(&server.url("api.example.com", "/"))).await);
            assert!(reason.contains("api.example.com") && !reason.contains("127.0.0.1"), "{reason}");
        }
        assert_eq!(server.requests().len(), 0);
    }

    #[tokio::test]
    async fn redirects_are_followed_where_they_are_allowed() {
        let to = Server::start(vec![answer("200 OK", "", "there")]).await;
        let there = format!("location: {}\r\n", to.url("127.0.0.1", "/there"));
        for (status, method, becomes) in [
            ("301 Moved", "POST", "GET"),
            ("302 Found", "PUT", "PUT"),
            ("303 See Other", "PUT", "GET"),
            ("307 Temporary", "POST", "POST"),
            ("308 Permanent", "POST", "POST"),
        ] {
            let from = Server::start(vec![answer(status, &there, "")]).await;
            let network = network(&["127.0.0.1"], &["127.0.0.1"]);
            let request = HttpRequest {
                method: method.into(),
                headers: vec![("cookie".into(), "c".into()), ("x-mine".into(), "1".into())],
                authorization: Some(Authorization::Bearer("hush".into())),
                body: Some(b"hello".to_vec()),
                ..get(&from.url("127.0.0.1", "/"))
            };
            assert_eq!(sent(&network, request).await.unwrap().body, b"there");
            let seen = to.requests().last().unwrap().clone();
            assert!(seen.starts_with(&format!("{becomes} /there")), "{seen}");
            assert_eq!(seen.ends_with("hello"), becomes != "GET", "{seen}");
            // Another port is another origin: its credentials are not for this one.
            assert!(!seen.contains("hush") && !seen.contains("cookie") && seen.contains("x-mine"), "{seen}");
        }
    }

    #[tokio::test]
    async fn a_redirect_to_what_is_not_allowed_is_refused() {
        let inside = Server::start(vec![answer("200 OK", "", "secret")]).await;
        for (location, said) in [
            ("http://metadata.example.com/".to_owned(), "GET requests to metadata.example.com:80 are not allowed"),
            (inside.url("localhost", "/"), "GET requests to localhost"),
            (inside.url("127.0.0.2", "/"), "127.0.0.2 has no public address"),
            ("file:///etc/passwd".to_owned(), "redirects to where no request can be sent"),
            ("http://u:p@127.0.0.1/".to_owned(), "redirects to where no request can be sent"),
        ] {
            let from = Server::start(vec![answer("302 Found", &format!("location: {location}\r\n"), "")]).await;
            let network = network(&["127.0.0.1", "127.0.0.2"], &["127.0.0.1"]);
            let reason = refusal(sent(&network, get(&from.url("127.0.0.1", "/"))).await);
            assert!(reason.contains(said), "{reason}");
        }
        assert_eq!(inside.requests().len(), 0);
    }

    #[tokio::test]
    async fn redirects_without_an_end_are_given_up() {
        let server = Server::start(vec![answer("302 Found", "location: /again\r\n", "")]).await;
        let network = network(&["127.0.0.1"], &["127.0.0.1"]);
        let got = sent(&network, get(&server.url("127.0.0.1", "/"))).await;
        assert!(
            matches!(&got, Err(HostError::Unanswered { reason }) if reason.contains("more than 5 redirects")),
            "{got:?}"
        );
        assert_eq!(server.requests().len(), 1 + MAX_REDIRECTS);
    }

    #[tokio::test]
    async fn an_answer_too_long_is_ended_and_counted_as_too_much() {
        let server = Server::start(vec![answer("200 OK", "", &"x".repeat(5000))]).await;
        let network = network(&["127.0.0.1"], &["127.0.0.1"]);
        let allowance = NetworkAllowance { received_bytes: 1000, ..ALLOWANCE };
        let reply = network.http(get(&server.url("127.0.0.1", "/")), allowance).await;
        assert!(matches!(reply.answer, Err(HostError::TooLarge { .. })), "{:?}", reply.answer);
        assert!(reply.received_bytes > 1000 && reply.received_bytes < 2000, "{}", reply.received_bytes);

        let server = Server::start(vec![answer("200 OK", "", &"x".repeat(MAX_BUFFER + 1))]).await;
        let allowance = NetworkAllowance { received_bytes: 4 * MAX_BUFFER as u64, ..ALLOWANCE };
        let reply = network.http(get(&server.url("127.0.0.1", "/")), allowance).await;
        assert!(matches!(reply.answer, Err(HostError::TooLarge { .. })), "{:?}", reply.answer);
        assert!(reply.received_bytes < allowance.received_bytes);
    }

    #[tokio::test]
    async fn a_request_too_long_is_not_sent() {
        let server = Server::start(vec![answer("200 OK", "", "")]).await;
        let network = network(&["127.0.0.1"], &["127.0.0.1"]);
        let request = HttpRequest { body: Some(vec![0; 20_000]), ..get(&server.url("127.0.0.1", "/")) };
        let reply = network.http(request, ALLOWANCE).await;
        assert!(reply.sent_bytes > ALLOWANCE.sent_bytes);
        assert_eq!(server.requests().len(), 0);
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_or_is_not_there_is_given_up() {
        let silent = Server::holding(vec![Vec::new()]).await;
        let network = network(&["127.0.0.1"], &["127.0.0.1"]);
        let allowance = NetworkAllowance { time: Duration::from_millis(150), ..ALLOWANCE };
        let got = network.http(get(&silent.url("127.0.0.1", "/")), allowance).await.answer;
        assert!(matches!(&got, Err(HostError::Unanswered { reason }) if reason.contains("within 0.15 s")), "{got:?}");
        let got = sent(&network, get("http://127.0.0.1:1/")).await;
        assert!(matches!(&got, Err(HostError::Unanswered { .. })), "{got:?}");
    }

    #[tokio::test]
    async fn what_is_not_the_controllers_to_say_is_refused() {
        let network = network(&["*"], &["127.0.0.1"]);
        for name in ["Host", "Transfer-Encoding", "content-length", "proxy-authorization"] {
            let headers = vec![(name.to_owned(), "x".to_owned())];
            let reason = refusal(sent(&network, HttpRequest { headers, ..get("http://127.0.0.1:1/") }).await);
            assert!(reason.contains(name), "{reason}");
        }
        for (url, said) in [("ftp://a/", "http or https"), ("http://u:p@a/", "user or password"), ("x", "not a URL")] {
            assert!(refusal(sent(&network, get(url)).await).contains(said), "{url}");
        }
        let headers = vec![("a".to_owned(), "b\r\nc: d".to_owned())];
        refusal(sent(&network, HttpRequest { headers, ..get("http://127.0.0.1:1/") }).await);
        refusal(sent(&network, HttpRequest { method: "G T".into(), ..get("http://127.0.0.1:1/") }).await);
    }
}
