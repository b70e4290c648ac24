//! Which JSON-RPC methods of an endpoint controllers may call.

/// The methods that an endpoint is asked for. By default all but those that sign with a node's keys, unlock them, or change
/// the node itself; with names, these and no others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RpcMethods(Option<Vec<Rule>>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Rule {
    Exactly(String),
    /// All that begin with it.
    Beginning(String),
}

/// A text that names no method.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` names no method; expected letters, digits and _, with a * at the end for all that begin so, such as eth_getProof or eth_get*"
)]
pub struct RpcMethodError(String);

/// What no controller of a stranger's should have a node do: only an operator who names them wants them called.
const NOT_BY_DEFAULT: &[&str] = &[
    // Sign with keys that the node keeps, or let it.
    "account_",
    "eth_sendTransaction",
    "eth_sign",
    "personal_",
    "wallet_",
    // Change or take apart the node.
    "admin_",
    "clique_",
    "debug_",
    "engine_",
    "eth_submit",
    "les_",
    "miner_",
    "parity_",
    // Change the chain of a developer's node.
    "anvil_",
    "evm_",
    "hardhat_",
];

impl RpcMethods {
    /// These and no others: whole names, or beginnings with a `*` after them.
    ///
    /// # Errors
    /// A text that names no method.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, RpcMethodError> {
        names.into_iter().map(rule).collect::<Result<_, _>>().map(|rules| Self(Some(rules)))
    }

    /// Whether a method may be called.
    pub fn allow(&self, method: &str) -> bool {
        match &self.0 {
            None => !NOT_BY_DEFAULT.iter().any(|beginning| method.starts_with(beginning)),
            Some(rules) => rules.iter().any(|rule| match rule {
                Rule::Exactly(name) => method == name,
                Rule::Beginning(beginning) => method.starts_with(beginning.as_str()),
            }),
        }
    }
}

fn rule(text: &str) -> Result<Rule, RpcMethodError> {
    let (name, all) = text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
    let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && (all || !name.is_empty());
    match (good, all) {
        (false, _) => Err(RpcMethodError(text.chars().take(64).collect())),
        (true, true) => Ok(Rule::Beginning(name.to_owned())),
        (true, false) => Ok(Rule::Exactly(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_nothing_signs_or_changes_the_node() {
        let methods = RpcMethods::default();
        for method in ["eth_call", "eth_getProof", "eth_chainId", "eth_sendRawTransaction", "net_version", "starknet_x"]
        {
            assert!(methods.allow(method), "{method}");
        }
        for method in [
            "personal_unlockAccount",
            "eth_sendTransaction",
            "eth_sign",
            "eth_signTypedData_v4",
            "admin_addPeer",
            "debug_setHead",
            "miner_start",
            "engine_newPayloadV3",
            "anvil_setBalance",
            "evm_revert",
        ] {
            assert!(!methods.allow(method), "{method}");
        }
    }

    #[test]
    fn what_is_named_is_all_there_is() {
        let methods = RpcMethods::named(["eth_get*", "eth_chainId", "debug_traceCall"]).unwrap();
        for method in ["eth_getProof", "eth_get", "eth_chainId", "debug_traceCall"] {
            assert!(methods.allow(method), "{method}");
        }
        for method in ["eth_call", "eth_chainIds", "ETH_getProof", "debug_traceCallMany", ""] {
            assert!(!methods.allow(method), "{method}");
        }
        assert!(RpcMethods::named(["*"]).unwrap().allow("personal_sign"), "an operator who says all means all");
        assert!(!RpcMethods::named([]).unwrap().allow("eth_call"));
    }

    #[test]
    fn what_names_no_method_is_refused() {
        for text in ["", "eth call", "eth_*Proof", "é", "a-b", "**"] {
            assert!(RpcMethods::named([text]).is_err(), "{text}");
        }
    }
}
