//! A bundle, ready for witnesses and proofs.

use bytes::Bytes;
use coprocessor_groth16::{Bundle, Proof, ProveError, ProvingKey, PublicValues, R1cs, Witness, ZKey};
use coprocessor_prover::BackendError;
use coprocessor_sandbox::{Generator, GeneratorError, Generators};
use coprocessor_types::{CircuitInput, OpenedWitness};
use serde_json::Value;

/// The input that the service gives itself.
const ROOT: &str = "root";

/// A circuit with all that is needed of it, checked.
pub(crate) struct Circuit {
    key: ProvingKey,
    generator: Generator,
}

/// A circuit's witness, checked, and what it shows.
pub(crate) struct Executed {
    pub(crate) witness: Witness,
    /// `root ‖ output`.
    pub(crate) public_inputs: Bytes,
}

impl Circuit {
    pub(crate) fn load(bundle: &[u8], generators: &Generators, production: bool) -> Result<Self, BackendError> {
        let bundle = Bundle::read(bundle).map_err(bad)?;
        let r1cs = R1cs::read(bundle.r1cs).map_err(bad)?;
        let zkey = ZKey::read(bundle.zkey).map_err(bad)?;
        if production && zkey.is_for_development() {
            return Err(bad(
                "its proving key was made for development, so anybody may know its secrets and prove what is not so; \
                 this service runs with --production: bring a key that somebody else contributed to as well",
            ));
        }
        let key = ProvingKey::new(r1cs, zkey).map_err(bad)?;
        Ok(Self { key, generator: generators.compile(bundle.generator).map_err(bad)? })
    }

    /// Its verifying key, as snarkjs writes it.
    pub(crate) fn verifying_key(&self) -> Bytes {
        self.key.verifying_key().to_json().into()
    }

    /// Constraints: what stands for cycles.
    pub(crate) fn constraints(&self) -> u64 {
        self.key.r1cs().constraints() as u64
    }

    /// Makes the witness and checks it against the constraints and the root.
    pub(crate) fn execute(&self, input: &[u8]) -> Result<Executed, BackendError> {
        let input = CircuitInput::from_bytes(input).map_err(|error| failed(error.to_string()))?;
        let made = self.generator.witness(&inputs(&input)?, None).map_err(generating)?;
        if made.modulus != R1cs::modulus() {
            return Err(bad("its witness generator is of another field than its constraints"));
        }
        let witness = Witness::from_bytes(&made.values).map_err(|error| failed(error.to_string()))?;
        self.key.r1cs().check(&witness).map_err(|error| failed(error.to_string()))?;
        let public = PublicValues::of(&witness, self.key.r1cs());
        let public = public.to_public_inputs().map_err(|error| failed(error.to_string()))?;
        if public.root != input.root {
            let message = format!(
                "its first two public values are not the high and low 128 bits of the root that it was given as `{ROOT}`, but \
                 those of {}; see coprocessor.circom",
                public.root
            );
            return Err(failed(message));
        }
        Ok(Executed { witness, public_inputs: public.to_bytes().into() })
    }

    pub(crate) fn prove(&self, witness: &Witness) -> Result<Proof, BackendError> {
        match self.key.prove(witness) {
            Ok((proof, _)) => Ok(proof),
            Err(error @ ProveError::KeyOfAnother) => Err(bad(error)),
            Err(error @ ProveError::Unsatisfied(_)) => Err(failed(error.to_string())),
            Err(error @ ProveError::Randomness(_)) => Err(BackendError::Failed { reason: error.to_string() }),
        }
    }
}

/// The JSON of one datum, and the root.
fn inputs(input: &CircuitInput) -> Result<Value, BackendError> {
    let [OpenedWitness::Data(json)] = &input.witnesses[..] else {
        let message = "a circom circuit takes one datum from its controller: the JSON of its inputs";
        return Err(failed(message.into()));
    };
    let mut inputs: Value =
        serde_json::from_slice(json).map_err(|error| failed(format!("the circuit's inputs are not JSON: {error}")))?;
    let Value::Object(signals) = &mut inputs else {
        return Err(failed("the circuit's inputs are not a JSON object with a field for each signal".into()));
    };
    if signals.contains_key(ROOT) {
        return Err(failed(format!(
            "the circuit's inputs have `{ROOT}`, which the service gives itself: leave it out"
        )));
    }
    let half = |at: usize| {
        let half: [u8; 16] = input.root.0[at..at + 16].try_into().expect("16 of 32 bytes");
        Value::from(u128::from_be_bytes(half).to_string())
    };
    signals.insert(ROOT.into(), Value::from(vec![half(0), half(16)]));
    Ok(inputs)
}

/// A generator's failure is the inputs' or the circuit's, but for those that may pass.
fn generating(error: GeneratorError) -> BackendError {
    match error {
        GeneratorError::Invalid { .. } | GeneratorError::Version { .. } | GeneratorError::TooLarge { .. } => bad(error),
        error if error.is_deterministic() => failed(error.to_string()),
        error => BackendError::Failed { reason: error.to_string() },
    }
}

fn bad(error: impl ToString) -> BackendError {
    BackendError::BadCircuit { reason: error.to_string() }
}

fn failed(message: String) -> BackendError {
    BackendError::CircuitFailed { message }
}
