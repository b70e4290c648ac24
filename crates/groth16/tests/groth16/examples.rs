//! The example circuits as they are kept, with proofs that snarkjs made.

use coprocessor_groth16::{Bundle, ProvingKey, R1cs, ZKey};
use std::path::PathBuf;
use std::sync::LazyLock;

/// A bundle, taken apart.
pub(crate) struct Example {
    pub(crate) r1cs: Vec<u8>,
    pub(crate) zkey: Vec<u8>,
}

/// The smaller one: 432 constraints.
pub(crate) static THRESHOLD: LazyLock<Example> = LazyLock::new(|| Example::load("threshold"));

impl Example {
    pub(crate) fn load(name: &str) -> Self {
        let bytes = kept(&format!("{name}.bundle"));
        let bundle = Bundle::read(&bytes).unwrap();
        Self { r1cs: bundle.r1cs.to_vec(), zkey: bundle.zkey.to_vec() }
    }

    pub(crate) fn key(&self) -> ProvingKey {
        ProvingKey::new(R1cs::read(&self.r1cs).unwrap(), ZKey::read(&self.zkey).unwrap()).unwrap()
    }
}

/// A file of `circom/built`.
pub(crate) fn kept(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("circom/built").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run circom/remake.mjs", path.display()))
}

#[test]
fn the_examples_are_what_their_sources_say() {
    for (name, private, outputs) in [("threshold", 3, 4), ("membership", 18, 5)] {
        let example = Example::load(name);
        let key = example.key();
        assert_eq!((key.r1cs().private_inputs() - 2, key.r1cs().public_outputs()), (private, outputs), "{name}");
        assert_eq!(key.verifying_key().public_values(), outputs);
        let zkey = ZKey::read(&example.zkey).unwrap();
        assert!(zkey.is_for_development());
        let [contribution] = zkey.contributions() else { panic!("{:?}", zkey.contributions()) };
        assert!(contribution.name.as_ref().unwrap().starts_with("development"), "{contribution:?}");
        assert!(!contribution.beacon);
    }
}
