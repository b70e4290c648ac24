//! Who asks: a key in `Authorization: Bearer …`, or nobody in particular.

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use coprocessor_api::Code;
use coprocessor_engine::{Caller, Engine, EngineError};
use secrecy::SecretString;
use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Service, problem::Failure, rates::Rates};

/// How long it may take to notice that another process made the first key.
const FIRST_KEY: Duration = Duration::from_secs(1);

/// Decides who a caller is, and whether it may go on.
pub(crate) struct Gate {
    guests: bool,
    local: bool,
    keys_made: AtomicBool,
    looked_at: Mutex<Option<Instant>>,
    anybody: Arc<Caller>,
    guest: Arc<Caller>,
    rates: Rates,
}

/// Who asks, as the gate found.
pub(crate) struct Who(pub(crate) Arc<Caller>);

/// The key that came along, to be looked at again by what outlives its request.
#[derive(Clone)]
pub(crate) struct Presented(Option<SecretString>);

impl Gate {
    /// `guests`: whether callers without a key are let in where there are keys. `local`: whether this machine alone reaches
    /// the service.
    pub(crate) fn new(guests: bool, local: bool) -> Self {
        Self {
            guests,
            local,
            keys_made: AtomicBool::new(false),
            looked_at: Mutex::new(None),
            anybody: Arc::new(Caller::anonymous()),
            guest: Arc::new(Caller::anonymous_guest()),
            rates: Rates::default(),
        }
    }

    /// There is a key now: callers without one are strangers from here on.
    pub(crate) fn key_made(&self) {
        self.keys_made.store(true, Ordering::Release);
    }

    /// The caller. A key that is sent must be good, even where none is needed: whoever sends one does not mean to be nobody.
    pub(super) async fn caller(&self, engine: &Engine, headers: &HeaderMap) -> Result<Arc<Caller>, Failure> {
        let Some(authorization) = headers.get(header::AUTHORIZATION) else {
            return match (self.keys_were_made(engine).await?, self.guests) {
                (false, _) => match stranger(headers, self.local) {
                    None => Ok(Arc::clone(&self.anybody)),
                    Some(detail) => Err(Failure::new(Code::Forbidden, detail)),
                },
                (true, true) => Ok(Arc::clone(&self.guest)),
                (true, false) => Err(Failure::unauthenticated(false, "send a key as `Authorization: Bearer cpk_…`")),
            };
        };
        let key = bearer(authorization);
        let key =
            key.ok_or_else(|| Failure::unauthenticated(true, "Authorization is not of the form `Bearer cpk_…`"))?;
        match engine.authenticate(&SecretString::from(key)).await {
            Ok(caller) => Ok(Arc::new(caller)),
            Err(error @ EngineError::Unauthenticated) => Err(Failure::unauthenticated(true, error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Keys are never unmade, so a yes is for ever; a no is asked again after a moment.
    async fn keys_were_made(&self, engine: &Engine) -> Result<bool, EngineError> {
        if self.keys_made.load(Ordering::Acquire) {
            return Ok(true);
        }
        let fresh = |looked: &Instant| looked.elapsed() < FIRST_KEY;
        if self.looked_at.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(fresh) {
            return Ok(false);
        }
        let now = Instant::now();
        if engine.has_keys().await? {
            self.key_made();
            return Ok(true);
        }
        *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        // The first key may have been made while this was read.
        Ok(self.keys_made.load(Ordering::Acquire))
    }
}

fn bearer(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, key) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Why a request without a key may come from a web page of somebody else's, though a browser of this machine sends it: by
/// its origin, or by a name that page made to mean this machine. Such pages must not do everything.
fn stranger(headers: &HeaderMap, local: bool) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text(header::HOST);
    if let Some(origin) = text(header::ORIGIN) {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if authority.is_none() || authority != host {
            return Some(format!("a web page of {origin} may do nothing here without a key"));
        }
    }
    let name = host.map(without_port).filter(|_| local)?;
    let own = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
    (!own).then(|| {
        format!(
            "without any key made, this service answers under its address and `localhost` alone, and not as {name}; make one \
             with `coprocessor keys create`"
        )
    })
}

fn without_port(host: &str) -> &str {
    if let Some(address) = host.strip_prefix('[') {
        return address.split(']').next().unwrap_or(address);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Lets a request through with its caller, or answers it. Requests that change something count against their owner's rate.
pub(super) async fn gate(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let caller = match service.gate.caller(&service.engine, request.headers()).await {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    let standing = if changes(request.method()) {
        let limits = match service.engine.limits(&caller.owner).await {
            Ok(limits) => limits,
            Err(error) => return Failure::from(error).into_response(),
        };
        match service.gate.rates.take(&caller.owner, &limits) {
            Ok(standing) => Some(standing),
            Err(too_many) => {
                let detail = format!(
                    "owner {} may change something {} times a second, {} times at once; slow down",
                    caller.owner, limits.requests_per_second, limits.burst
                );
                let refused = Failure::new(Code::RateLimited, detail).retry_after(too_many.retry_after);
                let mut response = refused.into_response();
                too_many.standing.write(response.headers_mut());
                return response;
            }
        }
    } else {
        None
    };
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    response
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // A route without the gate before it is a bug, and must not be open because of it.
        let caller = parts.extensions.get::<Arc<Caller>>().cloned();
        caller.map(Self).ok_or_else(|| Failure::internal("a route that needs a caller has no gate"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Presented {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let key = parts.headers.get(header::AUTHORIZATION).and_then(bearer);
        Ok(Self(key.map(SecretString::from)))
    }
}

impl Presented {
    /// Whether it is still a good key, as far as the service can tell; nothing is as good as it was.
    pub(super) async fn is_good(&self, engine: &Engine) -> bool {
        match &self.0 {
            Some(key) => !matches!(engine.authenticate(key).await, Err(EngineError::Unauthenticated)),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_keys_are_read() {
        for good in ["Bearer cpk_1", "bearer  cpk_1 "] {
            assert_eq!(bearer(&HeaderValue::from_static(good)), Some("cpk_1"), "{good:?}");
        }
        for other in ["", "cpk_1", "Basic cpk_1", "Bearercpk_1"] {
            assert_eq!(bearer(&HeaderValue::from_static(other)), None, "{other:?}");
        }
        assert_eq!(bearer(&HeaderValue::from_bytes(b"Bearer \xff").unwrap()), None);
    }

    #[test]
    fn web_pages_of_others_are_told_from_this_machine() {
        let asked = |host: &'static str, origin: Option<&'static str>, local| {
            let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            stranger(&headers, local).is_none()
        };
        for host in ["127.0.0.1:37281", "localhost:37281", "LOCALHOST", "[::1]:37281", "[::1]", "127.0.0.1"] {
            assert!(asked(host, None, true), "{host}");
        }
        assert!(asked("127.0.0.1:37281", Some("http://127.0.0.1:37281"), true), "its own pages");
        for host in ["evil.example", "evil.example:37281", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
            assert!(!asked(host, None, true), "{host}");
        }
        assert!(asked("coprocessor.internal", None, false), "who listens beyond loopback has names");
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8080", "https://127.0.0.1.evil.example"] {
            assert!(!asked("127.0.0.1:37281", Some(origin), true), "{origin}");
            assert!(!asked("127.0.0.1:37281", Some(origin), false), "{origin}");
        }
        assert_eq!(stranger(&HeaderMap::new(), true), None, "no browser sends none");
    }

    #[test]
    fn reading_changes_nothing() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(!changes(&method));
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            assert!(changes(&method));
        }
    }
}
