//! Who may do what to the roots.

use crate::{
    chain::{Address, Chain, Revert},
    fixtures::{claim, sp1_program},
    scene::{Scene, rejected},
};
use coprocessor_solidity::{
    Word,
    abi::{
        Argument::{Bytes, Static},
        call,
    },
};

const ROOT: Word = Word([0x11; 32]);

struct Registry {
    chain: Chain,
    at: Address,
}

impl Registry {
    fn start() -> Option<Self> {
        let chain = Chain::start()?;
        let at = chain.deploy("RootRegistry", &[chain.account(0).argument()]);
        Some(Self { chain, at })
    }

    fn send(&self, account: usize, signature: &str, arguments: &[Word]) -> Result<u64, Revert> {
        let arguments: Vec<_> = arguments.iter().copied().map(Static).collect();
        self.chain.send_as(self.chain.account(account), self.at, &call(signature, &arguments))
    }

    fn is_accepted(&self, root: Word) -> bool {
        let answer = self.chain.word(self.at, "isAccepted(bytes32)", &[Static(root)]);
        let since = self.chain.word(self.at, "acceptedAt(bytes32)", &[Static(root)]);
        assert_eq!(answer != Word::ZERO, since != Word::ZERO);
        answer == Word::from(1)
    }

    fn account(&self, at: usize) -> Word {
        self.chain.account(at).0
    }
}

#[test]
fn roots_are_accepted_by_the_owner_and_by_updaters_alone() {
    let Some(registry) = Registry::start() else { return };
    assert!(!registry.is_accepted(ROOT));
    let stranger = registry.account(1);
    assert_eq!(registry.send(1, "accept(bytes32)", &[ROOT]), Err(Revert::of("NotUpdater(address)", &[stranger])));
    registry.send(0, "accept(bytes32)", &[ROOT]).unwrap();
    assert!(registry.is_accepted(ROOT));
    assert_eq!(registry.send(0, "accept(bytes32)", &[Word::ZERO]), Err(Revert::of("ZeroRoot()", &[])));

    let set = |allowed: usize| registry.send(0, "setUpdater(address,bool)", &[stranger, Word::from(allowed)]).unwrap();
    set(1);
    let other = Word([0x22; 32]);
    registry.send(1, "accept(bytes32)", &[other]).unwrap();
    assert!(registry.is_accepted(other));
    set(0);
    assert!(registry.send(1, "accept(bytes32)", &[Word([0x33; 32])]).is_err());
    // What it accepted stays.
    assert!(registry.is_accepted(other));
}

#[test]
fn accepting_again_changes_nothing() {
    let Some(registry) = Registry::start() else { return };
    registry.send(0, "accept(bytes32)", &[ROOT]).unwrap();
    let since = || registry.chain.word(registry.at, "acceptedAt(bytes32)", &[Static(ROOT)]);
    let before = since();
    registry.chain.node.call("evm_increaseTime", serde_json::json!([3600])).unwrap();
    registry.send(0, "accept(bytes32)", &[ROOT]).unwrap();
    assert_eq!(since(), before);
}

#[test]
fn a_revoked_root_stays_revoked() {
    let Some(registry) = Registry::start() else { return };
    registry.send(0, "setUpdater(address,bool)", &[registry.account(1), Word::from(1)]).unwrap();
    registry.send(1, "accept(bytes32)", &[ROOT]).unwrap();
    // An updater accepts, and does no more.
    let refused = Err(Revert::of("NotOwner(address)", &[registry.account(1)]));
    assert_eq!(registry.send(1, "revoke(bytes32)", &[ROOT]), refused);
    assert_eq!(registry.send(1, "setUpdater(address,bool)", &[registry.account(2), Word::from(1)]), refused);
    registry.send(0, "revoke(bytes32)", &[ROOT]).unwrap();
    assert!(!registry.is_accepted(ROOT));
    for account in [0, 1] {
        let revoked = Revert::of("RootRevoked(bytes32)", &[ROOT]);
        assert_eq!(registry.send(account, "accept(bytes32)", &[ROOT]), Err(revoked));
    }
    // One that was never accepted can be revoked too, and then never is.
    let early = Word([0x44; 32]);
    registry.send(0, "revoke(bytes32)", &[early]).unwrap();
    assert!(registry.send(1, "accept(bytes32)", &[early]).is_err());
}

#[test]
fn ownership_changes_in_two_steps() {
    let Some(registry) = Registry::start() else { return };
    let owner = || registry.chain.word(registry.at, "owner()", &[]);
    let [old, new, stranger] = [0, 1, 2].map(|at| registry.account(at));
    let take = |account| registry.send(account, "takeOwnership()", &[]);
    let not_offered = |account| Err(Revert::of("NotOfferedOwner(address)", &[account]));
    assert_eq!(take(1), not_offered(new));
    assert_eq!(registry.send(1, "offerOwnership(address)", &[new]), Err(Revert::of("NotOwner(address)", &[new])));
    // Taken back.
    registry.send(0, "offerOwnership(address)", &[new]).unwrap();
    registry.send(0, "offerOwnership(address)", &[Word::ZERO]).unwrap();
    assert_eq!(take(1), not_offered(new));
    registry.send(0, "offerOwnership(address)", &[new]).unwrap();
    assert_eq!(owner(), old);
    assert_eq!(take(2), not_offered(stranger));
    take(1).unwrap();
    assert_eq!(owner(), new);
    // The offer is used up, and the old owner is a stranger.
    assert_eq!(take(1), not_offered(new));
    assert_eq!(registry.send(0, "revoke(bytes32)", &[ROOT]), Err(Revert::of("NotOwner(address)", &[old])));
    assert_eq!(registry.send(0, "accept(bytes32)", &[ROOT]), Err(Revert::of("NotUpdater(address)", &[old])));
    registry.send(1, "accept(bytes32)", &[ROOT]).unwrap();

    let refused = registry.chain.refused_deployment("RootRegistry", &[Static(Word::ZERO)]);
    assert_eq!(refused, Revert::of("ZeroOwner()", &[]));
}

#[test]
fn a_proof_brings_the_next_root() {
    let Some((scene, mock)) = Scene::sp1() else { return };
    let chain = &scene.chain;
    let arguments = [scene.verifier.argument(), Static(sp1_program()), scene.registry.argument()];
    let updater = chain.deploy("ProofRootUpdater", &arguments);
    let (from, next, proof) = (claim().root(), Word([0xcd; 32]), [9; 100]);
    let half = |bytes: &[u8]| [&[0; 16], bytes].concat();
    let values = |from: Word| [from.as_bytes(), &half(&next.0[..16])[..], &half(&next.0[16..])].concat();
    let update = |values: &[u8]| {
        chain.send_as(chain.account(5), updater, &call("update(bytes,bytes)", &[Bytes(values), Bytes(&proof)]))
    };
    let expect = |values: &[u8]| {
        let expected = call("expect(bytes32,bytes,bytes)", &[Static(sp1_program()), Bytes(values), Bytes(&proof)]);
        chain.send(mock, &expected).unwrap();
    };
    let good = values(from);
    assert_eq!(update(&good), Err(rejected()));
    expect(&good);
    // The registry has the last word.
    assert_eq!(update(&good), Err(Revert::of("NotUpdater(address)", &[updater.0])));
    chain
        .send(scene.registry, &call("setUpdater(address,bool)", &[updater.argument(), Static(Word::from(1))]))
        .unwrap();

    let unknown = Word([0xee; 32]);
    expect(&values(unknown));
    assert_eq!(update(&values(unknown)), Err(Revert::of("RootNotAccepted(bytes32)", &[unknown])));
    assert_eq!(update(&good[..64]), Err(Revert::of("MalformedOutput(uint256)", &[Word::from(32)])));
    // A half that is longer than half a root would be another way to write one.
    let mut long = good.clone();
    long[32 + 15] = 1;
    expect(&long);
    let half = Word(long[32..64].try_into().unwrap());
    assert_eq!(update(&long), Err(Revert::of("RootHalfTooLarge(uint256)", &[half])));

    update(&good).unwrap();
    let accepted = |root: Word| chain.word(scene.registry, "isAccepted(bytes32)", &[Static(root)]);
    assert_eq!(accepted(next), Word::from(1));
    // Once revoked, no proof brings it back.
    scene.revoke(next);
    assert_eq!(update(&good), Err(Revert::of("RootRevoked(bytes32)", &[next])));
}
