//! What controllers may ask of other chains, at the root that their run is pinned to.

use coprocessor_merkle::{block_key, domain_key};
use coprocessor_sandbox::{BlockProof, Export, HostError, LatestBlock, Limits, RootUpdate, StateProofReply};
use coprocessor_store::{Block, Domain, OpenedBlock, RootRecord};
use coprocessor_types::{BlockNumber, DomainId, Root, StateProof};
use serde_json::Value;
use std::sync::Arc;
use uuid::Builder;

use crate::{
    EngineError, Inner,
    controllers::{ControllerCall, ControllerRun, Subject},
    domains::told,
    volumes::chain,
};

impl Inner {
    /// Has a domain's controller prove state, within what the asking run has left.
    pub(crate) async fn state_proof(
        self: &Arc<Self>,
        domain: &str,
        args: Value,
        root: Root,
        limits: Limits,
    ) -> StateProofReply {
        let known = match self.named(domain).await {
            Ok(known) => known,
            Err(error) => return StateProofReply { answer: Err(error), usage: Default::default() },
        };
        let call = ControllerCall {
            subject: Subject::Domain(known.id),
            controller: known.controller,
            export: Export::GetStateProof,
            args: told(&known, args),
            root,
            recorder: None,
        };
        let ControllerRun { run, .. } = match self.run_asked(call, limits).await {
            Ok(run) => run,
            Err(error) => {
                let answer = Err(failed(&error));
                return StateProofReply { answer, usage: Default::default() };
            }
        };
        let said = |reason: String| format!("domain {domain}: {reason}");
        let answer = match run.result {
            Ok(result) => proof(&known, result).map_err(|reason| HostError::Refused { reason: said(reason) }),
            Err(error) => {
                let reason = said(error.to_string());
                let passes = run.usage.network_failures > 0 || !error.is_deterministic();
                Err(if passes { HostError::Unanswered { reason } } else { HostError::Refused { reason } })
            }
        };
        StateProofReply { answer, usage: run.usage }
    }

    /// The highest block of a domain that a root commits to.
    pub(crate) async fn latest_block_at(&self, domain: &str, root: Root) -> Result<Option<LatestBlock>, HostError> {
        let known = self.named(domain).await?;
        let block = self.store.latest_block(known.id, root).await.map_err(|error| failed(&error))?;
        Ok(block.map(told_of))
    }

    /// What shows a block of a domain at a root.
    pub(crate) async fn block_proof_at(
        &self,
        domain: &str,
        number: BlockNumber,
        root: Root,
    ) -> Result<BlockProof, HostError> {
        let known = self.named(domain).await?;
        let opened = self.store.open_block(root, known.id, number).await.map_err(|error| failed(&error))?;
        let OpenedBlock::Member(_, opening) = opened else {
            let reason = format!("root {root} commits to no block {number} of domain {domain}");
            return Err(HostError::Refused { reason });
        };
        Ok(BlockProof { block_key: block_key(number).0, domain_key: domain_key(&known.id).0, opening })
    }

    /// How a root came from the one before it, for a run that is pinned to `pinned`: what follows that root is not there yet.
    pub(crate) async fn root_update_at(&self, root: Root, pinned: Root) -> Result<Option<RootUpdate>, HostError> {
        let record = |root| async move { self.store.root(root).await.map_err(|error| failed(&error)) };
        let (Some(asked), Some(last)) = (record(root).await?, record(pinned).await?) else { return Ok(None) };
        let Some((domain, number)) = asked.block.filter(|_| asked.version <= last.version) else { return Ok(None) };
        let previous = self.root_before(asked.version).await.map_err(|error| failed(&error))?;
        let block = self.store.block(domain, number).await.map_err(|error| failed(&error))?;
        let block = block.ok_or_else(|| failed(&EngineError::Internal(format!("root {root} has no block"))))?;
        let trust = block.trust;
        Ok(Some(RootUpdate { id: update_id(&asked), root, previous, block: told_of(block), trust }))
    }

    async fn named(&self, name: &str) -> Result<Domain, HostError> {
        self.known_domain(DomainId::derive(name)).await.map_err(|error| match error {
            EngineError::UnknownDomain(_) => HostError::Refused { reason: format!("there is no domain `{name}` here") },
            other => failed(&other),
        })
    }
}

fn told_of(block: Block) -> LatestBlock {
    let Block { domain, number, state_root, payload, .. } = block;
    LatestBlock { domain, number, state_root, payload: payload.to_vec() }
}

/// A UUIDv7 of when the root was made, with its version in place of random bits: the same whoever asks.
fn update_id(root: &RootRecord) -> [u8; 16] {
    let millis = u64::try_from(root.at.as_millisecond()).unwrap_or_default();
    let mut version = [0; 10];
    version[2..].copy_from_slice(&root.version.to_be_bytes());
    Builder::from_unix_timestamp_millis(millis, &version).into_uuid().into_bytes()
}

fn failed(error: &(dyn std::error::Error + 'static)) -> HostError {
    HostError::Failed { reason: chain(error) }
}

/// What a domain's controller returned, if that is a proof of its own domain's state.
pub(crate) fn proof(domain: &Domain, result: Option<Value>) -> Result<StateProof, String> {
    let result = result.ok_or("its controller returned nothing; expected a state proof")?;
    let proof: StateProof =
        serde_json::from_value(result).map_err(|error| format!("its controller returned no state proof: {error}"))?;
    if proof.domain != domain.id {
        return Err(format!("its controller returned a proof of domain {}", proof.domain));
    }
    Ok(proof)
}

#[cfg(test)]
mod tests {
    use super::update_id;
    use crate::{
        Caller, DomainRequest,
        testing::{Bench, FakeNode, config},
    };
    use coprocessor_store::{OpenedBlock, TrustPolicy};
    use coprocessor_types::{DomainId, Root};
    use serde_json::{Value, json};

    /// `entrypoint` asks the domain `chain` for a proof with its own arguments, and for its latest block; what it gets becomes its
    /// raw storage and the file `latest`. As a domain's controller it gives back what it is called with.
    const ASKER: &str = r#"(module
        (import "valence" "args" (func $args (param i32) (result i32)))
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "get_state_proof" (func $prove (param i32 i32 i32 i32 i32) (result i32)))
        (import "valence" "get_latest_block" (func $latest (param i32 i32 i32) (result i32)))
        (import "valence" "set_raw_storage" (func $set_raw (param i32 i32) (result i32)))
        (import "valence" "set_storage_file" (func $set_file (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 4)
        (data (i32.const 0) "chain")
        (data (i32.const 8) "latest")
        (func $echo (drop (call $ret (i32.const 65536) (call $args (i32.const 65536)))))
        (func (export "get_witnesses"))
        (func (export "validate_block") (call $echo))
        (func (export "get_state_proof") (call $echo))
        (func (export "entrypoint") (local $length i32)
            (local.set $length (call $prove (i32.const 0) (i32.const 5)
                (i32.const 65536) (call $args (i32.const 65536)) (i32.const 131072)))
            (if (i32.ge_s (local.get $length) (i32.const 0))
                (then (drop (call $set_raw (i32.const 131072) (local.get $length)))))
            (local.set $length (call $latest (i32.const 0) (i32.const 5) (i32.const 131072)))
            (if (i32.ge_s (local.get $length) (i32.const 0))
                (then (drop (call $set_file (i32.const 8) (i32.const 6) (i32.const 131072) (local.get $length)))))))"#;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_programs_controller_asks_a_domains() {
        let bench = Bench::running(ASKER, config(), &[&FakeNode::new("a")]).await;
        let (engine, caller, program) = (&bench.engine, Caller::anonymous(), bench.program.id);
        let unknown = engine.call(&caller, program, json!({})).await.unwrap().log;
        assert_eq!(unknown[0], "get_state_proof refused: there is no domain `chain` here");
        assert_eq!(unknown[1], "get_latest_block refused: there is no domain `chain` here");

        let controller = wat::parse_str(ASKER).unwrap().into();
        let (name, policy) = ("chain".parse().unwrap(), TrustPolicy::ControllerOnly);
        let request = DomainRequest { name, owner: None, controller, settings: Value::Null, policy };
        engine.add_domain(&caller, request).await.unwrap();
        let refused = engine.call(&caller, program, json!({})).await.unwrap();
        assert!(refused.log[0].contains("domain chain: its controller returned no state proof"), "{:?}", refused.log);
        assert_eq!(refused.log.len(), 1, "a domain without blocks has no latest one, and that is an answer");

        let block = |number: u64| json!({"number": number, "root": vec![number; 32], "payload": [1, 2]});
        let id = DomainId::derive("chain");
        engine.append_blocks(&caller, id, vec![block(7), block(5)]).await.unwrap();
        let proof = |domain: &str| json!({"domain": domain, "number": 7, "state_root": vec![7; 32], "payload": [1, 2], "proof": [3]});
        let other = engine.call(&caller, program, proof("other")).await.unwrap().log;
        assert!(other[0].contains("returned a proof of domain"), "{other:?}");
        let report = engine.call(&caller, program, proof("chain")).await.unwrap();
        assert!(report.log.is_empty(), "{:?}", report.log);
        // The asked run's calls are counted with the asker's.
        assert_eq!(report.usage.host_calls, 5 + 2);
        let raw = bench.store.volume_snapshot(program).unwrap().raw().unwrap().unwrap();
        assert!(raw.ends_with(&[7, 0xc4, 2, 1, 2, 0xc4, 1, 3]), "{raw:?}");
        let crate::FileOrDirectory::File(file) = engine.read_path(&caller, program, "latest".into()).await.unwrap()
        else {
            panic!("it is a file")
        };
        assert!(file.ends_with(&[7, 0xc4, 2, 1, 2]), "{file:?}");
    }

    /// `entrypoint` asks what shows block 7 of the domain `chain`, and how its own root came to be, and keeps both as files. As a
    /// domain's controller it gives back what it is called with.
    const HISTORIAN: &str = r#"(module
        (import "valence" "args" (func $args (param i32) (result i32)))
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "get_historical" (func $root (param i32) (result i32)))
        (import "valence" "get_block_proof" (func $proof (param i32 i32 i32 i32) (result i32)))
        (import "valence" "get_historical_update" (func $update (param i32 i32) (result i32)))
        (import "valence" "set_storage_file" (func $set_file (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 4)
        (data (i32.const 0) "chainproofupdate")
        (data (i32.const 16) "\07\00\00\00\00\00\00\00")
        (func $echo (drop (call $ret (i32.const 65536) (call $args (i32.const 65536)))))
        (func (export "get_witnesses"))
        (func (export "validate_block") (call $echo))
        (func (export "get_state_proof") (call $echo))
        (func $keep (param $name i32) (param $name_len i32) (param $length i32)
            (if (i32.ge_s (local.get $length) (i32.const 0))
                (then (drop (call $set_file (local.get $name) (local.get $name_len)
                    (i32.const 131072) (local.get $length))))))
        (func (export "entrypoint")
            (call $keep (i32.const 5) (i32.const 5)
                (call $proof (i32.const 0) (i32.const 5) (i32.const 16) (i32.const 131072)))
            (drop (call $root (i32.const 32)))
            (call $keep (i32.const 10) (i32.const 6) (call $update (i32.const 32) (i32.const 131072)))))"#;

    /// Numbers below 128 are one byte of MessagePack, others two.
    fn packed(hash: &[u8]) -> Vec<u8> {
        hash.iter().flat_map(|byte| if *byte < 0x80 { vec![*byte] } else { vec![0xcc, *byte] }).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_controller_asks_what_its_root_holds_and_where_it_comes_from() {
        let bench = Bench::running(HISTORIAN, config(), &[&FakeNode::new("a")]).await;
        let (engine, caller, program) = (&bench.engine, Caller::anonymous(), bench.program.id);
        let controller = wat::parse_str(HISTORIAN).unwrap().into();
        let (name, policy) = ("chain".parse().unwrap(), TrustPolicy::ControllerOnly);
        let request = DomainRequest { name, owner: None, controller, settings: Value::Null, policy };
        engine.add_domain(&caller, request).await.unwrap();
        let file = async |path: &str| match engine.read_path(&caller, program, path.into()).await {
            Ok(crate::FileOrDirectory::File(file)) => Some(file),
            _ => None,
        };

        // The first root follows from none and holds no block.
        let report = engine.call(&caller, program, json!({})).await.unwrap();
        assert!(report.log[0].starts_with("get_block_proof refused: root "), "{:?}", report.log);
        assert!(report.log[0].ends_with("commits to no block 7 of domain chain"), "{:?}", report.log);
        assert_eq!((file("proof").await, file("update").await), (None, Some(vec![0xc0])));

        let id = DomainId::derive("chain");
        let block = |number: u64| json!({"number": number, "root": vec![number; 32], "payload": [1, 2]});
        let appended = engine.append_blocks(&caller, id, vec![block(6), block(7), block(5)]).await.unwrap();
        let report = engine.call(&caller, program, json!({})).await.unwrap();
        assert!(report.log.is_empty(), "{:?}", report.log);

        let roots: Vec<Root> = appended.blocks.iter().map(|appended| appended.block.root).collect();
        let opened = engine.open_block(&caller, roots[2], id, 7).await.unwrap().held;
        let OpenedBlock::Member(_, opening) = opened else { panic!("{opened:?}") };
        let mut expected = vec![0x92];
        let trees = [(coprocessor_merkle::block_key(7).0, &opening.domain_siblings), (id.0, &opening.root_siblings)];
        for (key, siblings) in trees {
            expected.extend(packed(&key));
            expected.push(0x90 | u8::try_from(siblings.len()).unwrap());
            siblings.iter().for_each(|sibling| expected.extend(packed(&sibling.0)));
        }
        expected.extend(packed(&opening.trust.0));
        assert_eq!(file("proof").await, Some(expected));

        let record = engine.root(&caller, roots[2]).await.unwrap();
        let block = [packed(&id.0), vec![5], packed(&[5; 32]), vec![0xc4, 2, 1, 2]].concat();
        let names = [packed(&update_id(&record)), packed(&roots[2].0), packed(&roots[1].0)].concat();
        assert_eq!(file("update").await, Some([names, block, packed(&opening.trust.0)].concat()));
    }

    #[tokio::test]
    async fn what_follows_the_runs_root_is_not_there_yet() {
        let bench = Bench::new(&[]).await;
        let caller = Caller::anonymous();
        let controller = wat::parse_str(ASKER).unwrap().into();
        let (name, policy) = ("chain".parse().unwrap(), TrustPolicy::ControllerOnly);
        let request = DomainRequest { name, owner: None, controller, settings: Value::Null, policy };
        bench.engine.add_domain(&caller, request).await.unwrap();
        let block = |number: u64| json!({"number": number, "root": vec![number; 32], "payload": []});
        let blocks = vec![block(1), block(2)];
        let appended = bench.engine.append_blocks(&caller, DomainId::derive("chain"), blocks).await.unwrap();
        let [first, second] = [0, 1].map(|index| appended.blocks[index].block.root);
        let inner = &bench.engine.inner;
        let update = async |root, pinned| inner.root_update_at(root, pinned).await.unwrap();
        let known = update(first, first).await.unwrap();
        assert_eq!((known.root, known.previous, known.block.number), (first, appended.previous, 1));
        assert_eq!(update(first, second).await.unwrap(), known);
        assert_eq!(update(second, first).await, None);
        assert_eq!(update(Root([1; 32]), second).await, None);
        let later = update(second, second).await.unwrap();
        assert!(later.id > known.id, "ids are in the order of the roots");
        assert!(inner.block_proof_at("chain", 2, first).await.is_err());
        assert!(inner.block_proof_at("chain", 2, second).await.is_ok());
    }
}
