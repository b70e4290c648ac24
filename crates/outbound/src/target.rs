//! Where a request goes: a checked URL.

use reqwest::Url;
use std::{fmt, net::IpAddr, str::FromStr};

/// Longest URL, in bytes.
pub const MAX_TARGET: usize = 2048;

/// A URL that a request may be sent to: `http` or `https`, a host, no credentials, no fragment, at most [`MAX_TARGET`]
/// bytes. Its host is in the one form that addresses are compared in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target(Url);

/// Why a text is no [`Target`]. Never repeats the text: it may hold a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// Too long.
    #[error("a URL has at most {MAX_TARGET} bytes, got {got}")]
    Length {
        /// Its length.
        got: usize,
    },
    /// No URL.
    #[error("not a URL: {0}")]
    NotUrl(String),
    /// Another protocol.
    #[error("expected an http or https URL, got `{0}`")]
    Scheme(String),
    /// A user or password in it.
    #[error("a URL with a user or password in it is not taken: it would be shown wherever the URL is")]
    Credentials,
    /// A part that is never sent.
    #[error("a URL with a fragment (`#…`) is not taken: it is never sent")]
    Fragment,
}

impl Target {
    /// The URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether what is sent is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, the scheme's own by default.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Where a redirect from here leads: a URL, or a part of one that is completed from this one. A fragment is left out.
    ///
    /// # Errors
    /// As for [`str::parse`].
    pub fn redirected(&self, location: &str) -> Result<Self, TargetError> {
        if location.len() > MAX_TARGET {
            return Err(TargetError::Length { got: location.len() });
        }
        let mut url = self.0.join(location).map_err(|error| TargetError::NotUrl(error.to_string()))?;
        url.set_fragment(None);
        Self::checked(url)
    }

    /// With names and values appended to its query, escaped.
    ///
    /// # Errors
    /// [`TargetError::Length`].
    pub fn with_query(&self, pairs: &[(String, String)]) -> Result<Self, TargetError> {
        let mut url = self.0.clone();
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Self::checked(url)
    }

    /// Whether both are of one origin: scheme, host and port.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// The host as an address, where it is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host().trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    pub(crate) fn url(&self) -> Url {
        self.0.clone()
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.len() > MAX_TARGET {
            return Err(TargetError::Length { got: text.len() });
        }
        Self::checked(Url::parse(text).map_err(|error| TargetError::NotUrl(error.to_string()))?)
    }
}

impl Target {
    fn checked(url: Url) -> Result<Self, TargetError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme(url.scheme().chars().take(32).collect()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        // Escaping can make it longer.
        if url.as_str().len() > MAX_TARGET {
            return Err(TargetError::Length { got: url.as_str().len() });
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_redirect_leads_where_a_browser_would_go_and_nowhere_else() {
        let from: Target = "https://a.b/c/d?e".parse().unwrap();
        for (location, to) in [
            ("f", "https://a.b/c/f"),
            ("/f#g", "https://a.b/f"),
            ("?h", "https://a.b/c/d?h"),
            ("//i.j/k", "https://i.j/k"),
            ("http://a.b/", "http://a.b/"),
        ] {
            assert_eq!(from.redirected(location).unwrap().as_str(), to);
        }
        assert_eq!(from.redirected("file:///etc/passwd"), Err(TargetError::Scheme("file".into())));
        assert_eq!(from.redirected("https://u:p@a.b/"), Err(TargetError::Credentials));
        assert!(matches!(from.redirected(&"x".repeat(3000)), Err(TargetError::Length { .. })));
        let origins = ["https://a.b:443/x", "http://a.b/", "https://a.b:444/", "https://b.a.b/"];
        assert_eq!(origins.map(|to| from.is_same_origin(&to.parse().unwrap())), [true, false, false, false]);
    }

    #[test]
    fn a_query_is_appended_and_escaped() {
        let target: Target = "https://a.b/?c=d".parse().unwrap();
        let pairs = [("e&".to_owned(), "f g#".to_owned())];
        assert_eq!(target.with_query(&pairs).unwrap().as_str(), "https://a.b/?c=d&e%26=f+g%23");
        assert_eq!(target.with_query(&[]), Ok(target));
    }

    #[test]
    fn a_target_is_a_plain_http_url() {
        let target: Target = "https://Hooks.Example.com/a?b=c".parse().unwrap();
        assert_eq!((target.host(), target.port(), target.is_https()), ("hooks.example.com", 443, true));
        assert_eq!(target.as_str(), "https://hooks.example.com/a?b=c");
        assert_eq!("http://[::1]:81/".parse::<Target>().unwrap().port(), 81);
    }

    #[test]
    fn anything_else_is_refused_and_not_repeated() {
        let refused = |text: &str| text.parse::<Target>().unwrap_err();
        assert_eq!(refused("ftp://a/"), TargetError::Scheme("ftp".into()));
        assert_eq!(refused("file:///etc/passwd"), TargetError::Scheme("file".into()));
        assert_eq!(refused("https://user:hush@a/"), TargetError::Credentials);
        assert_eq!(refused("https://user@a/"), TargetError::Credentials);
        assert_eq!(refused("https://a/#b"), TargetError::Fragment);
        assert!(matches!(refused("http://"), TargetError::NotUrl(_)));
        assert!(matches!(refused("a/b"), TargetError::NotUrl(_)));
        assert_eq!(refused(&format!("https://a/{}", "b".repeat(2040))), TargetError::Length { got: 2050 });
        assert_eq!(refused(&format!("https://a/{}", "ä".repeat(1000))), TargetError::Length { got: 6010 });
        for text in ["https://user:hush@a/", "hush://a", "https://hush:99999/"] {
            assert!(text == "hush://a" || !refused(text).to_string().contains("hush"), "{text}");
        }
    }

    proptest! {
        /// However an IPv4 address is written, it is known as that address.
        #[test]
        fn an_address_is_known_in_every_form(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = address.octets();
            let low = u32::from_be_bytes([0, 0, c, d]);
            let forms = [
                format!("{a}.{b}.{c}.{d}"),
                format!("{bits}"),
                format!("0x{bits:x}"),
                format!("0{bits:o}"),
                format!("0x{a:x}.0{b:o}.{low}"),
                format!("%{:02x}{}", address.to_string().as_bytes()[0], &address.to_string()[1..]),
            ];
            for form in forms {
                let target: Target = format!("http://{form}/").parse().unwrap();
                prop_assert_eq!(target.address(), Some(IpAddr::V4(address)), "{}", form);
            }
            let mapped: Target = format!("http://[::ffff:{address}]/").parse().unwrap();
            prop_assert_eq!(mapped.address().map(|address| address.to_canonical()), Some(IpAddr::V4(address)));
        }

        #[test]
        fn whatever_text_comes_a_target_reads_back_what_it_prints(text in ".{0,80}") {
            for text in [text.clone(), format!("https://{text}"), format!("http://a/{text}")] {
                if let Ok(target) = text.parse::<Target>() {
                    prop_assert_eq!(&target.as_str().parse::<Target>().unwrap(), &target);
                    prop_assert!(!target.host().is_empty());
                }
            }
        }
    }
}
