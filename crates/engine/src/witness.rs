//! From what a controller returned to what a circuit reads: every state proof's block opened at the pinned root.

use coprocessor_merkle::verify_block;
use coprocessor_store::{Block, OpenedBlock, StoreError};
use coprocessor_types::{BlockOpening, CircuitInput, OpenedWitness, Root, StateProof, Witness};
use serde_json::Value;

use crate::{EngineError, Inner};

/// Bytes of a payload that a message shows.
const SHOWN: usize = 32;

/// A failure for the controller's author: the same would happen again.
fn guest(code: &'static str, message: String, log: &[String]) -> EngineError {
    EngineError::Guest { code, message, log: log.to_vec(), recording: None }
}

/// The list of witnesses that `get_witnesses` returned.
pub(crate) fn parse(result: Option<Value>) -> Result<Vec<Witness>, String> {
    let Some(value) = result else {
        return Err("get_witnesses returned nothing; it must return a list of witnesses".into());
    };
    serde_json::from_value(value).map_err(|error| format!("get_witnesses did not return a list of witnesses: {error}"))
}

impl Inner {
    /// The witness with its openings at `root`, encoded. `log` is what the controller logged, for whoever reads of a failure.
    ///
    /// # Errors
    /// A state proof of a block that the root does not commit to, or that says something else of it than the root does; a root
    /// that was pruned; a witness over the limit.
    pub(crate) async fn circuit_input(
        &self,
        root: Root,
        witnesses: Vec<Witness>,
        log: &[String],
    ) -> Result<Vec<u8>, EngineError> {
        let limit = self.config.witness_bytes;
        let too_large = |size: usize| {
            guest("witness_too_large", format!("the witness takes {size} bytes, the limit is {limit}"), log)
        };
        let (mut opened, mut size) = (Vec::with_capacity(witnesses.len()), 0_usize);
        for (index, witness) in witnesses.into_iter().enumerate() {
            let witness = match witness {
                Witness::Data(bytes) => OpenedWitness::Data(bytes),
                Witness::StateProof(proof) => {
                    let opening = self.opening(root, index, &proof, log).await?;
                    OpenedWitness::StateProof(proof, opening)
                }
            };
            // Looked at with each element: a short state proof can name a long opening.
            size = size.saturating_add(least_bytes(&witness));
            if size > limit {
                return Err(too_large(size));
            }
            opened.push(witness);
        }
        let input = CircuitInput { root, witnesses: opened }.to_bytes();
        if input.len() > limit { Err(too_large(input.len())) } else { Ok(input) }
    }

    /// The opening of a state proof's block, which must be the very block that the root commits to.
    async fn opening(
        &self,
        root: Root,
        index: usize,
        proof: &StateProof,
        log: &[String],
    ) -> Result<BlockOpening, EngineError> {
        let (domain, number) = (proof.domain, proof.number);
        let held = match self.store.open_block(root, domain, number).await {
            // The one id that no domain can have.
            Err(StoreError::UnknownDomain(_)) => None,
            held => Some(held?),
        };
        let fault = match held {
            Some(OpenedBlock::Member(block, opening)) => match difference(proof, &block) {
                None => {
                    // What a circuit would refuse is not worth proving; a store that gives it away is at fault, not the witness.
                    verify_block(&root, proof, &opening).map_err(|error| {
                        EngineError::Internal(format!("block {number} of domain {domain} was opened wrongly: {error}"))
                    })?;
                    return Ok(opening);
                }
                Some(difference) => difference,
            },
            Some(OpenedBlock::Absent { .. }) => format!("root {root} commits to no block of that number"),
            Some(OpenedBlock::NoDomain(_)) | None => format!("root {root} commits to no block of that domain"),
        };
        let name = match self.store.domain(domain).await? {
            Some(known) => format!("{} ({domain})", known.name),
            None => format!("{domain}, which is not registered here"),
        };
        let message = format!("witness {index}, block {number} of domain {name}: {fault}");
        Err(guest("state_not_in_root", message, log))
    }
}

/// What a state proof says otherwise than the block it names.
fn difference(proof: &StateProof, block: &Block) -> Option<String> {
    if proof.state_root != block.state_root {
        let (expected, got) = (Root(block.state_root), Root(proof.state_root));
        return Some(format!("its state root is {expected}, the witness says {got}"));
    }
    if proof.payload != block.payload {
        return Some(format!("its payload is {}, the witness says {}", shown(&block.payload), shown(&proof.payload)));
    }
    None
}

fn shown(payload: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = format!("{} bytes 0x", payload.len());
    for byte in payload.iter().take(SHOWN) {
        let _ = write!(text, "{byte:02x}");
    }
    if payload.len() > SHOWN {
        text.push('…');
    }
    text
}

/// What an element adds to the encoding, at least.
fn least_bytes(witness: &OpenedWitness) -> usize {
    match witness {
        OpenedWitness::Data(bytes) => bytes.len(),
        OpenedWitness::StateProof(proof, opening) => {
            let siblings = opening.domain_siblings.len() + opening.root_siblings.len();
            proof.payload.len() + proof.proof.len() + 32 * siblings
        }
    }
}
