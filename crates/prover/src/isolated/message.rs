//! What a node and its worker tell each other.

use bytes::Bytes;
use coprocessor_types::ProofKind;
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    time::Duration,
};

use super::frame::{self, FrameError};
use crate::{BackendError, Proof};

/// Grows with every change of what is below.
pub(super) const PROTOCOL: u32 = 1;
/// Largest circuit and largest input that a worker takes, in bytes; the node's own limits are lower.
const MAX_ORDERED: u64 = 1 << 30;
/// Bound what a worker that went wrong can make its node hold.
const MAX_PROOF: u64 = 1 << 30;
const MAX_PUBLIC_INPUTS: u64 = 64 << 20;
/// Longest text, in bytes; of a longer one the end is kept, where a panic's message is.
const MAX_TEXT: usize = 16 << 10;

/// From the node: prove this. The circuit and its input follow.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
struct Order {
    kind: String,
    circuit_length: u64,
    input_length: u64,
}

/// From the worker.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// First of all.
    Hello { protocol: u32 },
    /// It is warm and takes orders.
    Ready,
    /// It could not be made warm, and ends.
    Unfit { reason: String },
    /// A step of the proof has begun.
    Step { name: String },
    /// The proof follows, and the public inputs.
    Done {
        kind: String,
        proof_length: u64,
        public_inputs_length: u64,
        cycles: u64,
        proving_nanoseconds: u64,
        set_up_nanoseconds: u64,
        peak_memory: u64,
    },
    /// There is no proof. After a panic the worker ends: what its proving system is left in nobody knows.
    Failed { failure: Failure, ends: bool },
}

/// A [`BackendError`] as it travels.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    BadCircuit { reason: String },
    CircuitFailed { message: String },
    CycleLimit { limit: u64 },
    Unsupported { kind: String, reason: String },
    Cancelled,
    Failed { reason: String },
}

/// What a worker is to prove.
pub(super) struct Ordered {
    pub(super) kind: ProofKind,
    pub(super) circuit: Bytes,
    pub(super) input: Vec<u8>,
}

/// Why what the other end said is not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a kind of proof this build does not know")]
    Kind,
}

pub(super) fn write_order(
    out: &mut impl Write,
    kind: ProofKind,
    circuit: &[u8],
    input: &[u8],
) -> Result<(), FrameError> {
    let order =
        Order { kind: kind.to_string(), circuit_length: circuit.len() as u64, input_length: input.len() as u64 };
    frame::write(out, &order, &[circuit, input])
}

/// The next order; `None` when the node has hung up.
pub(super) fn read_order(input: &mut impl Read) -> Result<Option<Ordered>, MessageError> {
    let Some(order) = frame::read_head::<Order>(input)? else { return Ok(None) };
    let kind = kind(&order.kind)?;
    let circuit = frame::read_part(input, "a circuit", order.circuit_length, MAX_ORDERED)?.into();
    let input = frame::read_part(input, "an input", order.input_length, MAX_ORDERED)?;
    Ok(Some(Ordered { kind, circuit, input }))
}

/// Tells how an order ended.
pub(super) fn write_end(
    out: &mut impl Write,
    result: &Result<Proof, BackendError>,
    ends: bool,
) -> Result<(), FrameError> {
    let proof = match result {
        Ok(proof) => proof,
        Err(error) => return frame::write(out, &Report::Failed { failure: failure(error), ends }, &[]),
    };
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let head = Report::Done {
        kind: proof.kind.to_string(),
        proof_length: proof.bytes.len() as u64,
        public_inputs_length: proof.public_inputs.len() as u64,
        cycles: proof.cycles,
        proving_nanoseconds: nanoseconds(proof.proving),
        set_up_nanoseconds: nanoseconds(proof.set_up),
        peak_memory: proof.peak_memory,
    };
    frame::write(out, &head, &[&proof.bytes, &proof.public_inputs])
}

/// What a worker says until an order has ended.
pub(super) enum Word {
    Step(String),
    Ended {
        result: Result<Proof, BackendError>,
        ends: bool,
    },
    /// What belongs elsewhere.
    Other(Report),
}

/// The worker's next word; `None` when it has hung up.
pub(super) fn read_word(input: &mut impl Read) -> Result<Option<Word>, MessageError> {
    let Some(report) = frame::read_head::<Report>(input)? else { return Ok(None) };
    Ok(Some(match report {
        Report::Step { name } => Word::Step(name),
        Report::Failed { failure, ends } => Word::Ended { result: Err(error(failure)?), ends },
        Report::Done {
            kind: name,
            proof_length,
            public_inputs_length,
            cycles,
            proving_nanoseconds,
            set_up_nanoseconds,
            peak_memory,
        } => {
            let proof = Proof {
                kind: kind(&name)?,
                bytes: frame::read_part(input, "a proof", proof_length, MAX_PROOF)?.into(),
                public_inputs: frame::read_part(input, "public inputs", public_inputs_length, MAX_PUBLIC_INPUTS)?
                    .into(),
                cycles,
                proving: Duration::from_nanos(proving_nanoseconds),
                set_up: Duration::from_nanos(set_up_nanoseconds),
                peak_memory,
            };
            Word::Ended { result: Ok(proof), ends: false }
        }
        other => Word::Other(other),
    }))
}

/// The end of a text that is too long.
pub(super) fn end_of(text: &str) -> String {
    let start = (text.len().saturating_sub(MAX_TEXT)..=text.len()).find(|at| text.is_char_boundary(*at));
    text[start.unwrap_or(0)..].to_owned()
}

fn kind(name: &str) -> Result<ProofKind, MessageError> {
    name.parse().map_err(|_| MessageError::Kind)
}

fn failure(error: &BackendError) -> Failure {
    match error {
        BackendError::BadCircuit { reason } => Failure::BadCircuit { reason: end_of(reason) },
        BackendError::CircuitFailed { message } => Failure::CircuitFailed { message: end_of(message) },
        BackendError::CycleLimit { limit } => Failure::CycleLimit { limit: *limit },
        BackendError::Unsupported { kind, reason } => {
            Failure::Unsupported { kind: kind.to_string(), reason: end_of(reason) }
        }
        BackendError::Cancelled => Failure::Cancelled,
        BackendError::Failed { reason } => Failure::Failed { reason: end_of(reason) },
    }
}

fn error(failure: Failure) -> Result<BackendError, MessageError> {
    Ok(match failure {
        Failure::BadCircuit { reason } => BackendError::BadCircuit { reason },
        Failure::CircuitFailed { message } => BackendError::CircuitFailed { message },
        Failure::CycleLimit { limit } => BackendError::CycleLimit { limit },
        Failure::Unsupported { kind: name, reason } => BackendError::Unsupported { kind: kind(&name)?, reason },
        Failure::Cancelled => BackendError::Cancelled,
        Failure::Failed { reason } => BackendError::Failed { reason },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ended(bytes: &[u8]) -> (Result<Proof, BackendError>, bool) {
        match read_word(&mut &*bytes).unwrap().unwrap() {
            Word::Ended { result, ends } => (result, ends),
            Word::Step(_) | Word::Other(_) => panic!("no end"),
        }
    }

    #[test]
    fn every_end_comes_back_as_it_was() {
        let reason = String::from("because – of ✗");
        let proof = Proof {
            kind: ProofKind::Core,
            bytes: Bytes::from(vec![7; 100_000]),
            public_inputs: Bytes::from_static(b"public"),
            cycles: 1,
            proving: Duration::from_nanos(2),
            set_up: Duration::from_secs(3),
            peak_memory: u64::MAX,
        };
        let results = [
            Ok(proof),
            Err(BackendError::BadCircuit { reason: reason.clone() }),
            Err(BackendError::CircuitFailed { message: reason.clone() }),
            Err(BackendError::CycleLimit { limit: 9 }),
            Err(BackendError::Unsupported { kind: ProofKind::Plonk, reason: reason.clone() }),
            Err(BackendError::Cancelled),
            Err(BackendError::Failed { reason }),
        ];
        for result in results {
            for ends in [false, result.is_err()] {
                let mut bytes = Vec::new();
                write_end(&mut bytes, &result, ends).unwrap();
                assert_eq!(ended(&bytes), (result.clone(), ends));
            }
        }
    }

    #[test]
    fn a_text_of_any_length_fits_into_a_head() {
        let message = format!("{}the end", "ü".repeat(1 << 20));
        let mut bytes = Vec::new();
        write_end(&mut bytes, &Err(BackendError::CircuitFailed { message }), false).unwrap();
        let (Err(BackendError::CircuitFailed { message }), false) = ended(&bytes) else { panic!("another end") };
        assert!(message.len() <= MAX_TEXT && message.ends_with("üthe end"));
    }

    #[test]
    fn an_order_comes_as_it_was_given() {
        let mut bytes = Vec::new();
        write_order(&mut bytes, ProofKind::Compressed, b"circuit", b"input").unwrap();
        write_order(&mut bytes, ProofKind::Mock, b"", b"").unwrap();
        let mut input = &*bytes;
        let first = read_order(&mut input).unwrap().unwrap();
        assert_eq!(
            (first.kind, &first.circuit[..], &first.input[..]),
            (ProofKind::Compressed, &b"circuit"[..], &b"input"[..])
        );
        let second = read_order(&mut input).unwrap().unwrap();
        assert_eq!((second.kind, second.circuit.len(), second.input.len()), (ProofKind::Mock, 0, 0));
        assert!(read_order(&mut input).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_no_order_and_no_word(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            // Either may be a message by chance; what counts is that none panics or asks for memory that is not there.
            if let Ok(Some(order)) = read_order(&mut &*bytes) {
                prop_assert!(order.circuit.len() + order.input.len() < bytes.len());
            }
            if let Ok(Some(Word::Ended { result: Ok(proof), .. })) = read_word(&mut &*bytes) {
                prop_assert!(proof.bytes.len() + proof.public_inputs.len() < bytes.len());
            }
        }
    }
}
