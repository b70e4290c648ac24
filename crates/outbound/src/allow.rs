//! Hosts the operator vouches for.

use std::{fmt, str::FromStr};

/// A host that may be reached wherever it is: `host`, at any port, or `host:port`. A name, an IPv4 address, or an IPv6
/// address in brackets. It stands for itself alone: neither for names below it, nor for other names of its address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllowedHost {
    host: String,
    port: Option<u16>,
}

/// A text that is no [`AllowedHost`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no host that can be allowed; expected host or host:port, an IPv6 address in brackets")]
pub struct AllowedHostError(String);

impl AllowedHost {
    /// Whether it is that host, as a URL has it (lower case, an address in its one form), at that port.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port.is_none_or(|own| own == port)
    }
}

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(text: &str) -> Result<Self, AllowedHostError> {
        let error = || AllowedHostError(text.to_owned());
        let (host, port) = match text.rsplit_once(':') {
            // A colon inside brackets is the address's own.
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().map_err(|_| error())?)),
            _ => (text, None),
        };
        // What a URL makes of it is what it is compared with.
        let url = reqwest::Url::parse(&format!("http://{host}/")).map_err(|_| error())?;
        let bare = url.path() == "/" && url.port().is_none() && url.username().is_empty() && url.query().is_none();
        let bare = bare
            && url.password().is_none()
            && url.fragment().is_none()
            && !host.contains(['/', '\\', '@', '?', '#', '*']);
        match url.host_str() {
            Some(host) if bare => Ok(Self { host: host.to_owned(), port }),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> AllowedHost {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_is_itself_at_its_port_or_at_any() {
        assert!(allowed("Hooks.Internal").matches("hooks.internal", 80));
        assert!(allowed("hooks.internal:8080").matches("hooks.internal", 8080));
        assert!(!allowed("hooks.internal:8080").matches("hooks.internal", 80));
        assert!(!allowed("internal").matches("hooks.internal", 80));
        assert!(!allowed("hooks.internal").matches("hooks.internal.example.com", 80));
        assert!(allowed("127.0.0.1:9").matches("127.0.0.1", 9));
        assert!(allowed("[::1]").matches("[::1]", 1));
        assert!(allowed("[0:0::1]:9").matches("[::1]", 9));
    }

    #[test]
    fn what_it_prints_reads_back() {
        for text in ["a.b", "a.b:1", "[::1]", "[::1]:65535", "10.0.0.1:80"] {
            assert_eq!(allowed(text).to_string(), text);
            assert_eq!(allowed(&allowed(text).to_string()), allowed(text));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "", ":80", "a:", "a:65536", "a:b", "http://a", "a/b", "a@b", "u:p@h", "::1", "[::1", "a b", "a?b", "a#b",
            "*",
        ] {
            assert_eq!(bad.parse::<AllowedHost>(), Err(AllowedHostError(bad.to_owned())), "{bad}");
        }
    }
}
