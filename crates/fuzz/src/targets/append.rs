//! Proofs that a root is another one with one more block, honest and forged.

use super::{
    edit,
    world::{Block, World, seed},
};
use crate::{Input, Seed, Target};
use coprocessor_types::{DomainId, sha256};

pub(crate) const TARGET: Target =
    Target { name: "append", about: "merkle: append proofs, honest and forged", run, seeds };

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let world = World::read(&mut input);
    let block = Block::read(&mut input);
    let honest = world.append_proof(&block);
    let after = world.takes(&block).then(|| {
        let mut after = world.clone();
        after.append(block);
        after.root()
    });
    if let Some(after) = after {
        assert_eq!(honest.verify(&world.root(), &after), Ok(()), "an honest append");
    }
    // What is shown of one block is claimed of another.
    let mut forged = honest.clone();
    if input.flag() {
        let other = world.append_proof(&Block::read(&mut input));
        (forged.in_domain, forged.in_root) = (other.in_domain, other.in_root);
    }
    edit::opening(&mut input, &mut forged.in_domain);
    edit::opening(&mut input, &mut forged.in_root);
    if input.flag() {
        forged.domain = DomainId(input.sparse());
        forged.payload_hash = sha256(&[input.few()]);
    }
    let Ok((from, to)) = forged.roots() else { return };
    assert_eq!(forged.verify(&from, &to), Ok(()));
    if from == world.root() && (forged.domain, forged.payload_hash) == (honest.domain, honest.payload_hash) {
        assert_eq!(Some(to), after, "a forged append leads from an honest root to one that is none");
    }
}

fn seeds() -> Vec<Seed> {
    let unchanged = |writer| edit::unchanged(edit::unchanged(writer)).byte(0);
    vec![
        unchanged(seed().byte(0)).seed("honest"),
        unchanged(seed().byte(1).bytes(&[1, 0, 5, 7])).seed("of-another-domain"),
        unchanged(seed().byte(1).bytes(&[0, 0, 4, 1])).seed("of-a-block-that-is-there"),
        edit::unchanged(seed().byte(0)).byte(0).byte(0).byte(0).seed("as-if-the-domain-were-new"),
    ]
}
