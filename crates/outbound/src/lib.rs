//! Requests and connections to addresses that somebody else chose: the owner of a webhook or of a prover node, a program.
//!
//! Whoever can make a service send requests can make it reach what only the service can: itself, its neighbours, the
//! metadata service of the cloud it runs in. [`GuardedClient`] is the one way out of this process for such requests over HTTP, and
//! [`Dialer`] for what has a protocol of its own.
//!
//! # What it guarantees
//! - **Only public addresses.** A host is resolved, its addresses are judged by [`is_public`], and a connection is made to
//!   those judged public and to nothing else. The name is not resolved again in between, so an answer that changes
//!   (rebinding) changes nothing. A host that is an address is judged the same way, in whatever form it is written:
//!   `2130706433`, `0x7f.1` and `[::ffff:127.0.0.1]` are all 127.0.0.1.
//! - **But for hosts the operator allowed**, by name and, if given, by port ([`AllowedHost`]). Those are reached wherever they are.
//! - **No detours.** Redirects are answers, not followed. Proxies of the environment are not used.
//! - **Nothing without bounds.** A request has a time limit from the first look-up to the last byte of the answer, and
//!   of the answer's body no more than the limit is read.
//! - **HTTP and HTTPS alone**, with no credentials in the address ([`Target`]). Certificates are verified.
//!
//! # What it does not
//! It cannot know that a public address leads back to this machine or its network: where one does, a firewall has to
//! tell requests from here apart. It does not look at what is sent.

mod address;
mod allow;
mod client;
mod dial;
mod error;
mod resolve;
mod target;

pub use address::is_public;
pub use allow::{AllowedHost, AllowedHostError};
pub use client::{Answer, GuardSettings, GuardedClient, Request};
pub use dial::Dialer;
pub use error::OutboundError;
pub use resolve::{Resolve, SystemResolver};
pub use target::{MAX_TARGET, Target, TargetError};
