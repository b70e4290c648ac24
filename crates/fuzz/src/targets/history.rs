//! A tree's log of writes: as it is kept, pruned, and as a store that went wrong gives it back.

use crate::{Input, Seed, Target, Writer};
use coprocessor_merkle::{
    Key, ROOT_DEPTH, Tree, Value,
    history::{HistoryError, Superseded, Write, Writes, open, put, superseded},
};
use std::sync::Arc;

pub(crate) const TARGET: Target =
    Target { name: "history", about: "merkle: the log of writes, honest, pruned and damaged", run, seeds };

/// Most writes.
const MOST: usize = 24;

/// Rows of a store. Version 1 is the first.
#[derive(Clone, Default)]
struct Log(Vec<Arc<Write>>);

/// There is no such version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Missing;

impl Writes for Log {
    type Error = Missing;

    fn write(&mut self, version: u64) -> Result<Arc<Write>, Missing> {
        let at = usize::try_from(version).ok().and_then(|version| version.checked_sub(1)).ok_or(Missing)?;
        self.0.get(at).cloned().ok_or(Missing)
    }
}

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut log, mut tree) = (Log::default(), Tree::new());
    let mut trees = vec![tree.clone()];
    for _ in 0..input.below(MOST) {
        let (key, value) = (Key(input.sparse()), Value(input.sparse()));
        let tip = log.0.len() as u64;
        let write = put(&mut log, tip, key, value).expect("an honest history is written on");
        tree.insert(key, value);
        assert_eq!(write.root(), tree.root(), "the root after a write");
        log.0.push(Arc::new(stored(&write)));
        trees.push(tree.clone());
    }
    let first = prune(&mut input, &mut log);
    let asked = Key(input.sparse());
    for (version, tree) in trees.iter().enumerate() {
        match open(&mut log, version as u64, &asked) {
            Ok(opened) => assert_eq!(opened.opening, tree.open(&asked), "version {version}"),
            Err(HistoryError::Pruned { .. }) => assert!(version < first, "version {version} was not to be pruned"),
            Err(error) => panic!("version {version} of an honest history: {error:?}"),
        }
    }
    damage(&mut input, &mut log);
    for (version, tree) in trees.iter().enumerate().skip(1) {
        let row = Arc::clone(&log.0[version - 1]);
        if let Ok(opened) = open(&mut log, version as u64, &asked)
            && row.siblings().len() == row.depth()
        {
            let held = opened.opening.verify(&row.root(), &asked, ROOT_DEPTH);
            let held = held.unwrap_or_else(|error| panic!("version {version} of a damaged history: {error}"));
            if row.root() == tree.root() {
                assert_eq!(held, tree.get(&asked), "version {version} of a damaged history");
            }
        }
        // Whatever these come to, they come to an end.
        let _ = put(&mut log, version as u64, asked, Value([9; 32]));
        let _ = superseded(&mut log, version as u64);
    }
}

/// Through the form that a store keeps.
fn stored(write: &Write) -> Write {
    let siblings = write.siblings_to_bytes();
    let read = Write::from_parts(*write.key(), *write.value(), write.depth(), &siblings).expect("an honest row");
    assert_eq!(read, *write, "a row reads back");
    read
}

/// Prunes versions before one that the input names; gives that.
fn prune(input: &mut Input<'_>, log: &mut Log) -> usize {
    let first = input.below(MOST).min(log.0.len());
    for version in 1..=first as u64 {
        for Superseded { version, keep } in superseded(log, version).expect("an honest history is pruned") {
            let at = usize::try_from(version).expect("a version of a short history") - 1;
            let write = &log.0[at];
            let siblings = &write.siblings_to_bytes()[..keep * 40];
            log.0[at] =
                Write::from_parts(*write.key(), *write.value(), write.depth(), siblings).expect("a cut row").into();
        }
    }
    first
}

/// Changes rows, where what comes of it is still a row.
fn damage(input: &mut Input<'_>, log: &mut Log) {
    for _ in 0..input.below(4) {
        if log.0.is_empty() {
            return;
        }
        let at = input.below(log.0.len());
        if input.flag() {
            let from = input.below(log.0.len());
            log.0[at] = Arc::clone(&log.0[from]);
            continue;
        }
        let write = &log.0[at];
        let (mut key, mut depth, mut siblings) = (*write.key(), write.depth(), write.siblings_to_bytes());
        match input.below(3) {
            0 => key = Key(input.sparse()),
            1 => depth = input.short().into(),
            _ => super::edit::bytes(input, &mut siblings),
        }
        if let Ok(write) = Write::from_parts(key, *write.value(), depth, &siblings) {
            log.0[at] = write.into();
        }
    }
}

fn seeds() -> Vec<Seed> {
    let log = || {
        let keys: [&[u8]; 6] = [&[0], &[1, 0], &[2, 0, 1], &[1, 255], &[2, 255, 254], &[1, 0]];
        keys.into_iter().fold(Writer::new().byte(6), |writer, key| writer.bytes(key).bytes(&[1, 3]))
    };
    vec![
        log().byte(0).bytes(&[1, 255]).byte(0).seed("whole"),
        log().byte(4).bytes(&[1, 0]).byte(0).seed("pruned"),
        log().byte(0).bytes(&[1, 255]).byte(1).bytes(&[4, 0, 2, 1, 3, 0, 0, 1]).seed("damaged"),
        log().byte(0).bytes(&[1, 0]).byte(1).bytes(&[5, 1, 2]).seed("a-row-twice"),
        log().byte(0).bytes(&[1, 0]).byte(1).bytes(&[3, 0, 1, 255, 0]).seed("another-depth"),
    ]
}
