//! The wire of `/api/v1`: request and response types, problems, and a typed client.
//!
//! Domain types do not derive the wire format; the coprocessor converts at its edge. Bytes are base64 in JSON, ids are
//! hex, times are RFC 3339.

mod base64_bytes;
mod problem;
mod program;
mod proof;
mod service;
mod task;

pub mod client;

pub use base64_bytes::Base64;
pub use problem::{Code, Problem};
pub use program::{
    CallView, DeployRequest, Directory, DirectoryEntry, EntryKind, ExecuteRequest, ExecutionView, ProgramList,
    ProgramView, SandboxUsage, VerifyingKeyView, WitnessView,
};
pub use proof::{ProofView, VerifyRequest, VerifyView};
pub use service::{HealthView, ProverList, ProverRequest, ProverSource, ProverView, RootView, ServiceInfo};
pub use task::{EventList, EventView, FailureView, TaskList, TaskRequest, TaskState, TaskView};
