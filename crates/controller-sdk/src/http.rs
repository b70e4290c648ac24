//! HTTP requests, as far as the operator allows them.
//!
//! ```
//! # #[cfg(feature = "testing")] {
//! use controller_sdk::{http, testing::Runtime};
//!
//! fn price(coin: &str) -> Result<f64, String> {
//!     let request = http::Request::get("https://prices.example.com/v1/spot").query("coin", coin).accept_json();
//!     let response = request.send().map_err(|error| error.to_string())?;
//!     if response.status != 200 {
//!         return Err(format!("the price of {coin}: status {}", response.status));
//!     }
//!     let answer: controller_sdk::Value = response.json().map_err(|error| error.to_string())?;
//!     answer["price"].as_f64().ok_or_else(|| format!("no price in {answer}"))
//! }
//!
//! let _runtime = Runtime::new().with_http(|request| {
//!     assert_eq!((request.method.as_str(), request.query["coin"].as_str()), ("GET", "eth"));
//!     Ok(http::Response::new(200, br#"{"price": 2500.5}"#))
//! });
//! assert_eq!(price("eth"), Ok(2500.5));
//! # }
//! ```
//!
//! Nothing vouches for what a server says. What a circuit is to believe has to be proved to it.

use crate::{
    host::{HostError, HostErrorCode},
    sys,
};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

const CALL: &str = "http";

/// A request. Made by [`get`](Self::get), [`post`](Self::post) or [`new`](Self::new), sent by [`send`](Self::send).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// Where to: `http` or `https`, a host that the operator allows.
    pub url: String,
    /// Headers, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Appended to the address, escaped.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// The body, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<RequestBody>,
    /// A JSON body, in place of the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// Sent as `Authorization: Basic …`, in place of the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
}

/// A request's body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RequestBody {
    /// UTF-8.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BasicAuth {
    /// The name.
    pub username: String,
    /// The password, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// The answer to a request, whatever its status. Redirects were followed, as far as the operator allows where they led.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status, such as 200.
    pub status: u16,
    /// Headers, names in lower case; of several with one name the values are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Body,
}

/// A response's body, in the form that the request's `Accept` header asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// For `application/json`.
    Json(Value),
    /// For `text/html`.
    Text(String),
    /// For any other, and where there was no such header.
    Bytes(Vec<u8>),
}

impl Request {
    /// A request with that method.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_string(),
            url: url.to_string(),
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            body: None,
            json: None,
            bearer: None,
            basic_auth: None,
        }
    }

    /// A `GET` request.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// A `POST` request.
    pub fn post(url: &str) -> Self {
        Self::new("POST", url)
    }

    /// Adds a name and a value to the address.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.insert(name.to_string(), value.to_string());
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_string(), value.to_string());
        self
    }

    /// Asks for JSON, and for the body as such: an answer that is none fails the call, whatever its status.
    #[must_use]
    pub fn accept_json(self) -> Self {
        self.header("accept", "application/json")
    }

    /// Sets a body of bytes.
    #[must_use]
    pub fn bytes(mut self, body: &[u8]) -> Self {
        self.body = Some(RequestBody::Bytes(body.to_vec()));
        self
    }

    /// Sets a body of text.
    #[must_use]
    pub fn text(mut self, body: &str) -> Self {
        self.body = Some(RequestBody::Text(body.to_string()));
        self
    }

    /// Sets a body of JSON, and the header that says so unless there is one.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.json = Some(body);
        self
    }

    /// Proves the right to ask by a token.
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_string());
        self
    }

    /// Proves the right to ask by a name and a password.
    #[must_use]
    pub fn basic_auth(mut self, username: &str, password: Option<&str>) -> Self {
        self.basic_auth = Some(BasicAuth { username: username.to_string(), password: password.map(str::to_string) });
        self
    }

    /// Sends it, and waits for the answer. Meanwhile the run holds no thread of the service, but its time goes on.
    ///
    /// # Errors
    /// The host is not allowed, the server is not reached or silent for too long, or its answer is too long or not what was
    /// accepted: [`HostErrorCode::Http`], with the reason.
    pub fn send(&self) -> Result<Response, HostError> {
        let bad = || HostError::new(CALL, HostErrorCode::Json);
        let args = serde_json::to_vec(self).map_err(|_| bad())?;
        let answer = sys::fetch(CALL, |buffer| sys::http(&args, buffer))?;
        serde_json::from_slice(&answer).ok().and_then(|answer| self.read(answer)).ok_or_else(bad)
    }

    fn read(&self, answer: Value) -> Option<Response> {
        let Value::Object(mut answer) = answer else { return None };
        let status = answer.get("status")?.as_u64()?.try_into().ok()?;
        let headers = serde_json::from_value(answer.remove("headers")?).ok()?;
        let body = answer.remove("body")?;
        let body = match self.form() {
            Form::Json => Body::Json(body),
            Form::Text => Body::Text(serde_json::from_value(body).ok()?),
            Form::Bytes => Body::Bytes(serde_json::from_value(body).ok()?),
        };
        Some(Response { status, headers, body })
    }

    fn form(&self) -> Form {
        let accept = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("accept"));
        let first = accept.and_then(|(_, value)| value.split([',', ';']).next()).unwrap_or_default().trim();
        match first.to_ascii_lowercase().as_str() {
            "application/json" => Form::Json,
            "text/html" => Form::Text,
            _ => Form::Bytes,
        }
    }

    /// The answer as the service writes it; `None` for a body that is not what was accepted.
    #[cfg(feature = "testing")]
    pub(crate) fn written(&self, response: &Response) -> Option<Value> {
        let bytes = response.bytes();
        let body = match self.form() {
            Form::Json => serde_json::from_slice(&bytes).ok()?,
            Form::Text => Value::from(String::from_utf8_lossy(&bytes)),
            Form::Bytes => Value::from(bytes),
        };
        let headers = response.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        let headers = Value::Object(headers.collect());
        Some(crate::json!({ "status": response.status, "headers": headers, "body": body }))
    }
}

enum Form {
    Json,
    Text,
    Bytes,
}

impl Response {
    /// A response with a body of bytes and no headers, for tests.
    pub fn new(status: u16, body: &[u8]) -> Self {
        Self { status, headers: BTreeMap::new(), body: Body::Bytes(body.to_vec()) }
    }

    /// The body's bytes; of JSON, as this writes it.
    pub fn bytes(&self) -> Vec<u8> {
        match &self.body {
            Body::Json(json) => json.to_string().into_bytes(),
            Body::Text(text) => text.as_bytes().to_vec(),
            Body::Bytes(bytes) => bytes.clone(),
        }
    }

    /// Reads the body as JSON, in whichever form it came.
    ///
    /// # Errors
    /// It is none, or of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match &self.body {
            Body::Json(json) => T::deserialize(json),
            Body::Text(text) => serde_json::from_str(text),
            Body::Bytes(bytes) => serde_json::from_slice(bytes),
        }
    }
}
