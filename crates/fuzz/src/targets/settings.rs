//! What operators and callers write as text: hosts, rules, addresses, endpoints, names, limits.

use crate::{Input, Seed, Target, Writer};
use coprocessor_engine::{HttpRule, RpcEndpoints, RpcMethods};
use coprocessor_outbound::{AllowedHost, Target as Url};
use coprocessor_prover::{ProverNode, remote::RemoteNode};
use coprocessor_sandbox::SandboxConfig;
use coprocessor_store::KeyId;
use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

pub(crate) const TARGET: Target = Target {
    name: "settings",
    about: "outbound, engine, prover: hosts, rules, addresses, endpoints, limits",
    run,
    seeds,
};

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(5);
    let other = input.few();
    let (Ok(other), Ok(text)) = (std::str::from_utf8(other), std::str::from_utf8(input.rest())) else { return };
    match kind {
        0 => url(text, other),
        1 => {
            reads_back::<AllowedHost>(text);
            reads_back::<HttpRule>(text);
            if let (Ok(rule), Ok(url)) = (text.parse::<HttpRule>(), other.parse::<Url>()) {
                let again: HttpRule = rule.to_string().parse().expect("a rule reads back");
                assert_eq!(again.allows("GET", &url), rule.allows("GET", &url), "{text:?} for {other:?}");
            }
        }
        2 => {
            let mut endpoints = RpcEndpoints::default();
            let headers = vec![(other.to_owned(), other.into())];
            let methods = RpcMethods::named([other]).unwrap_or_default();
            let done = endpoints.insert("chain", text.into(), headers, methods);
            assert_eq!(endpoints.chains().count(), usize::from(done.is_ok()));
            if let Err(error) = done {
                assert!(text.len() < 12 || !error.to_string().contains(text), "an error shows an address");
            }
        }
        3 => {
            reads_back::<coprocessor_engine::DomainName>(text);
            reads_back::<KeyId>(text);
            node(text);
        }
        _ => {
            if let Ok(config) = serde_json::from_str::<SandboxConfig>(text) {
                let written = serde_json::to_string(&config).expect("what was read can be written");
                assert_eq!(serde_json::from_str::<SandboxConfig>(&written).expect("and read again"), config);
            }
        }
    }
}

fn url(text: &str, location: &str) {
    let Ok(url) = text.parse::<Url>() else { return };
    reads_back::<Url>(text);
    assert!(!url.host().is_empty() && url.port() != 0 || text.contains(":0"), "{text:?}");
    let itself = format!("{}:{}", url.host(), url.port());
    match itself.parse::<AllowedHost>() {
        Ok(allowed) => assert!(allowed.matches(url.host(), url.port()), "{text:?}"),
        // A URL may have stars in its host; nobody can allow such a host, and no name server knows one.
        Err(error) => assert!(url.host().contains('*'), "{text:?}: {error}"),
    }
    if let Ok(led) = url.redirected(location) {
        reads_back::<Url>(led.as_str());
        assert_eq!(url.is_same_origin(&led), led.is_same_origin(&url));
    }
    if let Ok(longer) = url.with_query(&[(location.to_owned(), location.to_owned())]) {
        assert!(url.is_same_origin(&longer), "a query changes where {text:?} leads");
    }
}

/// Without TLS: that would read the machine's certificates each time.
fn node(text: &str) {
    if text.to_ascii_lowercase().contains("https") {
        return;
    }
    if let Ok(node) = RemoteNode::new(text, None, true) {
        let again = RemoteNode::new(node.address(), None, true);
        let again = again.unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(again.address(), node.address(), "{text:?}");
    }
}

fn reads_back<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(value), "{text:?}");
    }
}

fn seeds() -> Vec<Seed> {
    let seed = |kind, other: &str, text: &str| Writer::new().byte(kind).few(other.as_bytes()).bytes(text.as_bytes());
    vec![
        seed(0, "/f?h#g", "https://Hooks.Example.com:8443/a?b=c").seed("url"),
        seed(0, "//i.j/k", "http://[::ffff:127.0.0.1]:81/").seed("url-of-an-address"),
        seed(0, "http://u:p@a/", "http://0x7f.1/").seed("url-of-a-number"),
        seed(1, "https://a.b.example.com/", "GET@*.example.com:443").seed("rule-for-names-below"),
        seed(1, "http://[::1]:9/", "[0:0::1]:9").seed("rule-for-an-address"),
        seed(1, "http://a/", "*:80").seed("rule-for-any"),
        seed(2, "x-key", "https://eth.example.com/v2/0123456789abcdef").seed("endpoint"),
        seed(3, "", "eip155:1").seed("domain-name"),
        seed(3, "", "0123456789abcdef").seed("key-id"),
        seed(3, "", "http://[::1]:37282/").seed("node"),
        seed(4, "", r#"{"limits":{"fuel":5,"wall_clock_ms":250},"threads":2}"#).seed("limits"),
    ]
}
