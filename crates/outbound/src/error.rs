//! Why a request got no answer.

/// Why there is no answer. Says nothing of what an address behind a name is: that is not for whoever chose the name.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// An address that must not be reached. Nothing was sent.
    #[error("{host} has no public address; where it is meant, the operator has to allow it by name")]
    Refused {
        /// The host asked for.
        host: String,
    },
    /// No address at all.
    #[error("{host} cannot be resolved")]
    Unresolved {
        /// The host asked for.
        host: String,
    },
    /// No connection, or none that can be trusted.
    #[error("no connection to {host}: {reason}")]
    Connect {
        /// The host asked for.
        host: String,
        /// What went wrong.
        reason: String,
    },
    /// No whole answer in time.
    #[error("{host} gave no answer within {} s", limit.as_secs_f64())]
    TimedOut {
        /// The host asked for.
        host: String,
        /// The time limit.
        limit: std::time::Duration,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("the exchange with {host} failed: {reason}")]
    Broken {
        /// The host asked for.
        host: String,
        /// What went wrong.
        reason: String,
    },
    /// A method that cannot be sent.
    #[error("`{0}` is no HTTP method")]
    Method(String),
    /// A header that cannot be sent.
    #[error("`{0}` is no header that can be sent")]
    Header(String),
    /// The client cannot be made.
    #[error("no client for outgoing requests: {0}")]
    SetUp(#[source] reqwest::Error),
}
