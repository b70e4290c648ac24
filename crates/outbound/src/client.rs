//! The client itself.

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::{
    AllowedHost, Dialer, OutboundError, Resolve, SystemResolver, Target,
    resolve::{Guard, LookUpError},
};

/// How requests are guarded.
#[derive(Clone, Debug)]
pub struct GuardSettings {
    /// Hosts that may be reached wherever they are.
    pub allow: Vec<AllowedHost>,
    /// From the first look-up to the last byte of the answer.
    pub timeout: Duration,
    /// Most bytes of an answer's body that are read.
    pub max_response_bytes: usize,
    /// What the requests say they are from.
    pub user_agent: String,
}

/// A request with bounds of its own.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// Where to.
    pub to: &'a Target,
    /// Names and values.
    pub headers: &'a [(String, String)],
    /// `None` for a request without a body, which says nothing of a body's length.
    pub body: Option<&'a Bytes>,
    /// From the first look-up to the last byte of the answer.
    pub timeout: Duration,
    /// Most bytes of the answer's body that are read.
    pub max_response_bytes: usize,
}

/// What a receiver answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status; a redirect too is an answer.
    pub status: u16,
    /// The body's first bytes, up to the limit.
    pub body_prefix: Bytes,
    /// Whether that is all of the body.
    pub is_whole: bool,
    headers: HeaderMap,
}

impl Answer {
    /// All headers whose values are text, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// A header's value, where it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends requests to where others want them sent, but not everywhere: see the crate's documentation. Cheap to clone.
#[derive(Clone)]
pub struct GuardedClient {
    settings: Arc<GuardSettings>,
    dialer: Dialer,
    /// Connects to public addresses alone.
    guarded: reqwest::Client,
    /// For allowed hosts. Apart, so that no connection of one is ever taken for the other.
    open: reqwest::Client,
}

impl GuardedClient {
    /// A client that asks the system's resolver.
    ///
    /// # Errors
    /// [`OutboundError::SetUp`]: the system's certificates cannot be read.
    pub fn new(settings: GuardSettings) -> Result<Self, OutboundError> {
        Self::with_resolver(settings, Arc::new(SystemResolver))
    }

    /// A client with a resolver of the caller's. What that answers is judged all the same.
    ///
    /// # Errors
    /// As for [`GuardedClient::new`].
    pub fn with_resolver(settings: GuardSettings, resolver: Arc<dyn Resolve>) -> Result<Self, OutboundError> {
        // A process has one provider; where another part was first, its choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |open| {
            reqwest::Client::builder()
                .user_agent(&settings.user_agent)
                .timeout(settings.timeout)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .dns_resolver(Arc::new(Guard { resolver: Arc::clone(&resolver), open }))
                .build()
                .map_err(OutboundError::SetUp)
        };
        let (guarded, open) = (client(false)?, client(true)?);
        let dialer = Dialer::with_resolver(settings.allow.clone(), settings.timeout, resolver);
        Ok(Self { settings: Arc::new(settings), dialer, guarded, open })
    }

    /// Whether the operator allowed the target's host, wherever it is.
    pub fn allows(&self, target: &Target) -> bool {
        self.dialer.allows(target)
    }

    /// Refuses a target whose host is an address that must not be reached. Where the host is a name, only a request tells.
    ///
    /// # Errors
    /// [`OutboundError::Refused`].
    pub fn check(&self, target: &Target) -> Result<(), OutboundError> {
        self.dialer.check(target)
    }

    /// Sends `body` with `headers` and waits for the answer.
    ///
    /// # Errors
    /// Every way there can be no answer; an answer of any status is one.
    pub async fn post(&self, to: &Target, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, OutboundError> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let GuardSettings { timeout, max_response_bytes, .. } = *self.settings;
        let (headers, body) = (&headers[..], Some(&body));
        self.send(Request { method: "POST", to, headers, body, timeout, max_response_bytes }).await
    }

    /// Sends a request with bounds of its own and waits for the answer.
    ///
    /// # Errors
    /// As for [`GuardedClient::post`]; [`OutboundError::Method`].
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, OutboundError> {
        let Request { method, to, headers, body, timeout, max_response_bytes: limit } = request;
        self.check(to)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| OutboundError::Method(method.to_owned()))?;
        let mut sent = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers {
            let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (name, value) = header.ok_or_else(|| OutboundError::Header(name.clone()))?;
            sent.append(name, value);
        }
        let client = if self.allows(to) { &self.open } else { &self.guarded };
        let failed = |error| failed(to, timeout, &error);
        let mut request = client.request(method, to.url()).headers(sent).timeout(timeout);
        if let Some(body) = body {
            request = request.body(body.clone());
        }
        let mut response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let (mut body, mut is_whole) = (BytesMut::new(), true);
        while is_whole && let Some(chunk) = response.chunk().await.map_err(failed)? {
            let taken = chunk.len().min(limit - body.len());
            body.extend_from_slice(&chunk[..taken]);
            is_whole = taken == chunk.len();
        }
        Ok(Answer { status, body_prefix: body.freeze(), is_whole, headers })
    }
}

fn failed(to: &Target, limit: Duration, error: &reqwest::Error) -> OutboundError {
    let host = to.host().to_owned();
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut last = String::new();
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(LookUpError::Refused) => return OutboundError::Refused { host },
            Some(LookUpError::Unresolved) => return OutboundError::Unresolved { host },
            None => {}
        }
        // The innermost says what happened, the others where.
        last = error.to_string();
        cause = error.source();
    }
    if error.is_timeout() {
        OutboundError::TimedOut { host, limit }
    } else if error.is_connect() {
        OutboundError::Connect { host, reason: last }
    } else {
        OutboundError::Broken { host, reason: last }
    }
}

impl fmt::Debug for GuardedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}
