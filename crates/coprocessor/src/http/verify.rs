//! Having a proof verified.

use axum::{Json, extract::State};
use coprocessor_api::{Code, Problem, VerifyRequest, VerifyView};
use coprocessor_engine::{ClaimKey, Engine, ProofClaim};

use super::{
    auth::Who,
    extract::{Body, kind},
    problem::Failure,
};

/// Verify a proof against a program's verifying key, or against a key that comes along. Whoever does not want to trust
/// this service verifies with the proving system's own verifier; `GET …/proof` gives all it takes.
#[utoipa::path(post, path = "/api/v1/verify", tag = "proofs", request_body = VerifyRequest,
    responses((status = 200, body = VerifyView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn verify(
    State(engine): State<Engine>,
    Who(caller): Who,
    Body(request): Body<VerifyRequest>,
) -> Result<Json<VerifyView>, Failure> {
    let incomplete = |detail: String| Failure::new(Code::InvalidClaim, detail);
    let key = match (request.program, request.backend, request.verifying_key) {
        (Some(program), None, None) => {
            ClaimKey::Program(program.parse().map_err(|error| incomplete(format!("program: {error}")))?)
        }
        (None, Some(backend), Some(key)) => {
            let backend = backend.parse().map_err(|error| incomplete(format!("backend `{backend}`: {error}")))?;
            ClaimKey::Key(backend, key.0.into())
        }
        _ => return Err(incomplete("give either `program`, or `backend` and `verifying_key`".into())),
    };
    let claim = ProofClaim {
        key,
        kind: kind(&request.kind)?,
        proof: request.proof.0.into(),
        public_inputs: request.public_inputs.0.into(),
    };
    let verdict = engine.verify(&caller, claim).await?;
    Ok(Json(VerifyView {
        valid: verdict.refused.is_none(),
        reason: verdict.refused.map(|error| error.to_string()),
        root: verdict.root.to_string(),
        own_root: verdict.own_root,
    }))
}
