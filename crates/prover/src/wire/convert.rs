//! Between messages and domain types. From messages everything can fail: the other end may be anyone.

use coprocessor_types::{Backend, BlobDigest, ProofKind, TaskId};

use super::pb;
use crate::{BackendInfo, KindOffer, NodeInfo, Proof, SlotUse};

/// A field that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the field {field} is not {expected}")]
pub(crate) struct FieldError {
    field: &'static str,
    expected: &'static str,
}

pub(crate) fn digest(bytes: &[u8]) -> Result<BlobDigest, FieldError> {
    let bytes = bytes.try_into().map_err(|_| FieldError { field: "circuit", expected: "32 bytes" })?;
    Ok(BlobDigest(bytes))
}

pub(crate) fn task(bytes: &[u8]) -> Result<TaskId, FieldError> {
    let bytes = bytes.try_into().map_err(|_| FieldError { field: "task", expected: "16 bytes" })?;
    Ok(TaskId(uuid::Uuid::from_bytes(bytes)))
}

pub(crate) fn backend(name: &str) -> Result<Backend, FieldError> {
    name.parse().map_err(|_| FieldError { field: "backend", expected: "a backend this build knows" })
}

pub(crate) fn kind(name: &str) -> Result<ProofKind, FieldError> {
    name.parse().map_err(|_| FieldError { field: "kind", expected: "a kind of proof this build knows" })
}

/// What precedes a proof's chunks.
pub(crate) fn proof_head(proof: &Proof) -> pb::Proof {
    let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    pb::Proof {
        kind: proof.kind.to_string(),
        proof_length: proof.bytes.len() as u64,
        public_inputs_length: proof.public_inputs.len() as u64,
        cycles: proof.cycles,
        proving_nanoseconds: nanoseconds(proof.proving),
        set_up_nanoseconds: nanoseconds(proof.set_up),
        peak_memory: proof.peak_memory,
    }
}

impl From<NodeInfo> for pb::DescribeResponse {
    fn from(info: NodeInfo) -> Self {
        let SlotUse { slots, starting, running, queue, waiting } = info.slots;
        Self {
            version: info.version,
            backends: info.backends.into_iter().map(Into::into).collect(),
            build: info.build,
            slots: Some(pb::SlotUse { slots, running, queue, waiting, starting }),
            memory: info.memory,
        }
    }
}

/// What a node says of itself. A newer node's backends and kinds that this build does not know are left out.
pub(crate) fn node_info(info: pb::DescribeResponse) -> NodeInfo {
    let pb::SlotUse { slots, running, queue, waiting, starting } = info.slots.unwrap_or_default();
    NodeInfo {
        version: info.version,
        backends: info.backends.into_iter().filter_map(backend_info).collect(),
        build: info.build,
        slots: SlotUse { slots, starting, running, queue, waiting },
        memory: info.memory,
    }
}

impl From<BackendInfo> for pb::BackendInfo {
    fn from(info: BackendInfo) -> Self {
        let offer = |KindOffer { kind, memory }: KindOffer| pb::KindOffer { kind: kind.to_string(), memory };
        let missing = |(kind, reason): (ProofKind, String)| pb::MissingKind { kind: kind.to_string(), reason };
        Self {
            backend: info.backend.map(|backend| backend.to_string()),
            version: info.version,
            offers: info.offers.into_iter().map(offer).collect(),
            missing: info.missing.into_iter().map(missing).collect(),
        }
    }
}

fn backend_info(info: pb::BackendInfo) -> Option<BackendInfo> {
    let offer = |offer: pb::KindOffer| Some(KindOffer { kind: kind(&offer.kind).ok()?, memory: offer.memory });
    let missing = |missing: pb::MissingKind| Some((kind(&missing.kind).ok()?, missing.reason));
    Some(BackendInfo {
        backend: info.backend.as_deref().map(backend).transpose().ok()?,
        version: info.version,
        offers: info.offers.into_iter().filter_map(offer).collect(),
        missing: info.missing.into_iter().filter_map(missing).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_comes_back_as_it_was() {
        let info = NodeInfo {
            version: "node 1".into(),
            backends: vec![
                BackendInfo {
                    backend: Some(Backend::Sp1),
                    version: "sp1".into(),
                    offers: vec![KindOffer { kind: ProofKind::Core, memory: 7 }],
                    missing: vec![(ProofKind::Plonk, "no artifacts".into())],
                },
                BackendInfo { backend: None, version: "mock".into(), offers: vec![], missing: vec![] },
            ],
            build: "portable".into(),
            slots: SlotUse { slots: 1, starting: 5, running: 2, queue: 3, waiting: 4 },
            memory: u64::MAX,
        };
        assert_eq!(node_info(pb::DescribeResponse::from(info.clone())), info);
    }

    #[test]
    fn what_a_newer_node_has_is_left_out() {
        let mut newer = pb::BackendInfo { version: "x".into(), ..Default::default() };
        newer.offers.push(pb::KindOffer { kind: "stark".into(), memory: 1 });
        newer.offers.push(pb::KindOffer { kind: "core".into(), memory: 2 });
        let unknown = pb::BackendInfo { backend: Some("risc0".into()), ..Default::default() };
        let info = node_info(pb::DescribeResponse { backends: vec![newer, unknown], ..Default::default() });
        assert_eq!(info.backends.len(), 1);
        assert_eq!(info.backends[0].offers, [KindOffer { kind: ProofKind::Core, memory: 2 }]);
    }

    #[test]
    fn ids_have_their_lengths() {
        assert!(digest(&[0; 31]).is_err() && digest(&[0; 33]).is_err() && digest(&[0; 32]).is_ok());
        assert!(task(&[0; 15]).is_err() && task(&[0; 17]).is_err() && task(&[0; 16]).is_ok());
        assert_eq!(kind("stark").unwrap_err().to_string(), "the field kind is not a kind of proof this build knows");
    }
}
