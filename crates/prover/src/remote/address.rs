//! Addresses of nodes.

use std::net::IpAddr;
use tonic::transport::Uri;

use crate::NodeError;

const DEFAULT_PORT: u16 = 37282;

/// Where a node is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// `http://host:port` or `https://host:port`.
    pub(super) url: String,
    /// Whether that is https.
    pub(super) tls: bool,
    /// Whether it is this machine.
    pub(super) loopback: bool,
}

impl Address {
    /// Reads an address, with or without scheme and port.
    pub(super) fn parse(text: &str, insecure: bool) -> Result<Self, NodeError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
        if rest.contains('@') {
            // Not repeated in the error: what stands before the @ may be a secret.
            return Err(bad("…", "no credentials belong into it; the secret has a variable of its own"));
        }
        let bad = |reason: &str| bad(text, reason);
        let uri: Uri = format!("http://{rest}").parse().map_err(|_| bad("expected https://host:port"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("it names no host"))?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("a node has no path; expected https://host:port"));
        }
        let authority_has_port = uri.authority().is_some_and(|authority| authority.as_str().len() > host.len());
        if authority_has_port && uri.port_u16().is_none() {
            return Err(bad("its port is not a number up to 65535"));
        }
        let bare = host.trim_matches(['[', ']']);
        let loopback = bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let tls = match scheme {
            Some("https") => true,
            Some("http") => false,
            None => !loopback && !insecure,
            Some(_) => return Err(bad("its scheme is neither http nor https")),
        };
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{host}:{}", uri.port_u16().unwrap_or(DEFAULT_PORT));
        Ok(Self { url, tls, loopback })
    }
}

fn bad(address: &str, reason: &str) -> NodeError {
    NodeError::BadAddress { address: address.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::RemoteNode;
    use secrecy::SecretString;

    fn parsed(text: &str, insecure: bool) -> (String, bool) {
        let address = Address::parse(text, insecure).unwrap();
        assert_eq!(address.tls, address.url.starts_with("https"));
        (address.url, address.loopback)
    }

    #[test]
    fn addresses_are_completed() {
        for (text, insecure, url, loopback) in [
            ("127.0.0.1:9", false, "http://127.0.0.1:9", true),
            ("localhost", false, "http://localhost:37282", true),
            ("[::1]:9", false, "http://[::1]:9", true),
            ("prover.example:9", false, "https://prover.example:9", false),
            ("prover.example:9", true, "http://prover.example:9", false),
            ("http://prover.example/", false, "http://prover.example:37282", false),
            ("https://127.0.0.1", false, "https://127.0.0.1:37282", true),
            ("127.0.0.1.evil.example", false, "https://127.0.0.1.evil.example:37282", false),
        ] {
            assert_eq!(parsed(text, insecure), (url.into(), loopback), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "http://", "ftp://host", "http://host/path", "host:99999", "host:", "a b", "http://host?x=1", ":9"]
        {
            assert!(matches!(Address::parse(text, true), Err(NodeError::BadAddress { .. })), "{text}");
        }
        let error = Address::parse("http://user:hush@host", true).unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
    }

    #[test]
    fn a_secret_goes_in_clear_text_to_nobody_else() {
        let node =
            |address: &str, insecure| RemoteNode::new(address, Some(SecretString::from("hush")), insecure).map(drop);
        assert!(matches!(node("http://prover.example", false), Err(NodeError::Insecure { .. })));
        assert!(matches!(node("http://localhost.evil.example", false), Err(NodeError::Insecure { .. })));
        assert_eq!(node("http://prover.example", true), Ok(()));
        assert_eq!(node("http://127.0.0.1:1", false), Ok(()));
        assert_eq!(RemoteNode::new("http://prover.example", None, false).map(drop), Ok(()));
        let unsendable = RemoteNode::new("127.0.0.1:1", Some(SecretString::from("a\nb")), false).map(drop).unwrap_err();
        assert!(!unsendable.to_string().contains("a\n"), "{unsendable}");
    }
}
