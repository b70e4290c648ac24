//! Programs: deploying, listing, their parts but the controller.

use axum::{
    Json,
    extract::{FromRequest, Multipart, Request, State, multipart::MultipartError},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use coprocessor_api::{Code, DeployRequest, Problem, ProgramList, ProgramView, VerifyingKeyView};
use coprocessor_engine::{Deployed, Deployment, Engine};
use coprocessor_store::Cursor;
use coprocessor_types::{Backend, BlobDigest, VkDigest};
use serde::Deserialize;

use super::{
    auth::Who,
    extract::{Body, Params, PathProgram, limit, owner, too_large},
    problem::Failure,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only what this owner sees; takes the scope `admin` for others than oneself.
    owner: Option<String>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 by default.
    limit: Option<usize>,
}

/// Deploy a program.
///
/// Takes JSON, or `multipart/form-data` with the same fields as parts, `controller` and `circuit` raw. Deploying the very
/// same again answers 200 with the program as it is.
#[utoipa::path(post, path = "/api/v1/programs", tag = "programs",
    request_body(content((DeployRequest = "application/json"), (DeployRequest = "multipart/form-data"))),
    responses((status = 201, body = ProgramView), (status = 200, body = ProgramView, description = "It was there already"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn deploy(
    State(engine): State<Engine>,
    Who(caller): Who,
    request: Request,
) -> Result<Response, Failure> {
    let multipart = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("multipart/form-data"));
    let deployment = if multipart {
        let parts = Multipart::from_request(request, &())
            .await
            .map_err(|error| Failure::new(Code::InvalidBody, error.body_text()))?;
        from_parts(parts).await?
    } else {
        let Body(request) = Body::<DeployRequest>::from_request(request, &()).await?;
        from_json(request)?
    };
    let (status, program) = match engine.deploy(&caller, deployment).await? {
        Deployed::New(program) => (StatusCode::CREATED, program),
        Deployed::Same(program) => (StatusCode::OK, program),
    };
    let location = format!("/api/v1/programs/{}", program.id);
    Ok((status, [(header::LOCATION, location)], Json(convert::program(program))).into_response())
}

fn from_json(request: DeployRequest) -> Result<Deployment, Failure> {
    Ok(Deployment {
        name: request.name,
        backend: backend(request.backend.as_deref())?,
        controller: request.controller.0.into(),
        circuit: request.circuit.0.into(),
        nonce: request.nonce,
        volume_size: request.volume_size,
        public: request.public,
    })
}

async fn from_parts(mut parts: Multipart) -> Result<Deployment, Failure> {
    let (mut name, mut named_backend, mut nonce, mut volume_size, mut public) = (String::new(), None, 0, None, false);
    let (mut controller, mut circuit) = (None, None);
    while let Some(part) = parts.next_field().await.map_err(|error| part_failed(&error))? {
        let field = part.name().unwrap_or_default().to_owned();
        let content = part.bytes().await.map_err(|error| part_failed(&error))?;
        let text = || {
            String::from_utf8(content.to_vec())
                .map_err(|_| Failure::new(Code::InvalidBody, format!("part `{field}` is not UTF-8")))
        };
        let number = || -> Result<u64, Failure> {
            text()?
                .trim()
                .parse()
                .map_err(|error| Failure::new(Code::InvalidBody, format!("part `{field}` is not a number: {error}")))
        };
        match field.as_str() {
            "name" => name = text()?,
            "backend" => named_backend = Some(text()?),
            "nonce" => nonce = number()?,
            "volume_size" => volume_size = Some(number()?),
            "public" => {
                public = text()?.trim().parse().map_err(|_| {
                    Failure::new(Code::InvalidBody, "part `public` is neither `true` nor `false`".to_owned())
                })?;
            }
            "controller" => controller = Some(content),
            "circuit" => circuit = Some(content),
            other => {
                let known = "name, backend, nonce, volume_size, public, controller, circuit";
                let detail = format!("unknown part `{other}`; expected {known}");
                return Err(Failure::new(Code::InvalidBody, detail));
            }
        }
    }
    let missing = |part: &str| Failure::new(Code::InvalidBody, format!("the part `{part}` is missing"));
    Ok(Deployment {
        name,
        backend: backend(named_backend.as_deref())?,
        controller: controller.ok_or_else(|| missing("controller"))?,
        circuit: circuit.ok_or_else(|| missing("circuit"))?,
        nonce,
        volume_size,
        public,
    })
}

fn part_failed(error: &MultipartError) -> Failure {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        too_large()
    } else {
        Failure::new(Code::InvalidBody, error.body_text())
    }
}

fn backend(named: Option<&str>) -> Result<Backend, Failure> {
    named.map_or(Ok(Backend::Sp1), |text| {
        text.trim().parse().map_err(|error| Failure::new(Code::InvalidBody, format!("backend `{text}`: {error}")))
    })
}

/// List programs, newest first: one's own and public ones.
#[utoipa::path(get, path = "/api/v1/programs", tag = "programs", params(ListParams),
    responses((status = 200, body = ProgramList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(engine): State<Engine>,
    Who(caller): Who,
    Params(params): Params<ListParams>,
) -> Result<Json<ProgramList>, Failure> {
    let reader = owner(params.owner.as_deref())?;
    let page = engine.programs(&caller, reader, params.cursor.map(Cursor), limit(params.limit)?).await?;
    Ok(Json(ProgramList {
        items: page.items.into_iter().map(convert::program).collect(),
        next: page.next.map(|Cursor(next)| next),
    }))
}

/// A program.
#[utoipa::path(get, path = "/api/v1/programs/{program}", tag = "programs", params(("program" = String, Path)),
    responses((status = 200, body = ProgramView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
) -> Result<Json<ProgramView>, Failure> {
    Ok(Json(convert::program(engine.program(&caller, id).await?)))
}

/// Delete a program, with its volume and its tasks. Refused while a task is unfinished.
#[utoipa::path(delete, path = "/api/v1/programs/{program}", tag = "programs", params(("program" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
) -> Result<StatusCode, Failure> {
    engine.delete_program(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The circuit.
#[utoipa::path(get, path = "/api/v1/programs/{program}/circuit", tag = "programs", params(("program" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn circuit(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
) -> Result<Response, Failure> {
    let (program, content) = engine.circuit(&caller, id).await?;
    Ok(blob(content, program.circuit, "application/octet-stream"))
}

/// The verifying key.
#[utoipa::path(get, path = "/api/v1/programs/{program}/vk", tag = "programs", params(("program" = String, Path)),
    responses((status = 200, body = VerifyingKeyView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn verifying_key(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
) -> Result<Json<VerifyingKeyView>, Failure> {
    let (program, key) = engine.verifying_key(&caller, id).await?;
    let sp1_vkey_hash = match program.backend {
        Backend::Sp1 => coprocessor_prover::verify::sp1_vkey_hash(&key).ok(),
        Backend::Groth16 => None,
    };
    Ok(Json(VerifyingKeyView {
        backend: program.backend.to_string(),
        digest: VkDigest::of(&key).to_string(),
        verifying_key: key.to_vec().into(),
        sp1_vkey_hash,
    }))
}

/// A blob as it is, known by its digest.
pub(super) fn blob(content: Bytes, digest: BlobDigest, media: &'static str) -> Response {
    let tag = format!("\"{digest}\"");
    ([(header::CONTENT_TYPE, media.to_owned()), (header::ETAG, tag)], content).into_response()
}
