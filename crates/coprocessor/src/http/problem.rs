//! Status codes: decided here and nowhere else. What the client reads and what the log says are apart.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use coprocessor_api::{Code, Problem};
use coprocessor_engine::EngineError;
use coprocessor_prover::{NodeError, verify::VerifyError};
use coprocessor_store::StoreError;
use coprocessor_vfs::VfsError;

/// A refused or failed request.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Box<Problem>);

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    /// A bug: logged here with its cause, told the client without.
    pub(crate) fn internal(cause: &str) -> Self {
        tracing::error!(cause, "a request failed by the service's own fault");
        Self::new(Code::Internal, "the service failed; its log says why")
    }

    fn guest(code: &str, message: String, log: Vec<String>) -> Self {
        let mut problem = Problem::with_code(Code::GuestFailed, code, message);
        problem.log = log;
        Self(Box::new(problem))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(*self.0)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        let code = match error {
            EngineError::Guest { code, message, log } => return Self::guest(code, message, log),
            EngineError::Store(error) => return error.into(),
            EngineError::Volume(error) => return error.into(),
            EngineError::Node(error) => return error.into(),
            EngineError::Verify(error) => return error.into(),
            EngineError::Internal(cause) => return Self::internal(&cause),
            EngineError::UnknownProgram(_) => Code::UnknownProgram,
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
            | VfsError::RemoveRoot => Self::new(Code::FileConflict, detail),
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
                Self::guest(error.code(), detail, Vec::new())
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
    use coprocessor_types::ProgramId;

    fn status(error: impl Into<Failure>) -> (u16, String) {
        let problem = error.into().0;
        (problem.status, problem.code)
    }

    #[test]
    fn bad_input_is_the_clients_and_a_bug_is_ours() {
        let unknown = EngineError::UnknownProgram(ProgramId::default());
        assert_eq!(status(unknown), (404, "unknown_program".into()));
        assert_eq!(status(StoreError::Full), (507, "storage_full".into()));
        let guest = EngineError::Guest { code: "out_of_fuel", message: "x".into(), log: vec!["l".into()] };
        let problem = Failure::from(guest).0;
        assert_eq!((problem.status, problem.code.as_str(), problem.log.len()), (422, "out_of_fuel", 1));
        assert_eq!(status(VfsError::RemoveRoot), (409, "file_conflict".into()));
        let corrupt = StoreError::Corrupt { what: "task", reason: "secret path /x".into() };
        let problem = Failure::from(corrupt).0;
        assert_eq!(problem.status, 500);
        assert!(!problem.detail.contains("/x"), "the cause stays in the log");
    }
}
