//! From input to public inputs.

use crate::witnesses::{Checked, Witnesses};
use coprocessor_merkle::{OpeningError, verify_block};
use coprocessor_types::{CircuitInput, DecodeError, OpenedWitness, PublicInputs, Root};

/// Why a circuit's run has no public inputs, short of a panic of the circuit itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CircuitError {
    /// The input is no [`CircuitInput`].
    #[error("the circuit's input does not decode: {0}")]
    Input(#[from] DecodeError),
    /// A state proof whose block the root does not commit to.
    #[error("witness {index}: its block is not in the root: {error}")]
    Opening {
        /// Position in the witness, from 0.
        index: usize,
        /// What is wrong with the opening.
        error: OpeningError,
    },
    /// The circuit returned before it took every element.
    #[error("the circuit took {taken} of {total} witness elements; take all, or call Witnesses::ignore_rest")]
    LeftOver {
        /// Elements taken.
        taken: usize,
        /// Elements there are.
        total: usize,
    },
}

/// Runs a circuit on the host as the zkVM would: the same checks, the same public inputs, no proof.
///
/// ```
/// use circuit_sdk::{CircuitInput, OpenedWitness, Root, Witnesses, run_native};
///
/// let shout = |mut witnesses: Witnesses| witnesses.data().to_ascii_uppercase();
/// let input = CircuitInput { root: Root([7; 32]), witnesses: vec![OpenedWitness::Data(b"hi".to_vec())] };
/// assert_eq!(run_native(shout, &input).unwrap().output, b"HI");
/// ```
///
/// # Errors
/// An opening that does not hold, or an element left over; the zkVM would panic with the same text.
///
/// # Panics
/// Where the circuit does.
pub fn run_native<O: AsRef<[u8]>>(
    circuit: impl FnOnce(Witnesses) -> O,
    input: &CircuitInput,
) -> Result<PublicInputs, CircuitError> {
    run_bytes(circuit, &input.to_bytes())
}

pub(crate) fn run_bytes<O: AsRef<[u8]>>(
    circuit: impl FnOnce(Witnesses) -> O,
    input: &[u8],
) -> Result<PublicInputs, CircuitError> {
    let CircuitInput { root, witnesses } = CircuitInput::from_bytes(input)?;
    let checked = witnesses
        .into_iter()
        .enumerate()
        .map(|(index, witness)| check(&root, witness).map_err(|error| CircuitError::Opening { index, error }))
        .collect::<Result<_, _>>()?;
    let (witnesses, progress) = Witnesses::new(root, checked);
    let output = circuit(witnesses).as_ref().to_vec();
    match progress.left() {
        0 => Ok(PublicInputs { root, output }),
        left => Err(CircuitError::LeftOver { taken: progress.total() - left, total: progress.total() }),
    }
}

fn check(root: &Root, witness: OpenedWitness) -> Result<Checked, OpeningError> {
    Ok(match witness {
        OpenedWitness::Data(bytes) => Checked::Data(bytes),
        OpenedWitness::StateProof(proof, opening) => {
            verify_block(root, &proof, &opening)?;
            Checked::StateProof(proof, opening.trust)
        }
    })
}
