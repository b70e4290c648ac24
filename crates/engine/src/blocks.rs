//! Blocks: the domain's controller says yes, the store appends, and there is a new root.

use bytes::Bytes;
use coprocessor_sandbox::{Export, Recorder, RunError, Usage};
use coprocessor_store::{
    AppendBlocks, Block, Cursor, Domain, MAX_PAYLOAD, NewBlock, Page, Scope, StoreError, TrustPolicy,
};
use coprocessor_types::{BlockNumber, DomainId, Root, TrustId};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

use crate::{
    Caller, Engine, EngineError, Inner,
    controllers::{ControllerCall, ControllerRun, Subject},
    domains::told,
};

/// Most blocks of one append.
pub const MAX_APPEND: usize = 1000;

/// What appending came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Appended {
    /// The domain as it was when its controller was asked.
    pub domain: Domain,
    /// The root before the first of the blocks.
    pub previous: Root,
    /// The blocks, in the order given.
    pub blocks: Vec<AppendedBlock>,
}

/// A block that was appended.
#[derive(Clone, PartialEq, Debug)]
pub struct AppendedBlock {
    /// The block, with the root it made.
    pub block: Block,
    /// What the controller logged.
    pub log: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// The recording of its run, where it was asked for.
    pub recording: Option<Bytes>,
}

/// What `validate_block` returns for a block that may be appended.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Validated {
    number: BlockNumber,
    root: [u8; 32],
    payload: Vec<u8>,
}

/// A block that its controller let pass.
struct Passed {
    block: NewBlock,
    log: Vec<String>,
    usage: Usage,
    recording: Option<Bytes>,
}

impl Engine {
    /// Has the domain's controller check each of `args` by `validate_block`, several at once, and appends the blocks it made of
    /// them in their order: all, or none. When this returns they are there to stay.
    ///
    /// # Errors
    /// No blocks, or more than [`MAX_APPEND`]; [`EngineError::UnknownDomain`]; a caller that is neither the domain's owner nor an
    /// administrator; [`EngineError::BlockRefused`], or another failure of the controller; [`EngineError::PayloadTooLarge`];
    /// [`EngineError::BlockTaken`]; a full store.
    pub async fn append_blocks(
        &self,
        caller: &Caller,
        domain: DomainId,
        args: Vec<Value>,
    ) -> Result<Appended, EngineError> {
        self.append(caller, domain, args, false).await
    }

    /// As [`Engine::append_blocks`] for one block, and records the controller's run: the recording is with the block, or with the
    /// controller's failure.
    ///
    /// # Errors
    /// Besides, where nothing is to be recorded here.
    pub async fn recorded_append(
        &self,
        caller: &Caller,
        domain: DomainId,
        args: Value,
    ) -> Result<Appended, EngineError> {
        self.append(caller, domain, vec![args], true).await
    }

    async fn append(
        &self,
        caller: &Caller,
        domain: DomainId,
        args: Vec<Value>,
        record: bool,
    ) -> Result<Appended, EngineError> {
        caller.require(Scope::Deploy)?;
        if !(1..=MAX_APPEND).contains(&args.len()) {
            let message = format!("1 to {MAX_APPEND} blocks are appended at once, got {}", args.len());
            return Err(EngineError::InvalidRequest(message));
        }
        let inner = &self.inner;
        let domain = inner.known_domain(domain).await?;
        if !caller.owns(&domain.owner) {
            return Err(EngineError::NotDomainOwner { domain: domain.name });
        }
        let recorder = inner.dry_recorder(caller, &domain.owner, record)?;
        inner.check_room()?;
        let passed = inner.validate(&domain, args, recorder).await?;
        let account = |Passed { block, log, usage, recording }| (block, (log, usage, recording));
        let (blocks, accounts): (Vec<_>, Vec<_>) = passed.into_iter().map(account).unzip();
        let appended = inner.append_passed(&domain, blocks).await?;
        let first = appended.first().ok_or_else(|| EngineError::Internal("the store appended nothing".into()))?;
        let previous = inner.root_before(first.version).await?;
        tracing::debug!(domain = %domain.id, name = domain.name, blocks = appended.len(), first = first.number, "blocks appended");
        let with_account = |(block, (log, usage, recording))| AppendedBlock { block, log, usage, recording };
        let blocks = appended.into_iter().zip(accounts).map(with_account).collect();
        Ok(Appended { domain, previous, blocks })
    }

    /// A block of a domain; where a root is named, only if that commits to it.
    ///
    /// # Errors
    /// [`EngineError::UnknownDomain`], [`EngineError::UnknownBlock`], [`EngineError::UnknownRoot`].
    pub async fn block(
        &self,
        caller: &Caller,
        domain: DomainId,
        number: BlockNumber,
        at: Option<Root>,
    ) -> Result<Block, EngineError> {
        let domain = self.domain(caller, domain).await?;
        let version = match at {
            Some(root) => self.inner.known_root(root).await?.version,
            None => u64::MAX,
        };
        let block = self.inner.store.block(domain.id, number).await?;
        let block = block.filter(|block| block.version <= version);
        block.ok_or_else(|| EngineError::UnknownBlock { domain: domain.name, number: Some(number), root: at })
    }

    /// A domain's blocks, highest number first.
    ///
    /// # Errors
    /// [`EngineError::UnknownDomain`]; a cursor of another list.
    pub async fn blocks(
        &self,
        caller: &Caller,
        domain: DomainId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Block>, EngineError> {
        let domain = self.domain(caller, domain).await?;
        Ok(self.inner.store.blocks(domain.id, after, limit).await?)
    }

    /// The highest block of a domain that a root commits to, the current one by default.
    ///
    /// # Errors
    /// [`EngineError::UnknownDomain`], [`EngineError::UnknownRoot`]; [`EngineError::UnknownBlock`] where there is none.
    pub async fn latest_block(
        &self,
        caller: &Caller,
        domain: DomainId,
        at: Option<Root>,
    ) -> Result<Block, EngineError> {
        let domain = self.domain(caller, domain).await?;
        let root = match at {
            Some(root) => root,
            None => self.inner.current_root().await?.root,
        };
        let latest = self.inner.store.latest_block(domain.id, root).await?;
        latest.ok_or(EngineError::UnknownBlock { domain: domain.name, number: None, root: at })
    }
}

impl Inner {
    /// Runs `validate_block` for each of `args`. The first refusal in their order refuses all. A recorder is for one run.
    async fn validate(
        self: &Arc<Self>,
        domain: &Domain,
        args: Vec<Value>,
        recorder: Option<Recorder>,
    ) -> Result<Vec<Passed>, EngineError> {
        let root = self.current_root().await?.root;
        let count = args.len();
        let recorder = &recorder;
        let runs = args.into_iter().enumerate().map(|(index, args)| async move {
            let which = if count == 1 { String::new() } else { format!("block {index} of the request: ") };
            self.validate_one(domain, root, args, recorder.clone(), &which).await
        });
        stream::iter(runs).buffered(self.config.workers.controllers.max(1)).try_collect().await
    }

    async fn validate_one(
        self: &Arc<Self>,
        domain: &Domain,
        root: Root,
        args: Value,
        recorder: Option<Recorder>,
        which: &str,
    ) -> Result<Passed, EngineError> {
        let call = ControllerCall {
            subject: Subject::Domain(domain.id),
            controller: domain.controller,
            export: Export::ValidateBlock,
            args: told(domain, args),
            root,
            recorder: recorder.clone(),
        };
        let ControllerRun { run, store_away, .. } = self.run_controller(call).await?;
        let recording = self.dry_recording(recorder.as_ref(), &run, domain.controller).await?;
        let refused = |reason: String| EngineError::BlockRefused {
            domain: domain.name.clone(),
            reason: format!("{which}{reason}"),
            log: run.log.clone(),
            recording: recording.clone(),
        };
        let result = match run.result {
            Ok(result) => result,
            Err(error) if store_away => return Err(StoreError::Unavailable(error.to_string().into()).into()),
            Err(RunError::Guest { message }) => return Err(refused(message)),
            Err(error @ RunError::BadResult { .. }) => return Err(refused(error.to_string())),
            Err(error) => {
                let message = format!("{which}{error}");
                return Err(EngineError::Guest { code: error.code(), message, log: run.log, recording });
            }
        };
        let Validated { number, root, payload } = read(result).map_err(refused)?;
        if payload.len() > MAX_PAYLOAD {
            return Err(EngineError::PayloadTooLarge { domain: domain.name.clone(), number, got: payload.len() });
        }
        let trust = match domain.policy {
            TrustPolicy::ControllerOnly => TrustId::default(),
        };
        let block = NewBlock { number, state_root: root, payload: payload.into(), trust };
        Ok(Passed { block, log: run.log, usage: run.usage, recording })
    }

    async fn append_passed(&self, domain: &Domain, blocks: Vec<NewBlock>) -> Result<Vec<Block>, EngineError> {
        let appended = self.store.append_blocks(domain.id, blocks).await;
        // Whoever asks for a root from here on gets the one that was made, or a later one.
        self.newest.forget();
        match appended {
            Ok(AppendBlocks::Appended(blocks)) => Ok(blocks),
            Ok(AppendBlocks::Taken { number, block }) => {
                Err(EngineError::BlockTaken { domain: domain.name.clone(), number, block })
            }
            Err(StoreError::Full) => {
                self.storage_is_full();
                self.check_room()?;
                Err(StoreError::Full.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn read(result: Option<Value>) -> Result<Validated, String> {
    const EXPECTED: &str = "expected {\"number\": …, \"root\": [32 numbers], \"payload\": [numbers]}";
    let value = result.ok_or_else(|| format!("validate_block returned nothing; {EXPECTED}"))?;
    serde_json::from_value(value)
        .map_err(|error| format!("validate_block returned something else: {error}; {EXPECTED}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_block_is_taken_for_one() {
        let good = json!({"number": u64::MAX, "root": vec![7; 32], "payload": [1, 255]});
        let read_good = read(Some(good.clone())).unwrap_or_else(|reason| panic!("{reason}"));
        assert_eq!((read_good.number, read_good.root, read_good.payload), (u64::MAX, [7; 32], vec![1, 255]));
        let with = |key: &str, value: Value| {
            let mut other = good.clone();
            other[key] = value;
            Some(other)
        };
        for (other, says) in [
            (None, "returned nothing"),
            (Some(Value::Null), "null"),
            (Some(json!(true)), "boolean"),
            (Some(json!({"number": 1, "root": vec![7; 32]})), "missing field `payload`"),
            (with("number", json!(-1)), "-1"),
            (with("number", json!("1")), "string"),
            (with("root", json!(vec![7; 31])), "length 31"),
            (with("root", json!(vec![7; 33])), "33"),
            (with("root", json!("0x07")), "string"),
            (with("payload", json!([256])), "256"),
            (with("trust", json!(1)), "unknown field `trust`"),
        ] {
            let Err(reason) = read(other.clone()) else { panic!("{other:?} was taken") };
            assert!(reason.contains(says) && reason.contains("expected {"), "{other:?}: {reason}");
        }
    }
}
