//! Prover nodes as people see them: their own and those that prove for everybody.

use coprocessor_store::{ProverRecord, Scope};
use coprocessor_types::OwnerId;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::{Caller, Engine, EngineError, NodeView};

/// A node to register.
#[derive(Clone, Debug)]
pub struct NodeRegistration {
    /// Its address, such as `https://prover.example.com:37282`.
    pub address: String,
    /// The node's shared secret. Told to this node alone.
    pub secret: Option<SecretString>,
    /// Whether it proves for everybody; else for the caller's owner alone.
    pub shared: bool,
}

impl Engine {
    /// The nodes that may prove for the caller, each asked just now: those of its owner, shared and configured ones; all of
    /// them for an administrator.
    ///
    /// # Errors
    /// The scope read is missing.
    pub async fn provers(&self, caller: &Caller) -> Result<Vec<NodeView>, EngineError> {
        caller.require(Scope::Read)?;
        let reader = (!caller.is_admin()).then_some(&caller.owner);
        Ok(self.inner.provers.view(reader).await)
    }

    /// Registers a node in the name of the caller's owner. False when that owner has one at that address already.
    ///
    /// A node that is not an administrator's has to be at public addresses, or at a host that the operator allows
    /// ([`PoolSettings::allow`](crate::PoolSettings::allow)): the service would else be led to ask its own network. That is looked
    /// at now and with every connection.
    ///
    /// # Errors
    /// Not an address of a node, or one that its secret must not be sent to; a shared one without being an administrator.
    pub async fn add_prover(&self, caller: &Caller, node: NodeRegistration) -> Result<bool, EngineError> {
        caller.require(if node.shared { Scope::Admin } else { Scope::Deploy })?;
        self.inner.check_room()?;
        let NodeRegistration { address, secret, shared } = node;
        let (owner, trusted, added_at) = (caller.owner.clone(), caller.is_admin(), Timestamp::now());
        let record = ProverRecord { address, owner, shared, trusted, secret, added_at };
        self.inner.provers.add(record).await
    }

    /// Forgets a node of the caller's owner; of any owner for an administrator.
    ///
    /// # Errors
    /// No such node, or another owner's.
    pub async fn remove_prover(
        &self,
        caller: &Caller,
        owner: Option<&OwnerId>,
        address: &str,
    ) -> Result<(), EngineError> {
        caller.require(Scope::Deploy)?;
        let owner = owner.unwrap_or(&caller.owner);
        if !caller.owns(owner) {
            return Err(EngineError::UnknownProver(address.to_owned()));
        }
        self.inner.provers.remove(owner, address).await
    }
}
