//! Domains: registering the chains that roots commit to, and who may append their blocks.
//!
//! What a root commits to is for the operator to say, so registering a domain and replacing its controller take the scope
//! `admin`. Blocks are appended by the domain's owner, within what the controller lets pass. Domains, blocks and roots are for
//! every caller who may read: they are what proofs are checked against.

use bytes::Bytes;
use coprocessor_sandbox::Role;
use coprocessor_store::{AddDomain, Cursor, Domain, NewDomain, Page, Scope, TrustPolicy};
use coprocessor_types::{DomainId, OwnerId};
use serde_json::{Value, json};
use std::{fmt, str::FromStr};

use crate::{Caller, Engine, EngineError};

/// Longest settings of a domain, in bytes of JSON. They go along with every call of its controller.
const MAX_SETTINGS: usize = 64 << 10;

/// A domain's name: 1 to 64 characters of `a-z A-Z 0-9 - _ . :`, the first a letter or a digit, and no 64 hexadecimal digits,
/// which would be an id.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DomainName(String);

/// A text that is no domain's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a domain's name is 1 to 64 characters of a-z, A-Z, 0-9, '-', '_', '.' and ':', begins with a letter or a digit, and is \
     not 64 hexadecimal digits"
)]
pub struct DomainNameError;

/// A domain to register.
#[derive(Clone, PartialEq, Debug)]
pub struct DomainRequest {
    /// Its name; its id is derived from it.
    pub name: DomainName,
    /// Who may append its blocks; the caller's owner by default.
    pub owner: Option<OwnerId>,
    /// Its controller's WebAssembly.
    pub controller: Bytes,
    /// What the controller is told with every call; null for nothing. The same ever after.
    pub settings: Value,
    /// What its blocks have to be checked by.
    pub policy: TrustPolicy,
}

/// What registering a domain came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Registered {
    /// A new domain.
    New(Domain),
    /// The very same was registered before.
    Same(Domain),
}

impl DomainName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain's id.
    pub fn id(&self) -> DomainId {
        DomainId::derive(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = DomainNameError;

    fn from_str(text: &str) -> Result<Self, DomainNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        let fits = first && text.len() <= 64 && text.chars().all(allowed);
        if fits && text.parse::<DomainId>().is_err() { Ok(Self(text.to_owned())) } else { Err(DomainNameError) }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Engine {
    /// Registers a domain. Roots commit to it from its first block on.
    ///
    /// # Errors
    /// A caller that is no administrator; a controller that is none; settings that are too long; a domain of that name with
    /// another owner, other settings or another controller; a full store.
    pub async fn add_domain(&self, caller: &Caller, request: DomainRequest) -> Result<Registered, EngineError> {
        caller.require(Scope::Admin)?;
        let inner = &self.inner;
        inner.check_room()?;
        let length = request.settings.to_string().len();
        if length > MAX_SETTINGS {
            let message = format!("a domain's settings have at most {MAX_SETTINGS} bytes as JSON, got {length}");
            return Err(EngineError::InvalidRequest(message));
        }
        inner.check_controller(request.controller.clone(), Role::Domain).await?;
        let domain = NewDomain {
            id: request.name.id(),
            name: request.name.0,
            owner: request.owner.unwrap_or_else(|| caller.owner.clone()),
            controller: inner.store.put_blob(request.controller).await?,
            settings: request.settings,
            policy: request.policy,
        };
        match inner.store.add_domain(domain.clone()).await? {
            AddDomain::Added(domain) => {
                tracing::info!(domain = %domain.id, name = domain.name, owner = %domain.owner, "domain registered");
                Ok(Registered::New(domain))
            }
            AddDomain::Exists(there) => is_same(&domain, &there).map(|()| Registered::Same(there)),
        }
    }

    /// A domain.
    ///
    /// # Errors
    /// [`EngineError::UnknownDomain`].
    pub async fn domain(&self, caller: &Caller, id: DomainId) -> Result<Domain, EngineError> {
        caller.require(Scope::Read)?;
        self.inner.known_domain(id).await
    }

    /// Domains in the order they were registered.
    ///
    /// # Errors
    /// A cursor of another list.
    pub async fn domains(
        &self,
        caller: &Caller,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Domain>, EngineError> {
        caller.require(Scope::Read)?;
        Ok(self.inner.store.domains(after, limit).await?)
    }

    /// A domain with its controller's WebAssembly.
    ///
    /// # Errors
    /// [`EngineError::UnknownDomain`].
    pub async fn domain_controller(&self, caller: &Caller, id: DomainId) -> Result<(Domain, Bytes), EngineError> {
        let domain = self.domain(caller, id).await?;
        let content = self.inner.store.blob(domain.controller).await?;
        Ok((domain, content))
    }

    /// Gives a domain another controller, for the blocks to come. Those there are stay as they are.
    ///
    /// # Errors
    /// A caller that is no administrator; not a domain's controller; [`EngineError::UnknownDomain`]; a full store.
    pub async fn set_domain_controller(
        &self,
        caller: &Caller,
        id: DomainId,
        controller: Bytes,
    ) -> Result<Domain, EngineError> {
        caller.require(Scope::Admin)?;
        let inner = &self.inner;
        inner.known_domain(id).await?;
        inner.check_room()?;
        inner.check_controller(controller.clone(), Role::Domain).await?;
        let digest = inner.store.put_blob(controller).await?;
        let domain = inner.store.set_domain_controller(id, digest).await?.ok_or(EngineError::UnknownDomain(id))?;
        tracing::info!(domain = %id, name = domain.name, controller = %digest, "domain's controller replaced");
        Ok(domain)
    }
}

impl crate::Inner {
    pub(crate) async fn known_domain(&self, id: DomainId) -> Result<Domain, EngineError> {
        self.store.domain(id).await?.ok_or(EngineError::UnknownDomain(id))
    }
}

/// What a domain's controller is called with: the arguments as they are, as Valence v0.4 hands them on, or beside the domain's
/// settings where it has some.
pub(crate) fn told(domain: &Domain, args: Value) -> Value {
    if domain.settings.is_null() { args } else { json!({"settings": domain.settings, "args": args}) }
}

/// Whether the domain that is there is the one that was to be registered.
fn is_same(asked: &NewDomain, there: &Domain) -> Result<(), EngineError> {
    let other = if there.owner != asked.owner {
        "another owner"
    } else if there.settings != asked.settings {
        "other settings"
    } else if there.policy != asked.policy {
        "another trust policy"
    } else if there.controller != asked.controller {
        "another controller"
    } else {
        return Ok(());
    };
    Err(EngineError::DomainExists { name: there.name.clone(), other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_no_ids() {
        for name in ["ethereum", "Ethereum-Mainnet_1.2:a", "0x", "1", &"a".repeat(64).replacen('a', "g", 1)] {
            assert_eq!(name.parse::<DomainName>().unwrap().as_str(), name);
        }
        let id = DomainId([7; 32]).to_string();
        for name in ["", ".", "..", "-a", "a/b", "a b", "ä", "a\n", &"g".repeat(65), &id, &format!("0x{id}")] {
            assert_eq!(name.parse::<DomainName>(), Err(DomainNameError), "{name:?}");
        }
        assert_eq!("ethereum".parse::<DomainName>().unwrap().id(), DomainId::derive("ethereum"));
    }
}
