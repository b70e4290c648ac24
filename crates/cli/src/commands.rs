//! One file for each command.

pub(crate) mod build;
pub(crate) mod controller;
pub(crate) mod deploy;
pub(crate) mod domains;
pub(crate) mod dry_run;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod json_argument;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod new;
pub(crate) mod opening;
pub(crate) mod owners;
pub(crate) mod programs;
pub(crate) mod prove;
pub(crate) mod provers;
pub(crate) mod replay;
pub(crate) mod roots;
pub(crate) mod status;
pub(crate) mod storage;
pub(crate) mod tasks;
pub(crate) mod verify;
pub(crate) mod vk;
pub(crate) mod webhooks;
pub(crate) mod whoami;
pub(crate) mod wit;
