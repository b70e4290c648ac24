//! Errors at the edge: RFC 9457 `application/problem+json` with stable codes.

use crate::{Base64, BlockView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error as the service answers it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI naming the kind of problem: `urn:coprocessor:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do about it.
    pub detail: String,
    /// A stable code in snake case; see [`Code`].
    pub code: String,
    /// The guest's log, where a guest ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// The recording of the controller's run, where it was asked for and a guest failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Base64>,
    /// With `block_taken`: the block that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<Box<BlockView>>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, HTTP {})", self.detail, self.code, self.status)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// The service's own problem codes, each with its status and title. Failures of guests carry the codes of the
        /// sandbox and the prover beside these, with status 422.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The text in [`Problem::code`].
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status it goes with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The kind of problem in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON, or not of the shape asked for.
    InvalidBody = "invalid_body", 400, "The request body is malformed";
    /// A path or query parameter that cannot be read.
    InvalidParameter = "invalid_parameter", 400, "A parameter is malformed";
    /// A cursor that the list did not hand out.
    InvalidCursor = "invalid_cursor", 400, "The cursor is not of this list";
    /// A path FAT cannot hold.
    InvalidPath = "invalid_path", 400, "The path cannot be stored on a FAT volume";
    /// An Idempotency-Key that is empty or too long.
    InvalidIdempotencyKey = "invalid_idempotency_key", 400, "The idempotency key is malformed";
    /// A domain name that cannot be.
    DomainName = "domain_name", 400, "The domain's name is malformed";
    /// A deadline beyond the operator's limit.
    DeadlineTooLong = "deadline_too_long", 400, "The deadline is too far away";
    /// No key where one is needed, or one that is malformed, unknown, expired or revoked.
    Unauthenticated = "unauthenticated", 401, "A valid key is needed";
    /// The key lacks the scope.
    Forbidden = "forbidden", 403, "The caller may not do that";
    /// The operator wants no runs to be recorded.
    RecordingsOff = "recordings_off", 403, "Runs are not recorded here";
    /// The route does not exist.
    UnknownRoute = "unknown_route", 404, "There is no such route";
    /// The method is not offered on the route.
    MethodNotAllowed = "method_not_allowed", 405, "The route does not offer that method";
    /// No such program.
    UnknownProgram = "unknown_program", 404, "There is no such program";
    /// No such version of the program's controller, or not any more.
    UnknownVersion = "unknown_version", 404, "There is no such version of the controller";
    /// No such task.
    UnknownTask = "unknown_task", 404, "There is no such task";
    /// No such root.
    UnknownRoot = "unknown_root", 404, "The root is none of this instance's";
    /// No such domain.
    UnknownDomain = "unknown_domain", 404, "There is no such domain";
    /// No such block, or none that the root commits to.
    UnknownBlock = "unknown_block", 404, "There is no such block";
    /// Nothing was recorded of the task, or it is not kept any more.
    NoRecording = "no_recording", 404, "There is no such recording";
    /// No such file or directory.
    UnknownFile = "unknown_file", 404, "There is no such file";
    /// No such prover node.
    UnknownProver = "unknown_prover", 404, "There is no such prover node";
    /// No such key.
    UnknownKey = "unknown_key", 404, "There is no such key";
    /// No such owner.
    UnknownOwner = "unknown_owner", 404, "There is no such owner";
    /// No such webhook.
    UnknownWebhook = "unknown_webhook", 404, "There is no such webhook";
    /// No such delivery.
    UnknownDelivery = "unknown_delivery", 404, "There is no such delivery";
    /// The program has no verifying key yet.
    NoVerifyingKey = "no_verifying_key", 409, "The verifying key is not known yet";
    /// The task has no proof yet.
    NoProof = "no_proof", 409, "There is no proof yet";
    /// A program with that circuit and nonce exists with another controller.
    ProgramExists = "program_exists", 409, "The program exists";
    /// A program that the caller does not see has that circuit and nonce.
    NonceTaken = "nonce_taken", 409, "The circuit is deployed under that nonce";
    /// The owner has as many programs as it may have.
    ProgramQuota = "program_quota", 409, "The owner has as many programs as it may have";
    /// A domain of that name exists, and differs.
    DomainExists = "domain_exists", 409, "The domain exists";
    /// The domain has a block of that number, which `block` shows; or the request names it twice.
    BlockTaken = "block_taken", 409, "The block's number is taken";
    /// Unfinished tasks keep the program from being deleted.
    ProgramBusy = "program_busy", 409, "The program has unfinished tasks";
    /// The idempotency key was used with another request.
    IdempotencyKeyReused = "idempotency_key_reused", 409, "The idempotency key belongs to another request";
    /// The task has finished.
    TaskFinished = "task_finished", 409, "The task has finished";
    /// The task cannot be retried.
    TaskNotRetryable = "task_not_retryable", 409, "The task cannot be retried";
    /// Something is in the way of the file operation: a directory where a file is meant, or the like.
    FileConflict = "file_conflict", 409, "The path is in the way of another";
    /// The volume kept changing under the write.
    VolumeBusy = "volume_busy", 409, "The volume is being written by others";
    /// The proof has aged out.
    ProofExpired = "proof_expired", 410, "The proof is no longer kept";
    /// The root is too old to be opened.
    RootPruned = "root_pruned", 410, "The root can no longer be opened";
    /// A body over the limit.
    TooLarge = "too_large", 413, "The request body is too large";
    /// A media type the route does not take.
    UnsupportedMediaType = "unsupported_media_type", 415, "The media type is not taken here";
    /// The controller is no controller.
    InvalidController = "invalid_controller", 422, "The controller cannot be used";
    /// The circuit is no circuit.
    InvalidCircuit = "invalid_circuit", 422, "The circuit cannot be used";
    /// The domain's controller does not let the block pass; `log` has what it logged.
    BlockRefused = "block_refused", 422, "The domain takes no such block";
    /// The block's payload is longer than is kept.
    PayloadTooLarge = "payload_too_large", 422, "The block's payload is too large";
    /// The kind of proof is not one this circuit or this service can have.
    UnsupportedKind = "unsupported_kind", 422, "That kind of proof is not offered";
    /// A prover node address that is none.
    InvalidProver = "invalid_prover", 422, "The address is not one of a prover node";
    /// The verifying request lacks something or contradicts itself.
    InvalidClaim = "invalid_claim", 422, "The claim to verify is incomplete";
    /// An uploaded image is no whole FAT-16 filesystem.
    InvalidImage = "invalid_image", 422, "The image is no whole FAT-16 filesystem";
    /// The volume has no room.
    VolumeFull = "volume_full", 507, "The volume is full";
    /// The owner's volumes may not hold that much together.
    VolumeQuota = "volume_quota", 507, "The owner's volumes hold as much as they may";
    /// A guest failed; the problem's code is the guest failure's own.
    GuestFailed = "guest_failed", 422, "The guest program failed";
    /// More requests than the owner may make.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// The owner has as many unfinished tasks as it may have.
    OwnerBacklogFull = "owner_backlog_full", 429, "The owner has too many unfinished tasks";
    /// A bug. Logged with its cause.
    Internal = "internal", 500, "The service failed";
    /// No prover node can be reached that could do it.
    NoProver = "no_prover", 503, "No prover node can do this now";
    /// The service has as many unfinished tasks as it takes.
    BacklogFull = "backlog_full", 503, "The service has too many unfinished tasks";
    /// The service is starting or stopping, or its database cannot be reached.
    Unavailable = "unavailable", 503, "The service is not ready";
    /// The store is about to run out of space: nothing new is taken.
    StorageLow = "storage_low", 507, "The service is low on storage";
    /// The store has no space.
    StorageFull = "storage_full", 507, "The service is out of storage";
}

impl Problem {
    /// A problem with one of the service's own codes.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self::with_code(code, code.as_str(), detail)
    }

    /// A problem of `code`'s status and title, with a code of its own: a guest's failure.
    pub fn with_code(code: Code, own: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:coprocessor:problem:{own}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code: own.to_owned(),
            log: Vec::new(),
            recording: None,
            block: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_errors() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code:?} is there twice");
            assert!(code.as_str().chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{code:?}");
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn a_problem_reads_back() {
        let problem = Problem::new(Code::UnknownTask, "there is no task x");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:coprocessor:problem:unknown_task");
        assert_eq!(json["status"], 404);
        assert!(json.get("log").is_none());
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }
}
