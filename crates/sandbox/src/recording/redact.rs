//! What of a request is secret.

use crate::network::{Authorization, HttpRequest};

/// What stands where a secret was.
const HIDDEN: &str = "(hidden)";

/// Parts of names whose values are secret.
const SECRET: [&str; 12] = [
    "auth",
    "token",
    "secret",
    "password",
    "passwd",
    "cookie",
    "apikey",
    "api-key",
    "api_key",
    "credential",
    "signature",
    "session",
];

/// Whole names whose values are secret.
const SECRET_NAMES: [&str; 5] = ["key", "sig", "pwd", "x-key", "access_key"];

/// Whether what has that name is secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part)) || SECRET_NAMES.contains(&name.as_str())
}

/// An address without what is secret in it: user and password, and parameters by their names.
pub(super) fn url(url: &str) -> String {
    let (rest, fragment) = match url.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (url, None),
    };
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let mut shown = without_user(place);
    if let Some(query) = query {
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}"),
            _ => parameter.to_owned(),
        });
        shown.push('?');
        shown.push_str(&parameters.collect::<Vec<_>>().join("&"));
    }
    if let Some(fragment) = fragment {
        shown.push('#');
        shown.push_str(fragment);
    }
    shown
}

/// Names and values, the secret ones hidden.
pub(super) fn pairs(pairs: &[(String, String)]) -> Vec<(String, String)> {
    let hide = |(name, value): &(String, String)| {
        let value = if is_secret(name) { HIDDEN.to_owned() } else { value.clone() };
        (name.clone(), value)
    };
    pairs.iter().map(hide).collect()
}

/// How a request proves its right to ask, and nothing more.
pub(super) fn authorization(request: &HttpRequest) -> Option<String> {
    request.authorization.as_ref().map(|authorization| match authorization {
        Authorization::Bearer(_) => format!("bearer {HIDDEN}"),
        Authorization::Basic { .. } => format!("basic {HIDDEN}"),
    })
}

/// What is before an `@` in the place of an address is a user, perhaps with a password.
fn without_user(place: &str) -> String {
    let (scheme, rest) = place.split_once("://").map_or(("", place), |(scheme, rest)| (scheme, rest));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((_, host)) = host.rsplit_once('@') else { return place.to_owned() };
    format!("{scheme}{}{HIDDEN}@{host}{path}", if scheme.is_empty() { "" } else { "://" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "X-Api-Key",
            "apikey",
            "X-Auth-Token",
            "client_secret",
            "key",
            "access_token",
            "X-Signature",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["accept", "content-type", "user-agent", "x-request-id", "keyword", "page", "monkey"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn an_address_keeps_all_but_its_secrets() {
        for (given, shown) in [
            ("https://a.b/c?d=e#f", "https://a.b/c?d=e#f"),
            ("https://u:p@a.b/c", "https://(hidden)@a.b/c"),
            ("https://u:p@x@a.b", "https://(hidden)@a.b"),
            ("https://a.b/@c", "https://a.b/@c"),
            ("https://a.b?key=1&page=2&access_token=3&x", "https://a.b?key=(hidden)&page=2&access_token=(hidden)&x"),
            ("no address", "no address"),
            ("u:p@host/x", "(hidden)@host/x"),
            ("", ""),
        ] {
            assert_eq!(url(given), shown);
        }
    }
}
