//! API keys.
//!
//! A key is `cpk_`, the 16 hexadecimal digits of its id, `_`, and 32 random bytes as 43 characters of base64url. The
//! store holds the SHA-256 of that text: with 256 random bits in it there is nothing to guess, so a slow hash, which
//! makes guessing passwords dear, would only make every request dear. Whoever reads the store gets no key from it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coprocessor_store::{ApiKey, Cursor, KeyId, Page, Scope};
use coprocessor_types::{BlobDigest, OwnerId};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::{Caller, Engine, EngineError, Scopes, recent::Recent};

const PREFIX: &str = "cpk_";

/// Random bytes of a key's secret part.
const SECRET_BYTES: usize = 32;

/// Longest name of a key, in bytes.
const MAX_NAME: usize = 128;

/// Keys that were used a moment ago. Only those there are: whoever tries keys out fills no memory.
pub(crate) type KnownKeys = Recent<KeyId, ApiKey>;

/// Makes a key: what the store holds of it, and the key itself, which is nowhere else.
///
/// # Errors
/// A name or an expiry that cannot be, or no scope at all.
pub fn new_key(
    owner: OwnerId,
    name: &str,
    scopes: Scopes,
    expires_at: Option<Timestamp>,
) -> Result<(ApiKey, SecretString), EngineError> {
    let refused = |message: String| Err(EngineError::InvalidRequest(message));
    if name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return refused(format!("a key's name has at most {MAX_NAME} bytes and no control characters"));
    }
    if scopes.is_empty() {
        return refused("a key without a scope could do nothing; give it read, deploy, prove or admin".into());
    }
    let created_at = Timestamp::now();
    if let Some(expires_at) = expires_at.filter(|expires_at| *expires_at <= created_at) {
        return refused(format!("the key would have expired at {expires_at} already"));
    }
    let id = KeyId(random()?);
    let text = print(id, &random()?);
    let key = ApiKey {
        id,
        owner,
        name: name.to_owned(),
        hash: hash(text.expose_secret()),
        scopes: scopes.iter().collect(),
        created_at,
        expires_at,
        revoked_at: None,
    };
    Ok((key, text))
}

impl Engine {
    /// Makes a key for an owner; for administrators. The secret is told this once.
    ///
    /// # Errors
    /// As for [`new_key`].
    pub async fn create_key(
        &self,
        caller: &Caller,
        owner: OwnerId,
        name: &str,
        scopes: Scopes,
        expires_at: Option<Timestamp>,
    ) -> Result<(ApiKey, SecretString), EngineError> {
        caller.require(Scope::Admin)?;
        loop {
            let (key, text) = new_key(owner.clone(), name, scopes, expires_at)?;
            // The other way round has a chance of one in 2^64 for each key there is.
            if self.inner.store.add_key(key.clone()).await? {
                tracing::info!(key = %key.id, %owner, scopes = ?scopes, by = %caller.owner, "key made");
                return Ok((key, text));
            }
        }
    }

    /// Keys, newest first, revoked ones too: the caller's owner's (scope read); for administrators `owner`'s or everybody's.
    ///
    /// # Errors
    /// Another owner's are asked for; the store's.
    pub async fn keys(
        &self,
        caller: &Caller,
        owner: Option<OwnerId>,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ApiKey>, EngineError> {
        caller.require(Scope::Read)?;
        Ok(self.inner.store.keys(caller.lists(owner)?, after, limit).await?)
    }

    /// Revokes a key: any for an administrator, and every key may revoke itself, whatever its scopes, so that whoever finds
    /// it in the open can end it. In this process at once, in others within seconds.
    ///
    /// # Errors
    /// No such key, or another owner's; another key of the same owner without being an administrator.
    pub async fn revoke_key(&self, caller: &Caller, id: KeyId) -> Result<ApiKey, EngineError> {
        if !caller.is_admin() && caller.key != Some(id) {
            let key = self.inner.store.key(id).await?;
            let seen = key.is_some_and(|key| caller.owns(&key.owner));
            return Err(if seen {
                EngineError::Forbidden { scope: Scope::Admin }
            } else {
                EngineError::UnknownKey(id)
            });
        }
        let key = self.inner.store.revoke_key(id, Timestamp::now()).await?.ok_or(EngineError::UnknownKey(id))?;
        self.inner.accounts.forget();
        tracing::info!(key = %id, owner = %key.owner, by = %caller.owner, "key revoked");
        Ok(key)
    }

    /// Who holds a key.
    ///
    /// What is compared with the store is the key's hash, in constant time, and a key whose id is known takes the same way as
    /// one whose is not: neither the answer nor how long it takes tells which part of a wrong key was right.
    ///
    /// # Errors
    /// [`EngineError::Unauthenticated`] for everything that is not a good key now; the store's.
    pub async fn authenticate(&self, key: &SecretString) -> Result<Caller, EngineError> {
        let text = key.expose_secret();
        let id = parse(text).ok_or(EngineError::Unauthenticated)?;
        let given = hash(text);
        let known = self.known_key(id).await?;
        let expected = known.as_ref().map_or([0; 32], |key| key.hash);
        let same = bool::from(given.ct_eq(&expected));
        match known {
            Some(key) if same && is_good(&key, Timestamp::now()) => {
                Ok(Caller { owner: key.owner, key: Some(id), scopes: key.scopes.into_iter().collect() })
            }
            _ => Err(EngineError::Unauthenticated),
        }
    }

    /// Whether any key was ever made: whether callers without one are strangers.
    ///
    /// # Errors
    /// The store's.
    pub async fn has_keys(&self) -> Result<bool, EngineError> {
        Ok(self.inner.store.has_keys().await?)
    }

    async fn known_key(&self, id: KeyId) -> Result<Option<ApiKey>, EngineError> {
        let known = &self.inner.accounts.keys;
        match known.get(&id) {
            Ok(key) => Ok(Some(key)),
            Err(look) => {
                let key = self.inner.store.key(id).await?;
                if let Some(key) = &key {
                    known.put(look, id, key.clone());
                }
                Ok(key)
            }
        }
    }
}

fn is_good(key: &ApiKey, now: Timestamp) -> bool {
    key.revoked_at.is_none() && key.expires_at.is_none_or(|expires_at| now < expires_at)
}

fn hash(text: &str) -> [u8; 32] {
    BlobDigest::of(text.as_bytes()).0
}

fn print(id: KeyId, secret: &[u8; SECRET_BYTES]) -> SecretString {
    format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret)).into()
}

/// The id in a key's text; `None` when it is no key's text, to the letter.
fn parse(text: &str) -> Option<KeyId> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let lower = !id.bytes().any(|byte| byte.is_ascii_uppercase());
    let id = id.parse().ok().filter(|_| lower)?;
    // Strict base64: no padding, no bits left over.
    URL_SAFE_NO_PAD.decode(secret).is_ok_and(|secret| secret.len() == SECRET_BYTES).then_some(id)
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], EngineError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| EngineError::Internal(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made() -> (ApiKey, SecretString) {
        new_key("alice".parse().unwrap(), "ci", Scopes::NONE.with(Scope::Read), None).unwrap()
    }

    #[test]
    fn a_key_names_itself_and_the_store_holds_nothing_of_its_secret() {
        let (key, text) = made();
        let text = text.expose_secret();
        assert_eq!(text.len(), 4 + 16 + 1 + 43);
        assert_eq!(parse(text), Some(key.id));
        assert_eq!(key.hash, hash(text));
        let secret = &text[21..];
        assert!(!format!("{key:?}").contains(secret));
        assert_ne!(text, made().1.expose_secret());
    }

    #[test]
    fn what_prints_a_key_prints_no_secret() {
        let (_, text) = made();
        let secret = text.expose_secret()[21..].to_owned();
        let refused = EngineError::Unauthenticated;
        for shown in [format!("{text:?}"), format!("{refused:?}"), refused.to_string()] {
            assert!(!shown.contains(&secret), "{shown}");
        }
    }

    #[test]
    fn a_key_that_could_do_nothing_is_not_made() {
        let read = Scopes::NONE.with(Scope::Read);
        let attempt = |name: &str, scopes, expires_at| new_key(OwnerId::anonymous(), name, scopes, expires_at);
        for refused in [
            attempt("", Scopes::NONE, None),
            attempt("a\nb", read, None),
            attempt(&"a".repeat(129), read, None),
            attempt("", read, Some(Timestamp::now())),
        ] {
            assert!(matches!(refused, Err(EngineError::InvalidRequest(_))), "{refused:?}");
        }
    }

    #[test]
    fn a_key_ends_when_it_expires_and_when_it_is_revoked() {
        let (key, _) = made();
        let now = Timestamp::now();
        assert!(is_good(&key, now));
        assert!(!is_good(&ApiKey { revoked_at: Some(now), ..key.clone() }, now));
        assert!(!is_good(&ApiKey { expires_at: Some(now), ..key.clone() }, now));
        assert!(is_good(&ApiKey { expires_at: Some(now + std::time::Duration::from_nanos(1)), ..key }, now));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed(id: [u8; 8], secret: [u8; 32]) {
            let text = print(KeyId(id), &secret);
            prop_assert_eq!(parse(text.expose_secret()), Some(KeyId(id)));
        }

        /// One text for each key: whatever else is parsed would be a second name of the same secret.
        #[test]
        fn a_changed_text_is_another_key_or_none(id: [u8; 8], secret: [u8; 32], at in 0..64_usize, to in "[ -~]") {
            let printed = print(KeyId(id), &secret);
            let text = printed.expose_secret();
            let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
            if let Some(other) = parse(&changed) {
                let secret = URL_SAFE_NO_PAD.decode(&changed[21..]).unwrap();
                let again = print(other, &secret.try_into().unwrap());
                prop_assert_eq!(again.expose_secret(), &changed);
            }
        }

        #[test]
        fn any_text_is_parsed_without_harm(text in "(cpk_)?\\PC{0,80}") {
            if let Some(id) = parse(&text) {
                let start = format!("cpk_{id}_");
                prop_assert!(text.starts_with(&start));
            }
        }
    }
}
