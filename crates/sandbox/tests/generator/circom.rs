//! Generators that circom made, of the example circuits: what they compute is proved.

use coprocessor_groth16::{Bundle, ProvingKey, PublicValues, R1cs, Unsatisfied, Witness, ZKey};
use coprocessor_sandbox::{Generator, GeneratorError, Generators, SandboxConfig};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::LazyLock;

struct Example {
    generator: Generator,
    r1cs: Vec<u8>,
    zkey: Vec<u8>,
    inputs: Value,
    public: PublicValues,
}

static GENERATORS: LazyLock<Generators> =
    LazyLock::new(|| Generators::new(SandboxConfig { threads: 4, waiting: 0, ..SandboxConfig::default() }).unwrap());
static THRESHOLD: LazyLock<Example> = LazyLock::new(|| Example::load("threshold"));

impl Example {
    fn load(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../groth16/circom/built");
        let read = |file: String| std::fs::read(folder.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let bytes = read(format!("{name}.bundle"));
        let bundle = Bundle::read(&bytes).unwrap();
        Self {
            generator: GENERATORS.compile(bundle.generator).unwrap(),
            r1cs: bundle.r1cs.to_vec(),
            zkey: bundle.zkey.to_vec(),
            inputs: serde_json::from_slice(&read(format!("{name}/input.json"))).unwrap(),
            public: PublicValues::from_json(&read(format!("{name}/public.json"))).unwrap(),
        }
    }

    fn refused(&self, change: impl FnOnce(&mut Value)) -> GeneratorError {
        let mut inputs = self.inputs.clone();
        change(&mut inputs);
        self.generator.witness(&inputs, None).unwrap_err()
    }
}

#[test]
fn from_inputs_to_a_proof_that_holds() {
    for name in ["threshold", "membership"] {
        let example = Example::load(name);
        let made = example.generator.witness(&example.inputs, None).unwrap();
        assert_eq!(made.modulus, R1cs::modulus());
        let witness = Witness::from_bytes(&made.values).unwrap();
        let key = ProvingKey::new(R1cs::read(&example.r1cs).unwrap(), ZKey::read(&example.zkey).unwrap()).unwrap();
        let (proof, public) = key.prove(&witness).unwrap();
        assert_eq!(public, example.public);
        assert_eq!(key.verifying_key().verify(&proof, &public), Ok(()));
        assert!(made.usage.fuel > 100_000 && made.usage.memory_bytes > 0, "{:?}", made.usage);

        // The same inputs give the same witness, and use the same.
        let again = example.generator.witness(&example.inputs, None).unwrap();
        assert_eq!((again.values, again.usage.fuel), (made.values, made.usage.fuel));
    }
}

#[test]
fn inputs_that_are_not_the_circuits_name_their_signal() {
    let example = &*THRESHOLD;
    assert_eq!(
        example.refused(|inputs| inputs["amounts"] = 5.into()),
        GeneratorError::UnknownSignal { signal: "amounts".into() }
    );
    for (value, got) in [(json!([]), 0), (json!([1, 2]), 2), (json!([[1], [2, 3]]), 3)] {
        let expected = GeneratorError::SignalLength { signal: "amount".into(), got, expected: 1 };
        assert_eq!(example.refused(|inputs| inputs["amount"] = value), expected);
    }
    let expected = GeneratorError::SignalLength { signal: "root".into(), got: 1, expected: 2 };
    assert_eq!(example.refused(|inputs| inputs["root"] = json!(["1"])), expected);

    let missing = example.refused(|inputs| drop(inputs.as_object_mut().unwrap().remove("salt")));
    let given = ["amount", "root", "threshold"].map(String::from).to_vec();
    assert_eq!(missing, GeneratorError::MissingSignals { got: 4, expected: 5, given });

    let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
    for value in [json!(modulus), json!(format!("-{modulus}")), json!(0.5), json!("one"), json!(null)] {
        let refused = example.refused(|inputs| inputs["root"][1] = value);
        assert!(matches!(&refused, GeneratorError::SignalValue { signal, .. } if signal == "root[1]"), "{refused}");
    }
    assert!(matches!(example.generator.witness(&json!([]), None), Err(GeneratorError::Inputs { .. })));
}

#[test]
fn inputs_without_a_witness_say_where_the_circuit_fails() {
    for change in [("amount", json!(999)), ("amount", json!(-1)), ("threshold", json!("18446744073709551616"))] {
        let refused = THRESHOLD.refused(|inputs| inputs[change.0] = change.1);
        let GeneratorError::Unsatisfied { message } = &refused else { panic!("{refused}") };
        assert!(message.contains("line:"), "{message}");
        assert!(refused.is_deterministic());
    }
}

/// A generator can be of another circuit than its bundle says; constraints tell.
#[test]
fn a_generator_of_another_circuit_makes_no_witness_of_this_one() {
    let membership = Example::load("membership");
    let made = THRESHOLD.generator.witness(&THRESHOLD.inputs, None).unwrap();
    let witness = Witness::from_bytes(&made.values).unwrap();
    let r1cs = R1cs::read(&membership.r1cs).unwrap();
    assert_eq!(r1cs.check(&witness), Err(Unsatisfied::Length { got: 435, expected: 2402 }));

    let r1cs = R1cs::read(&THRESHOLD.r1cs).unwrap();
    assert_eq!(r1cs.check(&witness), Ok(()));
    let mut other = made.values.clone();
    let last = other.len() - 32;
    other[last] ^= 1;
    let checked = r1cs.check(&Witness::from_bytes(&other).unwrap());
    assert!(matches!(checked, Err(Unsatisfied::Constraint { of: 432, .. })), "{checked:?}");
}

#[test]
fn several_run_at_once() {
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|amount| {
                scope.spawn(move || {
                    let mut inputs = THRESHOLD.inputs.clone();
                    inputs["amount"] = (1000 + amount).into();
                    THRESHOLD.generator.witness(&inputs, None).unwrap().values
                })
            })
            .collect();
        let mut values: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), 4);
    });
}
