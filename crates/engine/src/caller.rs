//! Who asks, and what it may do.
//!
//! # Rules
//! - A caller without the scope that something needs is told which one ([`EngineError::Forbidden`]).
//! - What belongs to another owner does not exist for the caller: the answer is the one for an id that names nothing, so
//!   that ids cannot be tried out. `admin` sees and changes what is anybody's.
//! - A public program is seen and read by everybody, and everybody may ask for its proofs; only its owner changes it.
//! - A task belongs to who asked for it, with its events, proof, witness and log. The owner of a public program does not
//!   see what others ask of it.

use coprocessor_store::{KeyId, Program, Scope};
use coprocessor_types::{OwnerId, ProgramId};
use std::fmt;

use crate::{Engine, EngineError};

/// A set of [`Scope`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// No scope.
    pub const NONE: Self = Self(0);

    /// Every scope.
    pub const ALL: Self = Self::NONE.with(Scope::Read).with(Scope::Deploy).with(Scope::Prove).with(Scope::Admin);

    /// The set with one more scope.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | bit(scope))
    }

    /// Whether the scope itself is in the set. What a caller may do is [`Caller::may`].
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

const fn bit(scope: Scope) -> u8 {
    match scope {
        Scope::Read => 1,
        Scope::Deploy => 2,
        Scope::Prove => 4,
        Scope::Admin => 8,
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Who asks for something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// In whose name.
    pub owner: OwnerId,
    /// With which key; `None` without credentials.
    pub key: Option<KeyId>,
    /// What it may do.
    pub scopes: Scopes,
}

impl Caller {
    /// Whoever asks where no keys are used: the owner `anonymous`, who may do everything.
    pub fn anonymous() -> Self {
        Self { owner: OwnerId::anonymous(), key: None, scopes: Scopes::ALL }
    }

    /// Whoever asks without a key where keys are used and guests are let in: the owner `anonymous`, who may do everything
    /// but administer.
    pub fn anonymous_guest() -> Self {
        let scopes = [Scope::Read, Scope::Deploy, Scope::Prove].into_iter().collect();
        Self { owner: OwnerId::anonymous(), key: None, scopes }
    }

    /// Whether it may do what the scope allows; an administrator may do all.
    pub const fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(scope) || self.is_admin()
    }

    /// Whether it may see and change what is anybody's.
    pub const fn is_admin(&self) -> bool {
        self.scopes.contains(Scope::Admin)
    }

    /// Whether it may see a program, read its files and ask for its proofs: its own, a public one, or any as an administrator.
    pub fn sees(&self, program: &Program) -> bool {
        program.public || self.owns(&program.owner)
    }

    /// Whether what belongs to `owner` is the caller's to change: its own, or any as an administrator.
    pub fn owns(&self, owner: &OwnerId) -> bool {
        self.owner == *owner || self.is_admin()
    }

    /// Refuses whoever may not do what the scope allows.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`].
    pub fn require(&self, scope: Scope) -> Result<(), EngineError> {
        if self.may(scope) { Ok(()) } else { Err(EngineError::Forbidden { scope }) }
    }

    /// Whose things a list shows: the caller's own; for an administrator those asked for, or everybody's (`None`).
    ///
    /// # Errors
    /// [`EngineError::Forbidden`] where others' are asked for.
    pub fn lists(&self, asked: Option<OwnerId>) -> Result<Option<OwnerId>, EngineError> {
        match asked {
            asked if self.is_admin() => Ok(asked),
            Some(other) if other != self.owner => Err(EngineError::Forbidden { scope: Scope::Admin }),
            _ => Ok(Some(self.owner.clone())),
        }
    }
}

impl Engine {
    /// A program that the caller sees, for what needs `scope`.
    pub(crate) async fn visible(&self, caller: &Caller, scope: Scope, id: ProgramId) -> Result<Program, EngineError> {
        caller.require(scope)?;
        let program = self.inner.store.program(id).await?;
        program.filter(|program| caller.sees(program)).ok_or(EngineError::UnknownProgram(id))
    }

    /// A program that is the caller's to change. Another's public one is refused for the missing `admin`: it is seen anyway.
    pub(crate) async fn owned(&self, caller: &Caller, scope: Scope, id: ProgramId) -> Result<Program, EngineError> {
        let program = self.visible(caller, scope, id).await?;
        if caller.owns(&program.owner) { Ok(program) } else { Err(EngineError::Forbidden { scope: Scope::Admin }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coprocessor_types::{Backend, BlobDigest};
    use jiff::Timestamp;

    fn program(owner: &str, public: bool) -> Program {
        Program {
            id: ProgramId::default(),
            owner: owner.parse().unwrap(),
            name: String::new(),
            public,
            backend: Backend::Sp1,
            controller: BlobDigest::default(),
            circuit: BlobDigest::default(),
            verifying_key: None,
            nonce: 0,
            volume_size: 0,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn caller(owner: &str, scopes: &[Scope]) -> Caller {
        Caller { owner: owner.parse().unwrap(), key: None, scopes: scopes.iter().copied().collect() }
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for scope in Scope::ALL {
            let one = Scopes::NONE.with(scope);
            assert_eq!(one.iter().collect::<Vec<_>>(), [scope]);
            assert_eq!(Scope::ALL.into_iter().collect::<Scopes>(), Scopes::ALL);
            assert!(!one.is_empty() && Scopes::NONE.is_empty());
        }
        assert_eq!(format!("{:?}", Scopes::NONE.with(Scope::Prove)), "{Prove}");
    }

    #[test]
    fn a_scope_allows_itself_and_admin_allows_all() {
        for scope in Scope::ALL {
            for asked in Scope::ALL {
                let expected = scope == asked || scope == Scope::Admin;
                assert_eq!(caller("alice", &[scope]).may(asked), expected, "{scope:?} {asked:?}");
            }
        }
        assert!(!Caller::anonymous_guest().may(Scope::Admin));
        assert!(Scope::ALL.into_iter().all(|scope| Caller::anonymous().may(scope)));
        let refused = caller("alice", &[Scope::Read]).require(Scope::Prove);
        assert!(matches!(refused, Err(EngineError::Forbidden { scope: Scope::Prove })));
    }

    #[test]
    fn own_and_public_programs_are_seen_and_others_are_not() {
        let (alice, admin) = (caller("alice", &[Scope::Read]), caller("root", &[Scope::Admin]));
        assert!(alice.sees(&program("alice", false)) && alice.sees(&program("bob", true)));
        assert!(!alice.sees(&program("bob", false)));
        assert!(alice.owns(&"alice".parse().unwrap()) && !alice.owns(&"bob".parse().unwrap()));
        assert!(admin.sees(&program("bob", false)) && admin.owns(&"bob".parse().unwrap()));
    }

    #[test]
    fn lists_are_ones_own_but_for_an_administrator() {
        let (alice, admin) = (caller("alice", &[Scope::Read]), caller("root", &[Scope::Admin]));
        let bob: OwnerId = "bob".parse().unwrap();
        assert_eq!(alice.lists(None).unwrap(), Some(alice.owner.clone()));
        assert_eq!(alice.lists(Some(alice.owner.clone())).unwrap(), Some(alice.owner.clone()));
        assert!(matches!(alice.lists(Some(bob.clone())), Err(EngineError::Forbidden { scope: Scope::Admin })));
        assert_eq!(admin.lists(None).unwrap(), None);
        assert_eq!(admin.lists(Some(bob.clone())).unwrap(), Some(bob));
    }
}
