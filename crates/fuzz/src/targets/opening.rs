//! Openings of a tree's keys, honest and forged.

use super::edit;
use crate::{Input, Seed, Target, Writer};
use coprocessor_merkle::{DOMAIN_DEPTH, Key, ROOT_DEPTH, Tree, Value, block_key};

pub(crate) const TARGET: Target = Target { name: "opening", about: "merkle: openings, honest and forged", run, seeds };

/// Most leaves of the tree.
const MOST: usize = 16;

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = if input.flag() { DOMAIN_DEPTH } else { ROOT_DEPTH };
    let tree: Tree = (0..input.below(MOST)).map(|_| (key(&mut input, limit), Value(input.sparse()))).collect();
    let root = tree.root();
    let asked = key(&mut input, limit);
    let honest = tree.open(&asked);
    assert_eq!(honest.verify(&root, &asked, limit), Ok(tree.get(&asked)), "an honest opening");
    let mut forged = tree.open(&key(&mut input, limit));
    edit::opening(&mut input, &mut forged);
    if let Ok(held) = forged.verify(&root, &asked, limit) {
        assert_eq!(held, tree.get(&asked), "a forged opening shows what is not so");
        assert_eq!(forged, honest, "two openings show the same");
    }
}

fn key(input: &mut Input<'_>, limit: usize) -> Key {
    match limit {
        DOMAIN_DEPTH => block_key(input.byte().into()),
        _ => Key(input.sparse()),
    }
}

fn seeds() -> Vec<Seed> {
    let tree = || Writer::new().byte(1).byte(4).bytes(&[1, 0, 3, 0, 5, 1, 9, 4, 0]);
    vec![
        edit::unchanged(tree().byte(5).byte(5)).seed("member"),
        edit::unchanged(tree().byte(6).byte(6)).seed("absent"),
        edit::unchanged(tree().byte(5).byte(3)).seed("another-key"),
        tree().byte(5).byte(5).byte(3).byte(1).byte(7).byte(2).byte(0).byte(2).seed("shortened"),
        Writer::new().byte(0).byte(2).bytes(&[1, 255, 0, 2, 255, 254, 0]).byte(1).byte(255).seed("deep"),
    ]
}
