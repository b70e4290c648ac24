//! Which HTTP requests the operator allows.

use coprocessor_outbound::{AllowedHost, Target};
use std::{fmt, str::FromStr};

/// Requests that are allowed: `HOST`, `HOST:PORT`, either with `METHOD@` before it. The host is a name or an address as a URL has
/// it, `*.example.com` for all names below one, or `*` for any. Without a method all methods are allowed, without a port all
/// ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRule {
    method: Option<String>,
    host: HostRule,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum HostRule {
    Any(Option<u16>),
    /// All names that end with a dot and this host, at its port.
    Below(String, Option<u16>),
    Exactly(AllowedHost),
}

/// A text that is no [`HttpRule`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` allows nothing; expected [METHOD@]HOST[:PORT], where HOST may be *.example.com or *, such as GET@api.example.com"
)]
pub struct HttpRuleError(String);

impl HttpRule {
    /// Whether it allows a request with that method, in upper case.
    pub fn allows(&self, method: &str, to: &Target) -> bool {
        self.method.as_ref().is_none_or(|own| own == method) && self.host.matches(to.host(), to.port())
    }
}

impl HostRule {
    fn matches(&self, host: &str, port: u16) -> bool {
        let at = |own: &Option<u16>| own.is_none_or(|own| own == port);
        match self {
            Self::Any(own) => at(own),
            Self::Below(parent, own) => {
                let below = host.strip_suffix(parent.as_str()).and_then(|rest| rest.strip_suffix('.'));
                below.is_some_and(|name| !name.is_empty()) && at(own)
            }
            Self::Exactly(allowed) => allowed.matches(host, port),
        }
    }
}

impl FromStr for HttpRule {
    type Err = HttpRuleError;

    fn from_str(text: &str) -> Result<Self, HttpRuleError> {
        let error = || HttpRuleError(text.to_owned());
        let (method, host) = match text.split_once('@') {
            None => (None, text),
            Some((method, host)) => {
                let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic());
                (Some(is_method.then(|| method.to_ascii_uppercase()).ok_or_else(error)?), host)
            }
        };
        let host = match host.strip_prefix('*') {
            None => HostRule::Exactly(host.parse().map_err(|_| error())?),
            Some(rest) => wildcard(rest).ok_or_else(error)?,
        };
        Ok(Self { method, host })
    }
}

/// What follows the star: nothing, or a dot and a name, and a port or none.
fn wildcard(rest: &str) -> Option<HostRule> {
    let (name, port) = match rest.split_once(':') {
        None => (rest, None),
        Some((name, port)) => (name, Some(port.parse().ok()?)),
    };
    if name.is_empty() {
        return Some(HostRule::Any(port));
    }
    // In the one form that hosts are compared in.
    let parent = name.strip_prefix('.')?.parse::<AllowedHost>().ok()?.to_string();
    Some(HostRule::Below(parent, port))
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = &self.method {
            write!(f, "{method}@")?;
        }
        let port = match &self.host {
            HostRule::Exactly(host) => return write!(f, "{host}"),
            HostRule::Any(port) => {
                f.write_str("*")?;
                port
            }
            HostRule::Below(parent, port) => {
                write!(f, "*.{parent}")?;
                port
            }
        };
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, method: &str, url: &str) -> bool {
        rule.parse::<HttpRule>().unwrap().allows(method, &url.parse().unwrap())
    }

    #[test]
    fn a_rule_allows_its_host_its_method_and_its_port() {
        assert!(allows("a.example.com", "GET", "https://A.example.com/x"));
        assert!(allows("a.example.com", "POST", "http://a.example.com:81/"));
        assert!(!allows("a.example.com", "GET", "https://b.a.example.com/"));
        assert!(!allows("example.com", "GET", "https://a.example.com/"));
        assert!(allows("get@a.b", "GET", "https://a.b/"));
        assert!(!allows("GET@a.b", "POST", "https://a.b/"));
        assert!(allows("a.b:443", "GET", "https://a.b/"));
        assert!(!allows("a.b:443", "GET", "http://a.b/"));
        assert!(allows("POST@[::1]:9", "POST", "http://[0:0::1]:9/"));
    }

    #[test]
    fn a_star_is_for_names_below_or_for_any() {
        assert!(allows("*", "PATCH", "http://127.0.0.1:9/"));
        assert!(allows("*:443", "GET", "https://a.b/") && !allows("*:443", "GET", "http://a.b/"));
        assert!(allows("*.Example.com", "GET", "https://a.b.example.com/"));
        for other in ["https://example.com/", "https://badexample.com/", "https://a.example.com.evil.org/"] {
            assert!(!allows("*.example.com", "GET", other), "{other}");
        }
        assert!(!allows("GET@*.example.com:1", "GET", "https://a.example.com/"));
    }

    #[test]
    fn what_it_prints_reads_back_and_anything_else_is_refused() {
        for text in ["a.b", "GET@a.b:1", "*", "POST@*:443", "*.a.b", "*.a.b:1", "[::1]:2"] {
            assert_eq!(text.parse::<HttpRule>().unwrap().to_string(), text);
        }
        for bad in ["", "@a", "GE T@a", "GET@", "a@b@c", "*a", "*.", "a.*", "https://a", "a/b", "*:x", "*.a/b"] {
            assert_eq!(bad.parse::<HttpRule>(), Err(HttpRuleError(bad.into())), "{bad}");
        }
    }
}
