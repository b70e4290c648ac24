//! What controllers may ask of other chains, at the root that their run is pinned to.

use coprocessor_sandbox::{Export, HostError, LatestBlock, Limits, StateProofReply};
use coprocessor_store::Domain;
use coprocessor_types::{DomainId, Root, StateProof};
use serde_json::Value;
use std::sync::Arc;

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
        };
        let ControllerRun { run, .. } = match self.run_asked(call, limits).await {
            Ok(run) => run,
            Err(error) => {
                let answer = Err(HostError::Failed { reason: chain(&error) });
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
        let block = self.store.latest_block(known.id, root).await;
        let block = block.map_err(|error| HostError::Failed { reason: chain(&error) })?;
        Ok(block.map(|block| LatestBlock {
            domain: block.domain,
            number: block.number,
            state_root: block.state_root,
            payload: block.payload.to_vec(),
        }))
    }

    async fn named(&self, name: &str) -> Result<Domain, HostError> {
        self.known_domain(DomainId::derive(name)).await.map_err(|error| match error {
            EngineError::UnknownDomain(_) => HostError::Refused { reason: format!("there is no domain `{name}` here") },
            other => HostError::Failed { reason: chain(&other) },
        })
    }
}

/// What a domain's controller returned, if that is a proof of its own domain's state.
fn proof(domain: &Domain, result: Option<Value>) -> Result<StateProof, String> {
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
    use crate::{
        Caller, DomainRequest,
        testing::{Bench, FakeNode, config},
    };
    use coprocessor_store::TrustPolicy;
    use coprocessor_types::DomainId;
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
}
