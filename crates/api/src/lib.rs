//! The wire of `/api/v1`: request and response types, problems, and a typed client.
//!
//! Domain types do not derive the wire format; the coprocessor converts at its edge. Bytes are base64 in JSON, ids are
//! hex, times are RFC 3339. What is shown at a root is checked here too, by whoever asked for it.

mod account;
mod base64_bytes;
mod domain;
mod file;
mod problem;
mod program;
mod proof;
mod root;
mod service;
mod task;
mod webhook;

pub mod client;

pub use account::{
    ControllerQuotas, KeyList, KeyRequest, KeyView, Limits, NewKeyView, OwnerList, OwnerRequest, OwnerView, Quotas,
    Scope, WhoamiView,
};
pub use base64_bytes::Base64;
pub use domain::{
    AppendRequest, AppendView, AppendedBlockView, BlockList, BlockView, DomainList, DomainRequest, DomainView,
    StateRequest, StateView, TrustPolicy,
};
pub use file::{Directory, DirectoryEntry, EntryKind, FileAttribute, NewImageView, RenameRequest, VolumeView};
pub use problem::{Code, Problem};
pub use program::{
    CallView, ControllerVersionList, ControllerVersionView, DeployRequest, ExecuteRequest, ExecutionView, ProgramList,
    ProgramView, RollbackRequest, SandboxUsage, VerifyingKeyView, WitnessView,
};
pub use proof::{ProofView, Sp1OnChainView, VerifyRequest, VerifyView};
pub use root::{
    InstanceView, OpeningView, PathView, PlaceView, RootBlock, RootCheckError, RootList, RootView, TransitionList,
    TransitionView,
};
pub use service::{
    CollectedView, CompiledView, HealthView, ProverList, ProverRequest, ProverSource, ProverView, RetentionView,
    ServiceInfo, StorageView,
};
pub use task::{EventList, EventView, FailureView, TaskList, TaskRequest, TaskState, TaskView};
pub use webhook::{
    AttemptView, DeliveryList, DeliveryState, DeliveryView, NewWebhookView, WebhookList, WebhookRequest, WebhookView,
};
