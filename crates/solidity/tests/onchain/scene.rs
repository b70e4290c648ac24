//! The contracts as an application has them, for each proving system.

use crate::{
    chain::{Address, Chain, Revert},
    fixtures::{Statement, claim, claim_at_later_root, key, sp1_program},
};
use coprocessor_solidity::{
    Word,
    abi::{
        Argument::{Bytes, Static},
        call,
    },
};

/// An application on a chain. It is the first contract of the tenth account, which the fixtures name as their audience.
pub(crate) struct Scene {
    pub(crate) chain: Chain,
    pub(crate) registry: Address,
    /// `IProofVerifier`.
    pub(crate) verifier: Address,
    pub(crate) payout: Address,
}

/// Ether that the application has, in wei.
pub(crate) const FUNDS: usize = 5_000_000_000_000_000;

impl Scene {
    /// Proofs are Groth16's, verified by the contract that is written here.
    pub(crate) fn groth16() -> Option<Self> {
        let chain = Chain::start()?;
        let groth16 = chain.deploy("Verifier", &[]);
        let verifier = adapter(&chain, groth16);
        Some(Self::with(chain, verifier, key().hash()))
    }

    /// Proofs are SP1's, verified by a mock; and the mock.
    pub(crate) fn sp1() -> Option<(Self, Address)> {
        let chain = Chain::start()?;
        let mock = chain.deploy("MockSP1VerifierForTests", &[]);
        let verifier = chain.deploy("SP1Adapter", &[mock.argument()]);
        Some((Self::with(chain, verifier, sp1_program()), mock))
    }

    fn with(chain: Chain, verifier: Address, program: Word) -> Self {
        let registry = chain.deploy("RootRegistry", &[chain.account(0).argument()]);
        let arguments = [verifier.argument(), registry.argument(), Static(program)];
        let payout = chain.deploy_from(chain.account(9), "Payout", &arguments);
        chain.fund(payout, FUNDS);
        let scene = Self { chain, registry, verifier, payout };
        scene.accept(claim().root());
        scene.accept(claim_at_later_root().root());
        scene
    }

    pub(crate) fn accept(&self, root: Word) {
        self.chain.send(self.registry, &call("accept(bytes32)", &[Static(root)])).unwrap();
    }

    pub(crate) fn revoke(&self, root: Word) {
        self.chain.send(self.registry, &call("revoke(bytes32)", &[Static(root)])).unwrap();
    }

    /// Claims; the gas used.
    pub(crate) fn claim(&self, public_values: &[u8], proof: &[u8]) -> Result<u64, Revert> {
        self.chain.send(self.payout, &claim_call(public_values, proof))
    }

    pub(crate) fn claim_statement(&self, statement: &Statement) -> Result<u64, Revert> {
        self.claim(&statement.public_values(), &statement.bytes())
    }

    pub(crate) fn owed(&self, account: Word) -> Word {
        self.chain.word(self.payout, "owed(address)", &[Static(account)])
    }
}

pub(crate) fn claim_call(public_values: &[u8], proof: &[u8]) -> Vec<u8> {
    call("claim(bytes,bytes)", &[Bytes(public_values), Bytes(proof)])
}

/// An adapter for a verifier of the fixtures' key.
pub(crate) fn adapter(chain: &Chain, groth16: Address) -> Address {
    let arguments = [groth16.argument(), Static(Word::from(key().signals())), Static(key().hash())];
    chain.deploy("Groth16Adapter", &arguments)
}

/// `ProofRejected()`.
pub(crate) fn rejected() -> Revert {
    Revert::of("ProofRejected()", &[])
}
