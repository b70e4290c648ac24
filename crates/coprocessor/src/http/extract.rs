//! Reading requests: an id is parsed once, and what cannot be read is a problem.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use coprocessor_api::Code;
use coprocessor_engine::DomainName;
use coprocessor_store::{DeliveryId, KeyId, WebhookId};
use coprocessor_types::{BlockNumber, DomainId, OwnerId, ProgramId, ProofKind, Root, TaskId};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::problem::Failure;

/// Most items of a list in one answer.
const MAX_LIMIT: usize = 1000;

/// A path's program id.
pub(crate) struct PathProgram(pub(crate) ProgramId);

/// A path's task id.
pub(crate) struct PathTask(pub(crate) TaskId);

/// A path's program id and the file path after it.
pub(crate) struct PathFile(pub(crate) ProgramId, pub(crate) String);

/// A JSON body that is an object.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body of any kind.
pub(crate) struct AnyJson<T>(pub(crate) T);

/// A raw body.
pub(crate) struct Raw(pub(crate) Bytes);

/// Query parameters.
pub(crate) struct Params<T>(pub(crate) T);

/// A path's key id.
pub(crate) struct PathKey(pub(crate) KeyId);

/// A path's domain, by its name or its id.
pub(crate) struct PathDomain(pub(crate) DomainId);

/// A path's domain and the block number after it.
pub(crate) struct PathBlock(pub(crate) DomainId, pub(crate) BlockNumber);

/// A path's root.
pub(crate) struct PathRoot(pub(crate) Root);

/// A path's root, with the domain and the block number after it.
pub(crate) struct PathOpening(pub(crate) Root, pub(crate) DomainId, pub(crate) BlockNumber);

/// A path's owner.
pub(crate) struct PathOwner(pub(crate) OwnerId);

/// A path's webhook id.
pub(crate) struct PathWebhook(pub(crate) WebhookId);

/// A path's webhook id and the delivery id after it.
pub(crate) struct PathDelivery(pub(crate) WebhookId, pub(crate) DeliveryId);

/// Gives an extractor of one path parameter its way of reading.
macro_rules! path_parameter {
    ($name:ident, $what:literal, $read:expr) => {
        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Failure;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
                let text = one(parts, state).await?;
                let read = $read(&text);
                read.map(Self).map_err(|error| Failure::new(Code::InvalidParameter, format!("{}: {error}", $what)))
            }
        }
    };
}

path_parameter!(PathProgram, "program id", str::parse::<ProgramId>);
path_parameter!(PathTask, "task id", str::parse::<TaskId>);
path_parameter!(PathKey, "key id", str::parse::<KeyId>);
path_parameter!(PathDomain, "domain", domain);
path_parameter!(PathRoot, "root", str::parse::<Root>);
path_parameter!(PathOwner, "owner", str::parse::<OwnerId>);
path_parameter!(PathWebhook, "webhook id", webhook_id);

impl<S: Send + Sync> FromRequestParts<S> for PathFile {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path((id, path)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|error| Failure::new(Code::InvalidParameter, error.body_text()))?;
        let id = id.parse().map_err(|error| Failure::new(Code::InvalidParameter, format!("program id: {error}")))?;
        Ok(Self(id, path))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathDelivery {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let invalid = |detail: String| Failure::new(Code::InvalidParameter, detail);
        let Path((webhook, delivery)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|error| invalid(error.body_text()))?;
        let webhook = webhook_id(&webhook).map_err(|error| invalid(format!("webhook id: {error}")))?;
        let delivery = uuid(&delivery).map_err(|error| invalid(format!("delivery id: {error}")))?;
        Ok(Self(webhook, DeliveryId(delivery)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathBlock {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((named, number)) = path.map_err(|error| Failure::new(Code::InvalidParameter, error.body_text()))?;
        Ok(Self(read("domain", domain(&named))?, read("block number", number.parse())?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathOpening {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<(String, String, String)>::from_request_parts(parts, state).await;
        let Path((root, named, number)) =
            path.map_err(|error| Failure::new(Code::InvalidParameter, error.body_text()))?;
        let domain = read("domain", domain(&named))?;
        Ok(Self(read("root", root.parse())?, domain, read("block number", number.parse())?))
    }
}

fn read<T, E: std::fmt::Display>(what: &str, read: Result<T, E>) -> Result<T, Failure> {
    read.map_err(|error| Failure::new(Code::InvalidParameter, format!("{what}: {error}")))
}

/// 64 hexadecimal digits are an id, and no name.
fn domain(text: &str) -> Result<DomainId, String> {
    match text.parse::<DomainId>() {
        Ok(id) => Ok(id),
        Err(_) => text.parse::<DomainName>().map(|name| name.id()).map_err(|error| error.to_string()),
    }
}

fn webhook_id(text: &str) -> Result<WebhookId, &'static str> {
    uuid(text).map(WebhookId)
}

fn uuid(text: &str) -> Result<Uuid, &'static str> {
    text.parse().map_err(|_| "expected a UUID")
}

async fn one<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Failure> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text).map_err(|error| Failure::new(Code::InvalidParameter, error.body_text()))
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = json_bytes(request, state).await?;
        let body = read_json(&bytes)?;
        // serde would take an array for the object's fields in order, and so the order of fields for a promise.
        if bytes.trim_ascii_start().starts_with(b"{") {
            Ok(Self(body))
        } else {
            Err(Failure::new(Code::InvalidBody, "expected a JSON object"))
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for AnyJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        read_json(&json_bytes(request, state).await?).map(Self)
    }
}

async fn json_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    if !is_json(request.headers()) {
        return Err(Failure::new(Code::UnsupportedMediaType, "expected content-type: application/json"));
    }
    Raw::from_request(request, state).await.map(|Raw(bytes)| bytes)
}

fn read_json<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Failure> {
    let read = axum::Json::<T>::from_bytes(bytes);
    read.map(|axum::Json(body)| body).map_err(|error| Failure::new(Code::InvalidBody, error.body_text()))
}

/// `application/json`, or `application/…+json`, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    let subtype = essence.split_once('/').filter(|(kind, _)| kind.eq_ignore_ascii_case("application"));
    subtype.is_some_and(|(_, subtype)| {
        subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json")
    })
}

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match Bytes::from_request(request, state).await {
            Ok(body) => Ok(Self(body)),
            Err(error) if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
            Err(error) => Err(Failure::new(Code::InvalidBody, error.body_text())),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(params)| Self(params)).map_err(|error| Failure::new(Code::InvalidParameter, error.body_text()))
    }
}

pub(crate) fn too_large() -> Failure {
    Failure::new(Code::TooLarge, "the body is over the service's limit (--max-body-mib)")
}

/// A list's length: 100 by default, 1 to 1000.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Failure> {
    match asked {
        None => Ok(100),
        Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        Some(limit) => Err(Failure::new(Code::InvalidParameter, format!("limit is 1 to {MAX_LIMIT}, got {limit}"))),
    }
}

/// A proof kind by name.
pub(crate) fn kind(text: &str) -> Result<ProofKind, Failure> {
    text.parse().map_err(|error| Failure::new(Code::InvalidBody, format!("kind `{text}`: {error}")))
}

/// A root in a query.
pub(crate) fn root_parameter(name: &str, text: Option<&str>) -> Result<Option<Root>, Failure> {
    text.map(|text| read(name, text.parse())).transpose()
}

/// A root in a body.
pub(crate) fn root(text: Option<&str>) -> Result<Option<Root>, Failure> {
    text.map(|text| text.parse().map_err(|error| Failure::new(Code::InvalidBody, format!("root: {error}")))).transpose()
}

/// An owner in a query.
pub(crate) fn owner(text: Option<&str>) -> Result<Option<OwnerId>, Failure> {
    let read = text.map(str::parse).transpose();
    read.map_err(|error| Failure::new(Code::InvalidParameter, format!("owner: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn json_is_told_from_other_media() {
        let json = |media: &'static str| {
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media))]))
        };
        for media in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"] {
            assert!(json(media), "{media}");
        }
        for media in ["", "json", "text/json", "application/jsonx", "application/octet-stream"] {
            assert!(!json(media), "{media}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
