//! Bodies of the API in JSON, and what is shown at a root.

use crate::{Input, Seed, Target, Writer};
use coprocessor_api as api;
use coprocessor_types::{DomainId, Root};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub(crate) const TARGET: Target =
    Target { name: "api", about: "api: bodies in JSON, and openings that a client checks", run, seeds };

/// Reads a body, and says whether it is one.
type Read = fn(&[u8]) -> bool;

/// Bodies that the service reads, then those that a client does.
const BODIES: &[Read] = &[
    body::<api::TaskRequest>,
    body::<api::DeployRequest>,
    body::<api::ExecuteRequest>,
    body::<api::VerifyRequest>,
    body::<api::DomainRequest>,
    body::<api::AppendRequest>,
    body::<api::KeyRequest>,
    body::<api::OwnerRequest>,
    body::<api::WebhookRequest>,
    body::<api::ProverRequest>,
    body::<api::TaskView>,
    body::<api::EventView>,
    body::<api::ProofView>,
    body::<api::Problem>,
    opening,
    transition,
    instance,
];

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let read = *input.one(BODIES);
    read(input.rest());
}

/// What is read is written in a way that reads as the same.
fn body<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else { return false };
    let written = serde_json::to_value(&value).expect("what was read can be written");
    let again: T = serde_json::from_value(written.clone()).expect("what was written can be read");
    assert_eq!(serde_json::to_value(&again).expect("and written again"), written);
    true
}

fn opening(bytes: &[u8]) -> bool {
    let Ok(view) = serde_json::from_slice::<api::OpeningView>(bytes) else { return false };
    let honest = Root([0x77; 32]);
    for number in [0, 5] {
        let shown = view.verify(&honest, DomainId([7; 32]), number);
        assert!(shown.is_err(), "something is shown at a root that nobody knows the tree of");
    }
    body::<api::OpeningView>(bytes)
}

fn transition(bytes: &[u8]) -> bool {
    if let Ok(view) = serde_json::from_slice::<api::TransitionView>(bytes)
        && let Ok(append) = view.to_append()
        && let Ok((from, to)) = append.roots()
    {
        assert!(view.verify(&from, &to).is_ok() && view.verify(&to, &from).is_err());
    }
    body::<api::TransitionView>(bytes)
}

fn instance(bytes: &[u8]) -> bool {
    if let Ok(view) = serde_json::from_slice::<api::InstanceView>(bytes) {
        assert!(view.verify(&Root([0x77; 32])).is_err(), "an instance is shown at a root that is none");
    }
    body::<api::InstanceView>(bytes)
}

fn seeds() -> Vec<Seed> {
    let id = "07".repeat(32);
    let path = |place: Value| json!({"place": place, "siblings": [id, id]});
    let absent = path(json!({"is": "empty"}));
    let bodies: [(u8, &str, Value); 14] = [
        (
            0,
            "task",
            json!({"args": {"n": [1, -2, 1e3]}, "payload": null, "kind": "mock", "priority": -3, "deadline_seconds": 9}),
        ),
        (
            1,
            "deploy",
            json!({"name": "n", "controller": "AGFzbQ==", "circuit": "f0VMRg==", "nonce": 1, "public": true}),
        ),
        (2, "execute", json!({"args": {}})),
        (3, "verify", json!({"kind": "mock", "proof": "AA==", "public_inputs": "AA==", "program": id})),
        (4, "domain", json!({"name": "eip155:1", "controller": "AGFzbQ==", "settings": {}})),
        (5, "append", json!({"args": {"number": 1}, "blocks": [{}]})),
        (6, "key", json!({"name": "n", "scopes": ["read", "prove"], "owner": "alice"})),
        (7, "owner", json!({"weight": 3, "quotas": {"programs": 4}})),
        (8, "webhook", json!({"url": "https://a.b/", "events": ["task.delivered"]})),
        (9, "prover", json!({"address": "http://a:1", "secret": "s"})),
        (
            13,
            "problem",
            json!({"type": "urn:x", "title": "t", "status": 400, "detail": "d", "code": "c", "log": ["l"]}),
        ),
        (14, "no-domain", json!({"shows": "no_domain", "root": id, "in_root": absent})),
        (
            15,
            "transition",
            json!({"from": id, "to": id, "version": 3, "domain": id, "number": 5, "state_root": id, "payload_hash": id, "trust": id, "in_domain": absent, "in_root": absent}),
        ),
        (16, "instance", json!({"root": id, "instance": id, "siblings": [id]})),
    ];
    let seed =
        |(kind, name, body): (u8, &str, Value)| Writer::new().byte(kind).bytes(body.to_string().as_bytes()).seed(name);
    bodies.into_iter().map(seed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_bodies() {
        for (name, bytes) in seeds() {
            let (kind, body) = bytes.split_first().unwrap();
            assert!(BODIES[usize::from(*kind)](body), "{name}");
        }
    }
}
