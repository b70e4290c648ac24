//! Running a recording again, with the answers it has.

use super::call::{Answer, Asked, Exchange, Sent};
use super::{End, Recording};
use crate::error::{ModuleError, SandboxError};
use crate::execution::Progress;
use crate::host::{Host, HostError};
use crate::limits::{Limits, SandboxConfig, Usage};
use crate::network::{
    BlockProof, HttpAnswer, HttpRequest, LatestBlock, NetworkAllowance, NetworkReply, Remote, RootUpdate, RpcRequest,
    StateProofReply,
};
use crate::run::Run;
use crate::sandbox::Sandbox;
use coprocessor_types::{BlobDigest, BlockNumber, Root};
use serde_json::Value;
use std::fmt;
use std::future::{pending, ready};
use std::task::{Context, Waker};
use std::time::Duration;

/// Long enough that fuel ends a run before the clock does, however slow the machine.
const NO_HURRY: Duration = Duration::from_secs(24 * 3600);

/// Why a recording can't be run again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No sandbox with the recorded limits.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The controller is none.
    #[error(transparent)]
    Module(#[from] ModuleError),
}

/// What a replay came to.
#[derive(Debug)]
pub struct Replayed {
    /// How it ended now.
    pub end: End,
    /// Whether it was the recorded controller that ran.
    pub same_controller: bool,
    /// Host calls that were answered from the recording.
    pub answered: usize,
    /// Where the two part; `None` where they are the same. Of another controller, fuel and log may differ without a word here.
    pub difference: Option<Difference>,
}

/// Where a replay first differs from its recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// Another host call, or one more: nothing is known of what would have been answered, so the replay ends there.
    Call {
        /// Which one, from 1.
        number: usize,
        /// What was asked then; `None` where nothing more was.
        recorded: Option<Box<Asked>>,
        /// What is asked now.
        now: Box<Asked>,
    },
    /// Host calls that were made then and are not made now.
    FewerCalls {
        /// The first of them, from 1.
        number: usize,
        /// What was asked then.
        recorded: Box<Asked>,
    },
    /// Another result, or another failure.
    Result {
        /// Then.
        recorded: String,
        /// Now.
        now: String,
    },
    /// Another line in the log.
    Log {
        /// Which one, from 1.
        line: usize,
        /// Then; `None` where there were no more.
        recorded: Option<String>,
        /// Now; `None` where there are no more.
        now: Option<String>,
    },
    /// Something else that it used.
    Usage {
        /// What, as [`Usage`] calls it.
        what: &'static str,
        /// Then.
        recorded: u64,
        /// Now.
        now: u64,
    },
}

/// Runs `wasm` as the recording says, on the calling thread and without asking anybody: what its host calls are answered is in
/// the recording. Time is not limited, but where the clock ended the recorded run.
///
/// # Errors
/// Recorded limits that no sandbox has; `wasm` that is no controller.
pub fn replay(recording: &Recording, wasm: &[u8]) -> Result<Replayed, ReplayError> {
    let mut limits = recording.limits.clone();
    if !recording.end.was_timed() {
        limits.wall_clock = NO_HURRY;
    }
    let config = SandboxConfig { limits, threads: 1, waiting: 0, module_bytes: usize::MAX, ..SandboxConfig::default() };
    let sandbox = Sandbox::new(config)?;
    let digest = BlobDigest::of(wasm);
    let module = sandbox.load(digest, &sandbox.compile(wasm)?)?;
    let mut host = Replaying { calls: &recording.calls, next: 0, parted: None };
    let mut execution = sandbox.begin_again(&module, recording);
    let run = loop {
        match execution.advance(&mut host) {
            Progress::Ended(run) => break run,
            Progress::Waiting(mut waiting) => {
                // An answer that was recorded is there at once; one that never came does not come now either.
                let mut answered = Box::pin(waiting.answered());
                let _ = answered.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                drop(answered);
                execution = waiting.resume();
            }
        }
    };
    let same_controller = digest == recording.controller;
    let Replaying { next, parted, .. } = host;
    let difference = parted.or_else(|| difference(recording, &run, next, same_controller));
    Ok(Replayed { end: End::of(&run), same_controller, answered: next, difference })
}

/// Where a run that asked nothing else differs all the same.
fn difference(recording: &Recording, run: &Run, asked: usize, same_controller: bool) -> Option<Difference> {
    if let Some(exchange) = recording.calls.get(asked) {
        return Some(Difference::FewerCalls { number: asked + 1, recorded: Box::new(exchange.asked.clone()) });
    }
    let (then, now) = (&recording.end, End::of(run));
    if then.result != now.result {
        return Some(Difference::Result { recorded: then.shown(), now: now.shown() });
    }
    if !same_controller || then.was_timed() {
        return None;
    }
    let lines = then.log.len().max(now.log.len());
    let line = (0..lines).find(|&line| then.log.get(line) != now.log.get(line));
    if let Some(line) = line {
        let of = |log: &[String]| log.get(line).cloned();
        return Some(Difference::Log { line: line + 1, recorded: of(&then.log), now: of(&now.log) });
    }
    usage(&then.usage, &now.usage)
}

/// All but times is the same wherever a controller runs.
fn usage(then: &Usage, now: &Usage) -> Option<Difference> {
    let all = [
        ("fuel", then.fuel, now.fuel),
        ("memory_bytes", then.memory_bytes, now.memory_bytes),
        ("host_calls", then.host_calls, now.host_calls),
        ("output_bytes", then.output_bytes, now.output_bytes),
        ("log_bytes", then.log_bytes, now.log_bytes),
        ("network_calls", then.network_calls, now.network_calls),
        ("network_failures", then.network_failures, now.network_failures),
        ("network_sent_bytes", then.network_sent_bytes, now.network_sent_bytes),
        ("network_received_bytes", then.network_received_bytes, now.network_received_bytes),
    ];
    let (what, recorded, now) = all.into_iter().find(|(_, then, now)| then != now)?;
    Some(Difference::Usage { what, recorded, now })
}

impl End {
    /// What it came to, for people.
    pub fn shown(&self) -> String {
        match &self.result {
            Ok(Some(result)) => result.clone(),
            Ok(None) => "no result".to_owned(),
            Err(failed) => format!("{} ({})", failed.message, failed.code),
        }
    }
}

impl fmt::Display for Difference {
    /// In a line, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        match self {
            Self::Call { number, recorded: Some(recorded), now } => {
                write!(f, "host call {number} was `{recorded}`, and is `{now}`")
            }
            Self::Call { number, recorded: None, now } => {
                write!(f, "there were {} host calls, and there is one more: `{now}`", number - 1)
            }
            Self::FewerCalls { number, recorded } => {
                write!(f, "host call {number} was `{recorded}`, and is not made")
            }
            Self::Result { recorded, now } => write!(f, "the result was `{recorded}`, and is `{now}`"),
            Self::Log { line, recorded, now } => {
                write!(f, "line {line} of the log was `{}`, and is `{}`", or(recorded), or(now))
            }
            Self::Usage { what, recorded, now } => write!(f, "{what} was {recorded}, and is {now}"),
        }
    }
}

/// Answers what was answered, as long as the same is asked. Has every method of [`Host`], as those it had not would answer
/// something else.
struct Replaying<'a> {
    calls: &'a [Exchange],
    next: usize,
    parted: Option<Difference>,
}

impl Replaying<'_> {
    /// The recorded answer; `None` where none came.
    fn answer(&mut self, now: Asked) -> Result<Option<Answer>, HostError> {
        match self.calls.get(self.next) {
            Some(exchange) if exchange.asked == now => {
                self.next += 1;
                Ok(exchange.answer.clone())
            }
            other => {
                let recorded = other.map(|exchange| Box::new(exchange.asked.clone()));
                self.parted.get_or_insert(Difference::Call { number: self.next + 1, recorded, now: Box::new(now) });
                Err(unknown("the recording has no answer to this call"))
            }
        }
    }

    fn at_once<T>(
        &mut self,
        asked: Asked,
        give: impl FnOnce(Answer) -> Option<Result<T, HostError>>,
    ) -> Result<T, HostError> {
        let answer = self.answer(asked)?.and_then(give);
        answer.unwrap_or_else(|| Err(unknown("the recorded run ended in this call")))
    }

    /// `give` has a word for every answer that fits, which is all that a recording can have.
    fn remote<T: Send + 'static>(
        &mut self,
        asked: Asked,
        give: impl FnOnce(Answer) -> Option<T>,
        failed: impl FnOnce(HostError) -> T,
    ) -> Remote<T> {
        match self.answer(asked) {
            Ok(answer) => match answer.and_then(give) {
                Some(answer) => Box::pin(ready(answer)),
                None => Box::pin(pending()),
            },
            Err(error) => Box::pin(ready(failed(error))),
        }
    }
}

/// Ends the run.
fn unknown(reason: &str) -> HostError {
    HostError::Failed { reason: reason.to_owned() }
}

fn no_reply<T>(error: HostError) -> NetworkReply<T> {
    NetworkReply { answer: Err(error), sent_bytes: 0, received_bytes: 0 }
}

fn content(answer: Answer) -> Option<Result<Option<Vec<u8>>, HostError>> {
    let Answer::Content(said) = answer else { return None };
    Some(said.again(|content| content.map(|bytes| bytes.0)))
}

fn written(answer: Answer) -> Option<Result<(), HostError>> {
    let Answer::Written(said) = answer else { return None };
    Some(said.again(|()| ()))
}

impl Host for Replaying<'_> {
    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.at_once(Asked::ReadFile { path: path.to_owned() }, content)
    }

    fn write_file(&mut self, path: &str, content: &[u8]) -> Result<(), HostError> {
        self.at_once(Asked::WriteFile { path: path.to_owned(), content: Sent::of(content) }, written)
    }

    fn raw_storage(&mut self) -> Result<Option<Vec<u8>>, HostError> {
        self.at_once(Asked::RawStorage, content)
    }

    fn set_raw_storage(&mut self, content: &[u8]) -> Result<(), HostError> {
        self.at_once(Asked::SetRawStorage { content: Sent::of(content) }, written)
    }

    fn volume_image(&mut self) -> Result<Vec<u8>, HostError> {
        // An image is never absent; what says so was not recorded.
        self.at_once(Asked::VolumeImage, content).map(Option::unwrap_or_default)
    }

    fn set_volume_image(&mut self, image: &[u8]) -> Result<(), HostError> {
        self.at_once(Asked::SetVolumeImage { image: Sent::of(image) }, written)
    }

    fn http(&mut self, request: HttpRequest, _: NetworkAllowance) -> Remote<NetworkReply<HttpAnswer>> {
        let give = |answer| match answer {
            Answer::Http(reply) => Some(reply.again(super::call::Received::again)),
            _ => None,
        };
        self.remote(Asked::http(&request), give, no_reply)
    }

    fn rpc(&mut self, request: RpcRequest, _: NetworkAllowance) -> Remote<NetworkReply<Value>> {
        let give = |answer| match answer {
            Answer::Rpc(reply) => Some(reply.again(|result| result.0)),
            _ => None,
        };
        self.remote(Asked::rpc(&request), give, no_reply)
    }

    fn state_proof(&mut self, domain: String, args: Value, _: Limits) -> Remote<StateProofReply> {
        let give = |answer| match answer {
            Answer::StateProof(proved) => Some(proved.again()),
            _ => None,
        };
        let failed = |error| StateProofReply { answer: Err(error), usage: Usage::default() };
        self.remote(Asked::StateProof { domain, args: args.to_string() }, give, failed)
    }

    fn latest_block(&mut self, domain: String) -> Remote<Result<Option<LatestBlock>, HostError>> {
        let give = |answer| match answer {
            Answer::LatestBlock(said) => Some(said.again(|block| block.map(super::call::Block::again))),
            _ => None,
        };
        self.remote(Asked::LatestBlock { domain }, give, Err)
    }

    fn block_proof(&mut self, domain: String, number: BlockNumber) -> Remote<Result<BlockProof, HostError>> {
        let give = |answer| match answer {
            Answer::BlockProof(said) => Some(said.again(super::call::Opening::again)),
            _ => None,
        };
        self.remote(Asked::BlockProof { domain, number }, give, Err)
    }

    fn root_update(&mut self, root: Root) -> Remote<Result<Option<RootUpdate>, HostError>> {
        let give = |answer| match answer {
            Answer::RootUpdate(said) => Some(said.again(|update| update.map(super::call::Update::again))),
            _ => None,
        };
        self.remote(Asked::RootUpdate { root }, give, Err)
    }
}

#[cfg(test)]
mod tests {
    /// A method that these hosts lack would be answered by the trait itself: neither recorded nor replayed.
    #[test]
    fn every_method_of_a_host_is_recorded_and_replayed() {
        let methods = |source: &'static str, begin: &str| -> Vec<&str> {
            let (_, from) = source.split_once(begin).unwrap();
            let (body, _) = from.split_once("\n}").unwrap();
            body.lines().filter_map(|line| line.strip_prefix("    fn ")?.split('(').next()).collect()
        };
        let all = methods(include_str!("../host.rs"), "pub trait Host: Send {");
        assert!(all.len() >= 8, "{all:?}");
        assert_eq!(methods(include_str!("recorder.rs"), "impl Host for Recorded<'_> {"), all);
        assert_eq!(methods(include_str!("replay.rs"), "impl Host for Replaying<'_> {"), all);
    }
}
