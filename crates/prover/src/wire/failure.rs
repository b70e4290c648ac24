//! Errors on the wire: a status for any gRPC client, with a detail that holds all of a [`NodeError`].

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

use super::{convert, pb};
use crate::NodeError;

const TYPE_URL: &str = "type.googleapis.com/coprocessor.prover.v1.Failure";
/// Trailers are bounded by HTTP/2: a longer text keeps its end, where a panic's message is.
const MAX_TEXT: usize = 3 << 10;
/// The status message is for people and is written percent-encoded.
const MAX_MESSAGE: usize = 512;

/// The status for an error.
pub(crate) fn to_status(error: &NodeError) -> Status {
    let code = code(error);
    let failure = failure(error);
    let message: String = error.to_string().chars().take(MAX_MESSAGE).collect();
    let detail = pb::Detail { type_url: TYPE_URL.into(), value: failure.encode_to_vec().into() };
    let details = pb::RpcStatus { code: code.into(), message: message.clone(), details: vec![detail] };
    Status::with_details(code, message, details.encode_to_vec().into())
}

/// The error in a status that the node at `address` sent, or that the way to it made.
pub(crate) fn from_status(status: &Status, address: &str) -> NodeError {
    if let Some(error) = detail(status).and_then(|failure| error(failure, address)) {
        return error;
    }
    let address = address.to_owned();
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated => NodeError::Unauthorized { address },
        Code::Unavailable | Code::Cancelled => NodeError::Unreachable { address, reason },
        Code::DeadlineExceeded => NodeError::Unreachable { address, reason: "no answer in time".into() },
        // What a broken connection turns into in the middle of a stream.
        Code::Unknown if std::error::Error::source(status).is_some() => NodeError::Unreachable { address, reason },
        Code::Unimplemented => {
            NodeError::Failed { reason: format!("{address} does not speak this version of the protocol: {reason}") }
        }
        code => NodeError::Failed { reason: format!("{code:?}: {reason}") },
    }
}

fn code(error: &NodeError) -> Code {
    match error {
        NodeError::Unreachable { .. } | NodeError::Draining => Code::Unavailable,
        NodeError::Unauthorized { .. } => Code::Unauthenticated,
        NodeError::Insecure { .. } | NodeError::BadAddress { .. } | NodeError::BadCircuit { .. } => {
            Code::InvalidArgument
        }
        NodeError::QueueFull { .. } => Code::ResourceExhausted,
        NodeError::UnknownCircuit(_) => Code::NotFound,
        NodeError::StaleFence => Code::Aborted,
        NodeError::Unsupported { .. } | NodeError::CircuitFailed { .. } => Code::FailedPrecondition,
        NodeError::CycleLimit { .. } => Code::OutOfRange,
        NodeError::Cancelled => Code::Cancelled,
        NodeError::Failed { .. } => Code::Internal,
    }
}

fn failure(error: &NodeError) -> pb::Failure {
    let mut failure = pb::Failure { code: error.code().into(), ..Default::default() };
    match error {
        NodeError::Unreachable { address, reason } | NodeError::BadAddress { address, reason } => {
            failure.address = address.clone();
            failure.reason = end_of(reason);
        }
        NodeError::Unauthorized { address } | NodeError::Insecure { address } => failure.address = address.clone(),
        NodeError::QueueFull { waiting } => failure.waiting = *waiting,
        NodeError::UnknownCircuit(circuit) => failure.circuit = Bytes::copy_from_slice(circuit.as_bytes()),
        NodeError::Unsupported { kind, reason } => {
            failure.kind = kind.to_string();
            failure.reason = end_of(reason);
        }
        NodeError::BadCircuit { reason } | NodeError::Failed { reason } => failure.reason = end_of(reason),
        NodeError::CircuitFailed { message } => failure.reason = end_of(message),
        NodeError::CycleLimit { limit } => failure.limit = *limit,
        NodeError::StaleFence | NodeError::Cancelled | NodeError::Draining => {}
    }
    failure
}

fn detail(status: &Status) -> Option<pb::Failure> {
    let details = pb::RpcStatus::decode(status.details()).ok()?.details;
    let detail = details.iter().find(|detail| detail.type_url == TYPE_URL)?;
    pb::Failure::decode(detail.value.as_ref()).ok()
}

fn error(failure: pb::Failure, here: &str) -> Option<NodeError> {
    let pb::Failure { code, reason, address, waiting, circuit, kind, limit } = failure;
    Some(match code.as_str() {
        "prover_unreachable" => NodeError::Unreachable { address, reason },
        // The node does not know under which address it was reached.
        "prover_unauthorized" if address.is_empty() => NodeError::Unauthorized { address: here.into() },
        "prover_unauthorized" => NodeError::Unauthorized { address },
        "prover_insecure" => NodeError::Insecure { address },
        "prover_bad_address" => NodeError::BadAddress { address, reason },
        "prover_queue_full" => NodeError::QueueFull { waiting },
        "prover_unknown_circuit" => NodeError::UnknownCircuit(convert::digest(&circuit).ok()?),
        "prover_stale_fence" => NodeError::StaleFence,
        "prover_unsupported_kind" => NodeError::Unsupported { kind: convert::kind(&kind).ok()?, reason },
        "circuit_invalid" => NodeError::BadCircuit { reason },
        "circuit_failed" => NodeError::CircuitFailed { message: reason },
        "circuit_cycle_limit" => NodeError::CycleLimit { limit },
        "job_cancelled" => NodeError::Cancelled,
        "prover_draining" => NodeError::Draining,
        "prover_failed" => NodeError::Failed { reason },
        _ => return None,
    })
}

fn end_of(text: &str) -> String {
    let start = (text.len().saturating_sub(MAX_TEXT)..=text.len()).find(|at| text.is_char_boundary(*at));
    text[start.unwrap_or(0)..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coprocessor_types::{BlobDigest, ProofKind};

    #[test]
    fn every_error_comes_back_as_it_was() {
        let (address, reason) = (String::from("http://node:1"), String::from("because – of ✗"));
        let errors = [
            NodeError::Unreachable { address: address.clone(), reason: reason.clone() },
            NodeError::Unauthorized { address: address.clone() },
            NodeError::Insecure { address: address.clone() },
            NodeError::BadAddress { address, reason: reason.clone() },
            NodeError::QueueFull { waiting: 7 },
            NodeError::UnknownCircuit(BlobDigest([9; 32])),
            NodeError::StaleFence,
            NodeError::Unsupported { kind: ProofKind::Plonk, reason: reason.clone() },
            NodeError::BadCircuit { reason: reason.clone() },
            NodeError::CircuitFailed { message: reason.clone() },
            NodeError::CycleLimit { limit: u64::MAX },
            NodeError::Cancelled,
            NodeError::Draining,
            NodeError::Failed { reason },
        ];
        for error in errors {
            assert_eq!(from_status(&to_status(&error), "elsewhere"), error);
        }
        let nowhere = NodeError::Unauthorized { address: String::new() };
        assert_eq!(from_status(&to_status(&nowhere), "here"), NodeError::Unauthorized { address: "here".into() });
    }

    #[test]
    fn a_long_message_keeps_its_end() {
        let message = format!("{}the end", "ü".repeat(10_000));
        let NodeError::CircuitFailed { message } = from_status(&to_status(&NodeError::CircuitFailed { message }), "")
        else {
            panic!("another error");
        };
        assert!(message.len() <= MAX_TEXT && message.ends_with("üthe end"), "{}", message.len());
    }

    #[test]
    fn a_status_without_detail_is_told_by_its_code() {
        let error = |code| from_status(&Status::new(code, "said"), "here");
        assert_eq!(error(Code::Unauthenticated), NodeError::Unauthorized { address: "here".into() });
        assert!(matches!(error(Code::Unavailable), NodeError::Unreachable { .. }));
        assert!(matches!(error(Code::DeadlineExceeded), NodeError::Unreachable { .. }));
        assert!(matches!(error(Code::Internal), NodeError::Failed { .. }));
        let broken = Status::with_details(Code::Internal, "said", Bytes::from_static(b"\xff\xff"));
        assert!(matches!(from_status(&broken, "here"), NodeError::Failed { .. }));
    }
}
