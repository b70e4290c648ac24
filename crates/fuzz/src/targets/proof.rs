//! Proofs and verifying keys, as a prover node hands them over.

use crate::{Input, Seed, Target, Writer};
use coprocessor_prover::{
    mock::proof,
    verify::{Claim, ProofVerifier, Verifiers, sp1_vkey_hash},
};
use coprocessor_types::{Backend, BlobDigest, ProofKind};
use std::{cell::Cell, panic, sync::Once};

pub(crate) const TARGET: Target =
    Target { name: "proof", about: "prover: proofs and verifying keys of strangers", run, seeds };

thread_local! {
    /// SP1's verifier asserts here and there, and what calls it takes that for a refusal.
    static MAY_PANIC: Cell<bool> = const { Cell::new(false) };
}

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = *input.one(&ProofKind::ALL);
    let backend = if input.flag() { Backend::Groth16 } else { Backend::Sp1 };
    let (verifying_key, public_inputs) = (input.many(), input.few());
    let circuit = BlobDigest([input.byte(); 32]);
    let proof = input.rest();
    let claim = Claim { backend, kind, circuit, verifying_key, proof, public_inputs };
    let (verdict, key) = caught(|| (Verifiers::small().verify(&claim), sp1_vkey_hash(verifying_key)));
    if verdict.is_ok() {
        assert_eq!(kind, ProofKind::Mock, "a proof of chance holds");
        assert_eq!(proof, proof::encode(circuit, public_inputs), "a mock proof of something else holds");
    }
    if let Ok(hash) = key {
        assert_eq!((hash.len(), &hash[..2]), (66, "0x"));
    }
}

/// Lets the verifier catch its own panics, where an engine's hook would end the process at once.
fn caught<T>(verify: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !MAY_PANIC.get() {
                before(info);
            }
        }));
    });
    MAY_PANIC.set(true);
    let done = verify();
    MAY_PANIC.set(false);
    done
}

fn seeds() -> Vec<Seed> {
    let kinds = ProofKind::ALL.iter().position(|kind| *kind == ProofKind::Mock).expect("it is one") as u8;
    let mock = |public_inputs: &[u8]| proof::encode(BlobDigest([7; 32]), public_inputs);
    let claim = |kind: u8, key: &[u8]| Writer::new().byte(kind).byte(0).many(key).few(b"public").byte(7);
    // A version, a form of proof and public values, as bincode has them.
    let bundle = [&[3, 0, 0, 0][..], &[0; 64], &[6, 0, 0, 0, 0, 0, 0, 0], b"v6.1.0", &[0]].concat();
    vec![
        claim(kinds, b"").bytes(&mock(b"public")).seed("mock"),
        claim(kinds, b"").bytes(&mock(b"other")).seed("mock-of-something-else"),
        claim(1, &[0; 200]).bytes(&bundle).seed("compressed"),
        claim(2, &[1; 200]).bytes(&bundle).seed("groth16"),
        claim(3, &[2; 200]).bytes(&bundle).seed("plonk"),
    ]
}
