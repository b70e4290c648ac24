//! What a circuit sees of its input.

use alloc::{rc::Rc, vec, vec::Vec};
use coprocessor_types::{DomainId, Root, StateProof, TrustId};
use core::cell::Cell;

/// The elements of the witness in the controller's order, every state proof's block already found in the root.
///
/// A circuit takes each element by the kind it expects; another kind, another domain, another trust or no element at all
/// is a panic whose message names the element.
pub struct Witnesses {
    root: Root,
    elements: vec::IntoIter<Checked>,
    progress: Progress,
}

/// A witness element whose opening, if it has one, holds.
pub(crate) enum Checked {
    Data(Vec<u8>),
    StateProof(StateProof, TrustId),
}

/// Outlives the [`Witnesses`] given to the circuit, so that what it left over is seen.
#[derive(Clone)]
pub(crate) struct Progress {
    total: usize,
    left: Rc<Cell<usize>>,
}

impl Witnesses {
    pub(crate) fn new(root: Root, elements: Vec<Checked>) -> (Self, Progress) {
        let progress = Progress { total: elements.len(), left: Rc::new(Cell::new(elements.len())) };
        (Self { root, elements: elements.into_iter(), progress: progress.clone() }, progress)
    }

    /// The root all state proofs were checked against. It is committed before the output without the circuit's doing.
    pub fn root(&self) -> Root {
        self.root
    }

    /// How many elements are left.
    pub fn remaining(&self) -> usize {
        self.progress.left()
    }

    /// The next element, which must be data. Nothing vouches for it: check what matters.
    ///
    /// # Panics
    /// If there is no next element, or it is a state proof.
    #[track_caller]
    pub fn data(&mut self) -> Vec<u8> {
        match self.next("data") {
            (_, Checked::Data(bytes)) => bytes,
            (index, Checked::StateProof(..)) => panic!("witness {index}: expected data, got a state proof"),
        }
    }

    /// The next element, which must be a state proof of `domain`, its block accepted with `trust`.
    ///
    /// The block (domain, number, state root, payload) is in the root. Which number is recent enough is for the circuit
    /// to say, and so is whether [`StateProof::proof`] leads from the state root to the state.
    ///
    /// # Panics
    /// If there is no next element, it is data, or its domain or trust is another.
    #[track_caller]
    pub fn state_proof(&mut self, domain: DomainId, trust: TrustId) -> StateProof {
        match self.next("a state proof") {
            (index, Checked::Data(_)) => panic!("witness {index}: expected a state proof, got data"),
            (index, Checked::StateProof(proof, got)) => {
                assert!(
                    proof.domain == domain,
                    "witness {index}: expected a state proof of domain {domain}, got domain {}",
                    proof.domain
                );
                assert!(got == trust, "witness {index}: expected a block checked by {trust}, got one checked by {got}");
                proof
            }
        }
    }

    /// Gives up the elements that are left. Without this they are an error.
    pub fn ignore_rest(self) {
        self.progress.left.set(0);
    }

    #[track_caller]
    fn next(&mut self, expected: &str) -> (usize, Checked) {
        let total = self.progress.total;
        let index = total - self.progress.left();
        let Some(element) = self.elements.next() else {
            panic!("witness {index}: expected {expected}, but there are only {total} elements");
        };
        self.progress.left.set(self.progress.left() - 1);
        (index, element)
    }
}

impl Progress {
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn left(&self) -> usize {
        self.left.get()
    }
}
