//! Status codes: decided here and nowhere else. What the client reads and what the log says are apart.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use coprocessor_api::{Code, Problem};
use coprocessor_engine::EngineError;
use coprocessor_prover::{NodeError, verify::VerifyError};
use coprocessor_store::StoreError;
use coprocessor_vfs::VfsError;
use std::time::Duration;

use super::rates::whole_seconds;
use crate::convert;

/// When a service that cannot now may be asked again, where nothing better is known.
const UNAVAILABLE: Duration = Duration::from_secs(5);

const CHALLENGE: &str = "Bearer realm=\"coprocessor\"";
const CHALLENGE_BAD_KEY: &str = "Bearer realm=\"coprocessor\", error=\"invalid_token\"";

/// A refused or failed request.
#[derive(Debug)]
pub(crate) struct Failure(Box<Refusal>);

#[derive(Debug)]
struct Refusal {
    problem: Problem,
    retry_after: Option<Duration>,
    /// Why a 401 is one: whether there was something in `Authorization` at all.
    bad_key: bool,
}

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self::of(Problem::new(code, detail))
    }

    /// A caller without a good key; `sent`: with a bad one.
    pub(crate) fn unauthenticated(sent: bool, detail: impl Into<String>) -> Self {
        let mut failure = Self::new(Code::Unauthenticated, detail);
        failure.0.bad_key = sent;
        failure
    }

    /// A bug: logged here with its cause, told the client without.
    pub(crate) fn internal(cause: &str) -> Self {
        tracing::error!(cause, "a request failed by the service's own fault");
        Self::new(Code::Internal, "the service failed; its log says why")
    }

    /// Says when the same request may be made again.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    fn guest(code: &str, message: String, log: Vec<String>, recording: Option<Bytes>) -> Self {
        let mut problem = Problem::with_code(Code::GuestFailed, code, message);
        problem.log = log;
        problem.recording = convert::recording(recording);
        Self::of(problem)
    }

    fn of(problem: Problem) -> Self {
        let passes = problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16();
        Self(Box::new(Refusal { problem, retry_after: passes.then_some(UNAVAILABLE), bad_key: false }))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Refusal { problem, retry_after, bad_key } = *self.0;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = retry_after {
            // No time at all would be an invitation to ask at once.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after).max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = if bad_key { CHALLENGE_BAD_KEY } else { CHALLENGE };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        let code = match error {
            EngineError::Guest { code, message, log, recording } => {
                return Self::guest(code, message, log, recording);
            }
            EngineError::Store(error) => return error.into(),
            EngineError::Volume(error) => return error.into(),
            EngineError::Node(error) => return error.into(),
            EngineError::Verify(error) => return error.into(),
            EngineError::Internal(cause) => return Self::internal(&cause),
            EngineError::BacklogFull { retry_after } => {
                return Self::new(Code::BacklogFull, detail).retry_after(retry_after);
            }
            EngineError::OwnerBacklogFull { retry_after, .. } => {
                return Self::new(Code::OwnerBacklogFull, detail).retry_after(retry_after);
            }
            EngineError::Unauthenticated => return Self::unauthenticated(true, detail),
            EngineError::Forbidden { .. } | EngineError::NotDomainOwner { .. } => Code::Forbidden,
            EngineError::UnknownKey(_) => Code::UnknownKey,
            EngineError::UnknownOwner(_) => Code::UnknownOwner,
            EngineError::UnknownWebhook(_) => Code::UnknownWebhook,
            EngineError::UnknownDelivery(_) => Code::UnknownDelivery,
            EngineError::NonceTaken { .. } => Code::NonceTaken,
            EngineError::ProgramQuota { .. } => Code::ProgramQuota,
            EngineError::VolumeQuota { .. } => Code::VolumeQuota,
            EngineError::StorageLow { .. } => Code::StorageLow,
            EngineError::DeadlineTooLong { .. } => Code::DeadlineTooLong,
            EngineError::Priority { .. } => Code::InvalidBody,
            EngineError::ProofExpired(_) => Code::ProofExpired,
            EngineError::UnknownProgram(_) => Code::UnknownProgram,
            EngineError::UnknownVersion { .. } => Code::UnknownVersion,
            EngineError::NoRecording(_) => Code::NoRecording,
            EngineError::RecordingsOff => Code::RecordingsOff,
            EngineError::UnknownTask(_) => Code::UnknownTask,
            EngineError::UnknownRoot(_) => Code::UnknownRoot,
            EngineError::UnknownProver(_) => Code::UnknownProver,
            EngineError::InvalidController(_) => Code::InvalidController,
            EngineError::InvalidCircuit(_) => Code::InvalidCircuit,
            EngineError::InvalidRequest(_) => Code::InvalidBody,
            EngineError::ProgramExists(..) => Code::ProgramExists,
            EngineError::ProgramBusy { .. } => Code::ProgramBusy,
            EngineError::UnsupportedKind { .. } => Code::UnsupportedKind,
            EngineError::IdempotencyKeyReused(_) => Code::IdempotencyKeyReused,
            EngineError::TaskFinished(..) => Code::TaskFinished,
            EngineError::NotRetryable(..) => Code::TaskNotRetryable,
            EngineError::NoProof(..) => Code::NoProof,
            EngineError::NoVerifyingKey(_) => Code::NoVerifyingKey,
            EngineError::UnknownDomain(_) => Code::UnknownDomain,
            EngineError::UnknownBlock { .. } => Code::UnknownBlock,
            EngineError::RootPruned { .. } => Code::RootPruned,
            EngineError::DomainExists { .. } => Code::DomainExists,
            EngineError::PayloadTooLarge { .. } => Code::PayloadTooLarge,
            EngineError::BlockTaken { block, .. } => {
                let mut failure = Self::new(Code::BlockTaken, detail);
                failure.0.problem.block = block.map(|block| Box::new(convert::block(*block)));
                return failure;
            }
            EngineError::BlockRefused { log, recording, .. } => {
                let mut failure = Self::new(Code::BlockRefused, detail);
                failure.0.problem.log = log;
                failure.0.problem.recording = convert::recording(recording);
                return failure;
            }
            EngineError::InvalidImage(_) => Code::InvalidImage,
            EngineError::ImageTooLarge { .. } | EngineError::RawTooLarge { .. } => Code::TooLarge,
            EngineError::VolumeBusy(_) => Code::VolumeBusy,
            EngineError::NoProver(_) => Code::NoProver,
        };
        Self::new(code, detail)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Full => Self::new(Code::StorageFull, detail),
            StoreError::UnknownProgram(_) => Self::new(Code::UnknownProgram, detail),
            StoreError::UnknownTask(_) => Self::new(Code::UnknownTask, detail),
            StoreError::BadCursor => Self::new(Code::InvalidCursor, "the cursor is not one this list handed out"),
            // What the database said is for the operator.
            StoreError::Unavailable(error) => {
                tracing::warn!(%error, "the database cannot be reached");
                Self::new(Code::Unavailable, "the service's database cannot be reached just now; try again")
            }
            StoreError::Closed => Self::new(Code::Unavailable, "the service is stopping"),
            _ => Self::internal(&detail),
        }
    }
}

impl From<VfsError> for Failure {
    fn from(error: VfsError) -> Self {
        let detail = error.to_string();
        match error {
            VfsError::Path(_) => Self::new(Code::InvalidPath, detail),
            VfsError::NotFound { .. } => Self::new(Code::UnknownFile, detail),
            VfsError::IsADirectory { .. }
            | VfsError::NotADirectory { .. }
            | VfsError::DirectoryNotEmpty { .. }
            | VfsError::RemoveRoot
            | VfsError::MoveRoot
            | VfsError::MoveIntoItself { .. }
            | VfsError::InTheWay { .. } => Self::new(Code::FileConflict, detail),
            VfsError::NoSpace { .. } | VfsError::RootDirectoryFull { .. } | VfsError::DirectoryFull { .. } => {
                Self::new(Code::VolumeFull, detail)
            }
            VfsError::Size { .. } => Self::new(Code::InvalidBody, detail),
            _ => Self::internal(&detail),
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let detail = error.to_string();
        match error {
            NodeError::BadAddress { .. } | NodeError::Insecure { .. } => Self::new(Code::InvalidProver, detail),
            NodeError::BadCircuit { .. } => Self::new(Code::InvalidCircuit, detail),
            NodeError::CircuitFailed { .. } | NodeError::CycleLimit { .. } => {
                Self::guest(error.code(), detail, Vec::new(), None)
            }
            _ => Self::new(Code::NoProver, detail),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Unsupported { .. } => Self::new(Code::UnsupportedKind, error.to_string()),
            _ => Self::new(Code::InvalidClaim, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use coprocessor_types::ProgramId;

    fn status(error: impl Into<Failure>) -> (u16, String) {
        let problem = error.into().0.problem;
        (problem.status, problem.code)
    }

    fn headers(failure: Failure) -> HeaderMap {
        failure.into_response().headers().clone()
    }

    #[test]
    fn who_may_come_again_is_told_when() {
        let wait = Duration::from_millis(2500);
        let full = headers(EngineError::BacklogFull { retry_after: wait }.into());
        assert_eq!(full["retry-after"], "3");
        assert_eq!(headers(Failure::new(Code::RateLimited, "x").retry_after(Duration::ZERO))["retry-after"], "1");
        assert_eq!(headers(Failure::new(Code::Unavailable, "x"))["retry-after"], "5");
        assert!(!headers(Failure::new(Code::Internal, "x")).contains_key("retry-after"));
    }

    #[test]
    fn who_needs_a_key_is_told_so() {
        assert_eq!(headers(Failure::unauthenticated(false, "x"))["www-authenticate"], CHALLENGE);
        let bad = headers(EngineError::Unauthenticated.into());
        assert!(bad["www-authenticate"].to_str().unwrap().contains("invalid_token"), "{bad:?}");
        assert!(!headers(Failure::new(Code::Forbidden, "x")).contains_key("www-authenticate"));
    }

    #[test]
    fn a_database_that_is_away_is_no_bug_and_says_nothing_of_itself() {
        let error = StoreError::Unavailable("postgres://alice:hush@db".into());
        let problem = Failure::from(error).0.problem;
        assert_eq!((problem.status, problem.code.as_str()), (503, "unavailable"));
        assert!(!problem.detail.contains("hush"));
    }

    #[test]
    fn bad_input_is_the_clients_and_a_bug_is_ours() {
        let unknown = EngineError::UnknownProgram(ProgramId::default());
        assert_eq!(status(unknown), (404, "unknown_program".into()));
        assert_eq!(status(StoreError::Full), (507, "storage_full".into()));
        let guest =
            EngineError::Guest { code: "out_of_fuel", message: "x".into(), log: vec!["l".into()], recording: None };
        let problem = Failure::from(guest).0.problem;
        assert_eq!((problem.status, problem.code.as_str(), problem.log.len()), (422, "out_of_fuel", 1));
        assert_eq!(status(VfsError::RemoveRoot), (409, "file_conflict".into()));
        let corrupt = StoreError::Corrupt { what: "task", reason: "secret path /x".into() };
        let problem = Failure::from(corrupt).0.problem;
        assert_eq!(problem.status, 500);
        assert!(!problem.detail.contains("/x"), "the cause stays in the log");
    }
}
