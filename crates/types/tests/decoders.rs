//! Whatever bytes or text come, every decoder takes what its encoder writes, refuses the rest, and never panics.

use coprocessor_types::{
    Backend, BlockOpening, CircuitInput, DecodeError, DomainId, OpenedWitness, OwnerId, ProofKind, PublicInputs, Root,
    StateProof, TaskId, TrustId, Witness,
};
use proptest::{collection, prelude::*, sample::Index};

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    collection::vec(any::<u8>(), 0..most)
}

fn state_proof() -> impl Strategy<Value = StateProof> {
    (any::<[u8; 32]>(), any::<u64>(), any::<[u8; 32]>(), bytes(40), bytes(40)).prop_map(
        |(domain, number, state_root, payload, proof)| StateProof {
            domain: DomainId(domain),
            number,
            state_root,
            payload,
            proof,
        },
    )
}

fn siblings(most: usize) -> impl Strategy<Value = Vec<Root>> {
    collection::vec(any::<[u8; 32]>().prop_map(Root), 0..=most)
}

fn opened() -> impl Strategy<Value = OpenedWitness> {
    let opening =
        (any::<[u8; 32]>(), siblings(64), siblings(256)).prop_map(|(trust, domain_siblings, root_siblings)| {
            BlockOpening { trust: TrustId(trust), domain_siblings, root_siblings }
        });
    prop_oneof![
        bytes(40).prop_map(OpenedWitness::Data),
        (state_proof(), opening).prop_map(|(proof, opening)| OpenedWitness::StateProof(proof, opening)),
    ]
}

fn input() -> impl Strategy<Value = CircuitInput> {
    let witnesses = collection::vec(opened(), 0..4);
    (any::<[u8; 32]>(), witnesses).prop_map(|(root, witnesses)| CircuitInput { root: Root(root), witnesses })
}

/// What goes wrong with bytes: one changed, some cut out, some doubled.
#[derive(Clone, Debug)]
struct Damage {
    kind: usize,
    from: Index,
    to: Index,
    with: u8,
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = (0usize..3, any::<Index>(), any::<Index>(), any::<u8>());
    collection::vec(damage.prop_map(|(kind, from, to, with)| Damage { kind, from, to, with }), 1..4)
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let (from, to) = (damage.from.index(bytes.len()), damage.to.index(bytes.len()));
        let range = from.min(to)..from.max(to);
        match damage.kind {
            0 => bytes[from] = damage.with,
            1 => drop(bytes.drain(range)),
            _ => {
                let doubled = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, doubled);
            }
        }
    }
    bytes
}

proptest! {
    #[test]
    fn a_damaged_input_is_another_input_or_none(input in input(), damages in damages()) {
        let damaged = damaged(input.to_bytes(), &damages);
        if let Ok(read) = CircuitInput::from_bytes(&damaged) {
            prop_assert_eq!(read.to_bytes(), damaged);
        }
    }

    /// With the version and a count in front, so that more than the first bytes are read.
    #[test]
    fn arbitrary_elements_are_read_back_or_refused(count in 0u32..4, tag in 0u8..3, rest in bytes(300)) {
        let bytes = [&[1][..], &[9; 32], &count.to_le_bytes(), &[tag], &rest].concat();
        if let Ok(read) = CircuitInput::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }

    /// The count is of two bytes, the trees are not so deep.
    #[test]
    fn more_siblings_than_a_tree_is_deep_are_refused_before_they_are_read(
        proof in state_proof(), got in prop_oneof![1u16..300, 1u16..], in_root in any::<bool>(),
    ) {
        let opening = BlockOpening { trust: TrustId([4; 32]), domain_siblings: vec![], root_siblings: vec![] };
        let honest = CircuitInput { root: Root([9; 32]), witnesses: vec![OpenedWitness::StateProof(proof, opening)] };
        let mut bytes = honest.to_bytes();
        let counts = bytes.len() - 4;
        let (at, limit) = if in_root { (counts + 2, 256) } else { (counts, 64) };
        bytes[at..at + 2].copy_from_slice(&got.to_le_bytes());
        let got = usize::from(got);
        let refused = CircuitInput::from_bytes(&bytes);
        if got > limit {
            prop_assert_eq!(refused, Err(DecodeError::TooDeep { got, limit }));
        } else {
            let truncated = matches!(refused, Err(DecodeError::Truncated { needed, .. }) if needed == got * 32);
            prop_assert!(truncated, "{refused:?}");
        }
    }

    #[test]
    fn public_inputs_are_a_root_and_the_rest(bytes in bytes(100)) {
        match PublicInputs::from_bytes(&bytes) {
            Ok(inputs) => prop_assert_eq!(inputs.to_bytes(), bytes),
            Err(error) => prop_assert!(bytes.len() < 32 && error.got == bytes.len()),
        }
    }

    #[test]
    fn a_witness_reads_back_from_its_json(witness in prop_oneof![
        bytes(40).prop_map(Witness::Data), state_proof().prop_map(Witness::StateProof),
    ]) {
        let json = serde_json::to_string(&witness).unwrap();
        prop_assert_eq!(serde_json::from_str::<Witness>(&json).unwrap(), witness);
    }

    #[test]
    fn damaged_json_is_another_witness_or_none(proof in state_proof(), damages in damages()) {
        let damaged = damaged(serde_json::to_vec(&Witness::StateProof(proof)).unwrap(), &damages);
        if let Ok(witness) = serde_json::from_slice::<Witness>(&damaged) {
            let again = serde_json::to_vec(&witness).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Witness>(&again).unwrap(), witness);
        }
    }

    #[test]
    fn a_text_is_an_id_that_prints_as_it_or_none(text in prop_oneof![
        any::<String>(), "[0-9a-fA-F]{64}", "0x[0-9a-f]{63,65}", "[0-9a-fé]{60,64}", "(0x){2}[0-9a-f]{62,64}",
    ]) {
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        let is_id = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        prop_assert_eq!(text.parse::<Root>().ok().map(|root| root.to_string()), is_id.then(|| digits.to_ascii_lowercase()));
    }

    #[test]
    fn a_text_is_a_name_that_prints_as_it_or_none(
        text in prop_oneof![any::<String>(), "[a-z0-9._-]{0,70}", "[a-z0-9]{1,9}"],
    ) {
        if let Ok(owner) = text.parse::<OwnerId>() {
            prop_assert_eq!(owner.as_str(), &text);
            prop_assert!((1..=64).contains(&text.len()) && text.is_ascii());
        }
        if let Ok(kind) = text.parse::<ProofKind>() {
            prop_assert_eq!(kind.as_str(), &text);
        }
        if let Ok(backend) = text.parse::<Backend>() {
            prop_assert_eq!(backend.as_str(), &text);
        }
    }

    #[test]
    fn a_text_is_a_task_or_none(text in prop_oneof![any::<String>(), "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{10,13}"]) {
        if let Ok(task) = text.parse::<TaskId>() {
            prop_assert_eq!(task.to_string().parse::<TaskId>(), Ok(task));
        }
    }
}
