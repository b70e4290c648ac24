//! Every way a request can fail.

use crate::{Code, Problem};

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("{url:?} is no address of a coprocessor: {reason}; expected something like http://127.0.0.1:37281")]
    BadUrl {
        /// What was given, without credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A path of a volume with `.` or `..` in it: a URL cannot carry these.
    #[error("{path:?} has a {segment:?} in it; give the path from the volume's root")]
    BadPath {
        /// The path.
        path: String,
        /// The part at fault.
        segment: String,
    },
    /// The key would travel in clear text.
    #[error("a key is sent to {url} only over https, where nobody on the way can read it")]
    KeyInClear {
        /// The coprocessor's address.
        url: String,
    },
    /// The key is none: empty, or with characters no header holds. It is not shown.
    #[error("the key is empty or has spaces or unusual characters in it; a key looks like cpk_…")]
    BadKey,
    /// The TLS client could not be set up.
    #[error(
        "https needs root certificates, and setting them up failed: {}; install the package ca-certificates",
        root_cause(source)
    )]
    Tls {
        /// The cause.
        source: reqwest::Error,
    },
    /// Nothing answers there.
    #[error("no coprocessor answers at {url}: {}", root_cause(source))]
    Unreachable {
        /// The coprocessor's address.
        url: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The connection broke, or the answer took too long, after the request was sent: it may have been carried out.
    #[error("the connection to {url} broke before the answer was complete: {}", root_cause(source))]
    Interrupted {
        /// The coprocessor's address.
        url: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// Following was given up: the stream of events kept breaking.
    #[error("lost the events of {url}: {reason}")]
    EventsLost {
        /// The coprocessor's address.
        url: String,
        /// How the last connection ended.
        reason: String,
    },
    /// The service's own answer that it cannot.
    #[error("{}{}", .0, remedy(.0))]
    Problem(Box<Problem>),
    /// An answer that no coprocessor gives: another service listens there, or its version differs.
    #[error("unexpected answer (HTTP {status}) from {url}: {reason} (it begins {body:?})")]
    UnexpectedAnswer {
        /// The coprocessor's address.
        url: String,
        /// The answer's status.
        status: u16,
        /// What was expected of it.
        reason: String,
        /// How it begins.
        body: String,
    },
}

impl ClientError {
    /// Whether the same request may succeed a little later, with nothing changed by anyone.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::EventsLost { .. } => true,
            Self::Problem(problem) => matches!(problem.status, 429 | 502..=504),
            Self::UnexpectedAnswer { status, .. } => matches!(status, 429 | 502..=504),
            Self::BadUrl { .. } | Self::BadPath { .. } | Self::KeyInClear { .. } | Self::BadKey | Self::Tls { .. } => {
                false
            }
        }
    }
}

/// What the caller can do that the service cannot know of.
fn remedy(problem: &Problem) -> &'static str {
    if problem.code == Code::Unauthenticated.as_str() {
        "; set COPROCESSOR_KEY to a key of this service, which its operator makes with `coprocessor keys create`"
    } else {
        ""
    }
}

/// The innermost cause: the outer ones of an HTTP client only say that a request failed.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
