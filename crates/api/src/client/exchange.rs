//! One request, one answer: addresses, deadlines, and what a status means.

use super::{ClientError, Download};
use crate::{HealthView, Problem};
use coprocessor_types::ProgramId;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, time::Duration};

/// A service that does not accept a connection for this long is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// Answers that need no guest code are there long before.
const ANSWER: Duration = Duration::from_secs(60);
/// Finds out that the other side is gone while it computes.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long to wait for an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// The service only looks something up.
    Answer,
    /// The service runs guest code or moves much data, under its own limits.
    Work,
}

#[derive(Clone, Debug)]
pub(super) struct Exchange {
    http: reqwest::Client,
    base: Url,
    shown: String,
    authorization: Option<HeaderValue>,
}

impl Exchange {
    pub(super) fn new(base_url: &str) -> Result<Self, ClientError> {
        let base = parse_base(base_url)?;
        // A process has one provider; where another part was first, its choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("coprocessor-client/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .tcp_keepalive(KEEP_ALIVE)
            .redirect(reqwest::redirect::Policy::none());
        if base.scheme() == "http" {
            // Plain HTTP never needs a root certificate, so a system without any is no obstacle.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|source| ClientError::Tls { source })?;
        let shown = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, base, shown, authorization: None })
    }

    /// Sends `key` along with every request from now on.
    pub(super) fn authorize(&mut self, key: &SecretString, in_clear: bool) -> Result<(), ClientError> {
        if self.base.scheme() == "http" && !is_loopback(&self.base) && !in_clear {
            return Err(ClientError::KeyInClear { url: self.shown.clone() });
        }
        let key = key.expose_secret().trim();
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        let value = is_key.then(|| HeaderValue::from_str(&format!("Bearer {key}")).ok()).flatten();
        let mut value = value.ok_or(ClientError::BadKey)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(())
    }

    pub(super) fn base_url(&self) -> &str {
        &self.shown
    }

    /// A request below `/api/v1`; each part of `path` is one segment.
    pub(super) fn request(
        &self,
        method: Method,
        path: &[&str],
        patience: Patience,
    ) -> Result<RequestBuilder, ClientError> {
        let mut segments = vec!["api", "v1"];
        segments.extend(path);
        self.at(method, &segments, patience)
    }

    /// A request for a path of a volume, which may end with a slash.
    pub(super) fn file_request(
        &self,
        method: Method,
        program: &ProgramId,
        path: &str,
        patience: Patience,
    ) -> Result<RequestBuilder, ClientError> {
        let program = program.to_string();
        let mut segments = vec!["programs", &program, "files"];
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            if matches!(segment, "." | "..") {
                return Err(ClientError::BadPath { path: path.to_owned(), segment: segment.to_owned() });
            }
            segments.push(segment);
        }
        if path.ends_with('/') && segments.len() > 3 {
            // As it was given: a directory.
            segments.push("");
        }
        self.request(method, &segments, patience)
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path, Patience::Answer)?.header(ACCEPT, "application/json");
        json(self.send(request.query(query)).await?).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.request(Method::POST, path, Patience::Work)?;
        json(self.send(request.json(body)).await?).await
    }

    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.request(Method::PUT, path, Patience::Answer)?;
        json(self.send(request.json(body)).await?).await
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, path, Patience::Work)?).await.map(drop)
    }

    pub(super) async fn download(&self, path: &[&str], query: &[(&str, String)]) -> Result<Download, ClientError> {
        let request = self.request(Method::GET, path, Patience::Work)?.header(ACCEPT, "application/octet-stream");
        self.send(request.query(query)).await.map(Download::new)
    }

    pub(super) async fn live(&self) -> Result<(), ClientError> {
        self.send(self.at(Method::GET, &["health", "live"], Patience::Answer)?).await.map(drop)
    }

    /// Whether it is ready, and what it says; the problem of one that is not ready is its status.
    pub(super) async fn ready(&self) -> Result<(bool, HealthView), ClientError> {
        match self.send(self.at(Method::GET, &["health", "ready"], Patience::Answer)?).await {
            Ok(response) => json(response).await.map(|view| (true, view)),
            Err(ClientError::Problem(problem)) if problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() => {
                Ok((false, HealthView { status: problem.detail, problems: Vec::new(), tasks: BTreeMap::new() }))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends, and turns every status but success into an error.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = self.fetch(request).await?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    async fn fetch(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        request.send().await.map_err(|source| {
            let url = self.shown.clone();
            if source.is_connect() {
                ClientError::Unreachable { url, source }
            } else {
                ClientError::Interrupted { url, source }
            }
        })
    }

    fn at(&self, method: Method, segments: &[&str], patience: Patience) -> Result<RequestBuilder, ClientError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::BadUrl { url: self.shown.clone(), reason: "it has no path".to_owned() })?
            .pop_if_empty()
            .extend(segments);
        let mut request = self.http.request(method, url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        Ok(match patience {
            Patience::Answer => request.timeout(ANSWER),
            Patience::Work => request,
        })
    }
}

/// The body, read as JSON.
pub(super) async fn json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let (url, status) = (origin(&response), response.status().as_u16());
    let body = response.bytes().await.map_err(|source| ClientError::Interrupted { url: url.clone(), source })?;
    serde_json::from_slice(&body).map_err(|error| ClientError::UnexpectedAnswer {
        url,
        status,
        reason: format!("not the JSON that this version of the client knows: {error}"),
        body: excerpt(&body),
    })
}

/// Scheme, host and port of the service that answered.
pub(super) fn origin(response: &Response) -> String {
    response.url().origin().ascii_serialization()
}

/// How a body begins, safe to show.
pub(super) fn excerpt(body: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if body.len() > SHOWN {
        shown.push('…');
    }
    shown
}

async fn refusal(response: Response) -> ClientError {
    let (url, status, is_problem) = (origin(&response), response.status(), is_problem(&response));
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(source) => return ClientError::Interrupted { url, source },
    };
    let reason = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if is_problem => return ClientError::Problem(Box::new(problem)),
        _ if status.is_redirection() => "it redirects; give the final address",
        _ => "an error, but no problem document as a coprocessor gives; another service listens there",
    };
    ClientError::UnexpectedAnswer { url, status: status.as_u16(), reason: reason.to_owned(), body: excerpt(&body) }
}

fn is_problem(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/problem+json"))
}

fn parse_base(base_url: &str) -> Result<Url, ClientError> {
    let bad = |url: &str, reason: &str| ClientError::BadUrl { url: url.to_owned(), reason: reason.to_owned() };
    let url = Url::parse(base_url.trim()).map_err(|error| bad(base_url, &error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(url.host_str().unwrap_or_default(), "credentials do not belong in an address"));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(base_url, "its scheme is neither http nor https"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad(base_url, "it has a query or a fragment"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(base: &str, program: &ProgramId, path: &str) -> Result<String, ClientError> {
        let request = Exchange::new(base)?.file_request(Method::GET, program, path, Patience::Work)?;
        Ok(request.build().expect("a request").url().to_string())
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for bad in ["", "127.0.0.1:37281", "ftp://host", "http://host/?a=b", "http://user:pw@host", "http://"] {
            let error = Exchange::new(bad).expect_err(bad);
            assert!(matches!(error, ClientError::BadUrl { .. }), "{bad}: {error}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
    }

    #[test]
    fn a_path_prefix_of_the_address_stays_and_segments_are_escaped() {
        let program = ProgramId([1; 32]);
        let expected = format!("http://h:1/x/api/v1/programs/{program}/files/a%20b/c%3F");
        assert_eq!(url_of("http://h:1/x/", &program, "/a b//c?").unwrap(), expected);
        assert_eq!(url_of("http://h:1/x/", &program, "a b/c?/").unwrap(), expected + "/");
        let root = format!("http://h:1/api/v1/programs/{program}/files");
        assert_eq!(url_of("http://h:1", &program, "/").unwrap(), root);
        assert_eq!(Exchange::new("http://h:1/x/").unwrap().base_url(), "http://h:1/x");
    }

    #[test]
    fn a_key_is_sent_in_clear_only_when_told_so_and_never_printed() {
        let key = SecretString::from("cpk_0123456789abcdef_hush");
        for (base, in_clear, taken) in [
            ("http://127.0.0.1:1", false, true),
            ("http://localhost", false, true),
            ("http://[::1]:1", false, true),
            ("https://h", false, true),
            ("http://h", false, false),
            ("http://127.0.0.1.example", false, false),
            ("http://h", true, true),
        ] {
            let mut exchange = Exchange::new(base).unwrap();
            assert_eq!(exchange.authorize(&key, in_clear).is_ok(), taken, "{base}");
            assert!(!format!("{exchange:?}").contains("hush"), "{exchange:?}");
            let request = exchange.request(Method::GET, &["tasks"], Patience::Answer).unwrap();
            assert_eq!(request.build().unwrap().headers().contains_key(AUTHORIZATION), taken, "{base}");
        }
        let mut exchange = Exchange::new("http://localhost").unwrap();
        for bad in ["", " ", "a b", "a\nb", "ä"] {
            let error = exchange.authorize(&SecretString::from(bad), false).unwrap_err();
            assert!(matches!(error, ClientError::BadKey), "{bad:?}");
        }
    }

    #[test]
    fn a_path_cannot_leave_the_volume() {
        let error = url_of("http://h", &ProgramId([1; 32]), "a/../../tasks").unwrap_err();
        assert!(matches!(error, ClientError::BadPath { .. }), "{error}");
    }

    #[test]
    fn an_excerpt_is_short_and_shows_no_control_characters() {
        assert_eq!(excerpt(b"a\x1b[31m\n"), "a [31m ");
        assert_eq!(excerpt(&[b'x'; 500]).chars().count(), 201);
    }
}
