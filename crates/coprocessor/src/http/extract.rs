//! Reading requests: an id is parsed once, and what cannot be read is a problem.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
    http::request::Parts,
};
use coprocessor_api::Code;
use coprocessor_types::{OwnerId, ProgramId, ProofKind, Root, TaskId};
use serde::de::DeserializeOwned;

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

/// Who asks. There is no authentication yet: everybody is `anonymous`.
pub(crate) struct Caller(pub(crate) OwnerId);

impl<S: Send + Sync> FromRequestParts<S> for PathProgram {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = one(parts, state).await?;
        let id = text.parse().map_err(|error| Failure::new(Code::InvalidParameter, format!("program id: {error}")))?;
        Ok(Self(id))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathTask {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = one(parts, state).await?;
        let id = text.parse().map_err(|error| Failure::new(Code::InvalidParameter, format!("task id: {error}")))?;
        Ok(Self(id))
    }
}

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

async fn one<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Failure> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text).map_err(|error| Failure::new(Code::InvalidParameter, error.body_text()))
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let Raw(bytes) = Raw::from_request(Request::from_parts(parts.clone(), body), state).await?;
        // serde would take an array for the object's fields in order, and so the order of fields for a promise.
        let is_object = bytes.trim_ascii_start().starts_with(b"{");
        let AnyJson(body) = AnyJson::from_request(Request::from_parts(parts, bytes.into()), state).await?;
        if is_object { Ok(Self(body)) } else { Err(Failure::new(Code::InvalidBody, "expected a JSON object")) }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for AnyJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                Err(Failure::new(Code::UnsupportedMediaType, "expected content-type: application/json"))
            }
            Err(error) if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
            Err(error) => Err(Failure::new(Code::InvalidBody, error.body_text())),
        }
    }
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

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(OwnerId::anonymous()))
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

/// A root in a body.
pub(crate) fn root(text: Option<&str>) -> Result<Option<Root>, Failure> {
    text.map(|text| text.parse().map_err(|error| Failure::new(Code::InvalidBody, format!("root: {error}")))).transpose()
}
