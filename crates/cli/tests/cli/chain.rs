//! Domains, roots and openings; and that what is shown is checked here, whatever the service says.

use crate::{
    run::Place,
    service::{ROOT, Seen, Service, problem, respond},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, RawQuery},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use coprocessor_api::{Base64, Code, Problem};
use coprocessor_merkle::{
    Key, Opening, Place as Stands, Tree, Value as Leaf, block_key, block_value, domain_key, domain_value, instance_key,
};
use coprocessor_types::{DomainId, Root, TrustId};
use serde_json::{Value, json};
use std::sync::Arc;

const AT: &str = "2026-01-01T00:00:00Z";

/// What `roots/current` answers where nothing hangs on it.
pub(crate) fn current_root() -> Value {
    root(ROOT, 0, None)
}

fn root(root: &str, version: u64, number: Option<u64>) -> Value {
    let block = number.map(|number| json!({"domain": domain_id(), "number": number}));
    json!({"root": root, "version": version, "instance": "55".repeat(32), "block": block, "at": AT})
}

fn domain_id() -> DomainId {
    DomainId::derive("ethereum")
}

/// The domain's tree with blocks 0 to `count`, not included, and the root tree over it.
fn trees(count: u64) -> (Tree, Tree) {
    let blocks = (0..count).map(|number| {
        let value = block_value(number, &state_root(number), b"payload", &TrustId::default());
        (block_key(number), value)
    });
    let blocks: Tree = blocks.collect();
    let mut top = Tree::from_iter([(instance_key(), Leaf([0x55; 32]))]);
    if count > 0 {
        top.insert(domain_key(&domain_id()), domain_value(&blocks.root()));
    }
    (blocks, top)
}

fn root_of(count: u64) -> Root {
    trees(count).1.root()
}

fn state_root(number: u64) -> [u8; 32] {
    [u8::try_from(number).unwrap(); 32]
}

fn block(number: u64) -> Value {
    json!({"domain": domain_id(), "number": number, "state_root": Root(state_root(number)), "payload": "cGF5bG9hZA==",
        "trust": TrustId::default(), "root": root_of(number + 1), "version": number + 1, "appended_at": AT})
}

fn path(opening: &Opening) -> Value {
    let hash = |bytes: [u8; 32]| Root(bytes).to_string();
    let place = match opening.place {
        Stands::Member(value) => json!({"is": "member", "value": hash(value.0)}),
        Stands::Empty => json!({"is": "empty"}),
        Stands::OtherLeaf(Key(key), value) => json!({"is": "other_leaf", "key": hash(key), "value": hash(value.0)}),
    };
    json!({"place": place, "siblings": opening.siblings})
}

/// At the root of three blocks.
fn opening(domain: &str, number: u64) -> Value {
    let ((blocks, top), root) = (trees(3), root_of(3));
    if domain != "ethereum" {
        let in_root = path(&top.open(&domain_key(&DomainId::derive(domain))));
        return json!({"shows": "no_domain", "root": root, "in_root": in_root});
    }
    let (in_domain, in_root) = (blocks.open(&block_key(number)), top.open(&domain_key(&domain_id())));
    if number < 3 {
        json!({"shows": "block", "root": root, "block": block(number), "domain_siblings": in_domain.siblings,
            "root_siblings": in_root.siblings})
    } else {
        json!({"shows": "no_block", "root": root, "domain_root": blocks.root(), "in_domain": path(&in_domain),
            "in_root": path(&in_root)})
    }
}

/// From the root of `number` blocks to the next.
fn transition(number: u64) -> Value {
    let (blocks, top) = trees(number);
    json!({"from": root_of(number), "to": root_of(number + 1), "version": number + 1, "domain": domain_id(), "number": number,
        "state_root": Root(state_root(number)), "payload_hash": coprocessor_types::BlobDigest::of(b"payload"),
        "trust": TrustId::default(), "in_domain": path(&blocks.open(&block_key(number))),
        "in_root": path(&top.open(&domain_key(&domain_id())))})
}

fn transitions(query: &str) -> Value {
    let from = (0..3).find(|count| query.contains(&format!("from={}", root_of(*count)))).unwrap();
    // Two a page, so that there is more than one.
    let items: Vec<_> = (from..3).take(2).map(transition).collect();
    let next = items.last().map(|last| last["to"].clone()).filter(|_| from == 0);
    json!({"items": items, "next": next})
}

fn domain() -> Value {
    json!({"id": domain_id(), "name": "ethereum", "owner": "alice", "controller": "11".repeat(32),
        "settings": {"chain": 1}, "trust": "controller_only", "blocks": 3, "latest": 2, "created_at": AT, "updated_at": AT})
}

/// Changes what a service shows.
type Twist = fn(&mut Value);

/// A service with a domain of three blocks.
fn place(twist: Twist) -> (Place, Seen) {
    let seen = Seen::default();
    let note = |what: &'static str| {
        let seen = Arc::clone(&seen);
        move |body: Bytes| seen.lock().unwrap().push(format!("{what} {}", String::from_utf8_lossy(&body)))
    };
    let (added, appended, proved) = (note("add"), note("append"), note("prove"));
    let twisted = move |mut value: Value| {
        twist(&mut value);
        Json(value)
    };
    let api = Router::new()
        .route(
            "/domains",
            get(async || Json(json!({"items": [domain()], "next": "c2"}))).post(async move |body: Bytes| {
                added(body);
                (StatusCode::CREATED, Json(domain()))
            }),
        )
        .route("/domains/ethereum", get(async || Json(domain())))
        .route("/domains/ethereum/controller", axum::routing::put(async || Json(domain())))
        .route(
            "/domains/ethereum/blocks",
            get(async || Json(json!({"items": [block(2), block(1), block(0)], "next": null}))).post(
                async move |body: Bytes| {
                    let text = String::from_utf8_lossy(&body);
                    let (refused, recorded) = (text.contains("wrong"), text.contains("record"));
                    appended(body);
                    append(refused, recorded)
                },
            ),
        )
        .route("/domains/ethereum/blocks/{number}", get(async |Path(number): Path<u64>| Json(block(number))))
        .route(
            "/domains/ethereum/state-proof",
            axum::routing::post(async move |body: Bytes| {
                proved(body);
                Json(json!({"root": root_of(3), "log": ["asked the chain"], "usage": usage(), "recording": RECORDING,
                    "witness": {"StateProof": {"domain": domain_id().0, "number": 1, "state_root": vec![7; 32], "payload": [1],
                        "proof": [1, 2]}}}))
            }),
        )
        .route("/domains/ethereum/latest", get(async || Json(block(2))))
        .route("/domains/{other}", get(async || problem(Code::UnknownDomain, "there is no such domain")))
        .route("/roots", get(async || Json(json!({"items": [root(&root_of(0).to_string(), 0, None), root(&root_of(1).to_string(), 1, Some(0))], "next": 1}))))
        .route("/roots/current", get(async || Json(root(&root_of(3).to_string(), 3, Some(2)))))
        .route(
            "/roots/transitions",
            get(async move |RawQuery(query): RawQuery| twisted(transitions(&query.unwrap()))),
        )
        .route("/roots/{root}", get(async |Path(named): Path<String>| Json(root(&named, 1, Some(0)))))
        .route(
            "/roots/{root}/openings/{domain}/{number}",
            get(async move |Path((_, domain, number)): Path<(String, String, u64)>| twisted(opening(&domain, number))),
        );
    let place = Place::with_server(&Service::start(Router::new().nest("/api/v1", api)).url);
    place.write("controller.wasm", b"\0asm");
    (place, seen)
}

/// What stands for one here, in base64.
const RECORDING: &str = "cmVjb3JkZWQ=";

fn usage() -> Value {
    json!({"fuel": 1, "wall_clock_us": 2, "memory_bytes": 3, "host_calls": 4})
}

fn append(refused: bool, recorded: bool) -> Response {
    if refused {
        let mut problem = Problem::new(Code::BlockRefused, "domain ethereum takes no such block: the hash differs");
        problem.log = vec!["looking at it".into()];
        problem.recording = recorded.then(|| Base64(b"recorded".to_vec()));
        return respond(&problem);
    }
    let mut appended = json!({"block": block(2), "log": ["looks good"], "usage": usage()});
    if recorded {
        appended["recording"] = RECORDING.into();
    }
    let view = json!({"domain": domain_id(), "previous_root": root_of(2), "root": root_of(3), "blocks": [appended]});
    (StatusCode::CREATED, Json(view)).into_response()
}

#[test]
fn results_for_people() {
    let (place, seen) = place(|_| {});
    let first = root_of(0).to_string();
    let commands: &[&[&str]] = &[
        &["domains"],
        &["domains", "show", "ethereum"],
        &[
            "domains",
            "add",
            "ethereum",
            "--controller",
            "controller.wasm",
            "--settings",
            r#"{"chain": 1}"#,
            "--owner",
            "alice",
        ],
        &["domains", "set-controller", "ethereum", "controller.wasm"],
        &["domains", "append", "ethereum", "--args", "7"],
        &["domains", "append", "ethereum", "--blocks", "[7, null]"],
        &["domains", "blocks", "ethereum"],
        &["domains", "block", "ethereum"],
        &["domains", "block", "ethereum", "1", "--root", &first],
        &["roots"],
        &["roots", "list"],
        &["roots", "show", &first],
        &["roots", "transitions", &first],
        &["opening", "ethereum", "1"],
        &["opening", &domain_id().to_string(), "9"],
        &["opening", "ethereum", "9"],
        &["opening", "solana", "1"],
    ];
    let mut all = String::new();
    for command in commands {
        let by_id = command.contains(&domain_id().to_string().as_str());
        let ran = place.run(command);
        if by_id {
            // The service above knows the name alone: for another domain, nothing it shows of this one holds.
            assert_eq!(ran.code, 1, "{}", ran.all());
            continue;
        }
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command:?}: {}", ran.all());
        all += &format!("$ cargo coprocessor {}\n{}\n", command.join(" "), ran.stdout);
    }
    insta::assert_snapshot!(all);
    assert_eq!(
        *seen.lock().unwrap(),
        [
            r#"add {"name":"ethereum","controller":"AGFzbQ==","owner":"alice","settings":{"chain":1},"trust":"controller_only"}"#,
            r#"append {"args":7}"#,
            r#"append {"blocks":[7,null]}"#,
        ]
    );
}

#[test]
fn results_as_json() {
    let (place, _) = place(|_| {});
    let first = root_of(0).to_string();
    let commands: &[(&[&str], &str, Value)] = &[
        (&["domains"], "/items/0/name", json!("ethereum")),
        (&["domains", "append", "ethereum", "--args", "7"], "/blocks/0/log/0", json!("looks good")),
        (&["domains", "block", "ethereum", "1"], "/number", json!(1)),
        (&["roots"], "/version", json!(3)),
        (&["roots", "transitions", &first], "/items/2/number", json!(2)),
        (&["opening", "ethereum", "1"], "/shows", json!("block")),
        (&["opening", "ethereum", "9"], "/shows", json!("no_block")),
        (&["opening", "solana", "9"], "/shows", json!("no_domain")),
    ];
    for (command, pointer, expected) in commands {
        let ran = place.run(&[command, &["--json"][..]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command:?}: {}", ran.all());
        assert_eq!(ran.json().pointer(pointer), Some(expected), "{command:?}: {}", ran.all());
    }
}

#[test]
fn a_block_is_refused_with_the_controllers_log() {
    let (place, _) = place(|_| {});
    let ran = place.run(&["domains", "append", "ethereum", "--args", r#""wrong""#]);
    assert_eq!(ran.code, 4, "{}", ran.all());
    assert!(ran.stderr.contains("| looking at it") && ran.stderr.contains("the hash differs"), "{}", ran.stderr);
    let ran = place.run(&["domains", "show", "solana"]);
    assert!(ran.code == 4 && ran.stderr.contains("domains` lists"), "{}", ran.all());
    for wrong in [&["--args", "1", "--blocks", "[]"][..], &[], &["--blocks", "1"]] {
        let ran = place.run(&[&["domains", "append", "ethereum"], wrong].concat());
        assert_eq!(ran.code, 2, "{}", ran.all());
    }
}

/// Into a file, and not into what is shown; also where there is nothing else.
#[test]
fn a_controllers_run_is_recorded() {
    let (place, seen) = place(|_| {});
    let root = root_of(2).to_string();
    let commands: &[(&[&str], i32, &str)] = &[
        (&["domains", "append", "ethereum", "--args", "7"], 0, r#"append {"args":7,"record":true}"#),
        (&["domains", "append", "ethereum", "--args", r#""wrong""#], 4, r#"append {"args":"wrong","record":true}"#),
        (
            &["domains", "prove-state", "ethereum", "--args", "[1]", "--root", &root],
            0,
            &format!(r#"prove {{"args":[1],"root":"{root}","record":true}}"#),
        ),
    ];
    for (at, (command, code, sent)) in commands.iter().enumerate() {
        let file = format!("run{at}.jsonl");
        let ran = place.run(&[command, &["--record", &file][..]].concat());
        assert_eq!(ran.code, *code, "{command:?}: {}", ran.all());
        assert_eq!(std::fs::read_to_string(place.path().join(&file)).unwrap(), "recorded");
        assert!(!ran.stdout.contains(RECORDING) && ran.stderr.contains(&file), "{}", ran.all());
        assert_eq!(seen.lock().unwrap().last().unwrap(), sent);
    }
    let ran = place.run(&["domains", "prove-state", "ethereum"]);
    assert!(ran.stdout.contains("state of domain") && ran.stdout.contains("| asked the chain"), "{}", ran.all());
    assert_eq!(seen.lock().unwrap().last().unwrap(), r#"prove {"args":null}"#);
    let ran = place.run(&["domains", "append", "ethereum", "--blocks", "[1]", "--record", "run.jsonl"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
}

/// Each a service that shows something that is not so.
#[test]
fn what_is_shown_is_checked_here() {
    let first = root_of(0).to_string();
    let twists: [(&[&str], Twist, &str); 7] = [
        (&["opening", "ethereum", "1"], |shown| shown["block"]["state_root"] = json!("ff".repeat(32)), "leads to root"),
        (&["opening", "ethereum", "1"], |shown| shown["block"]["payload"] = json!("AA=="), "leads to root"),
        (&["opening", "ethereum", "1"], |shown| *shown = opening("ethereum", 2), "about block 2"),
        (&["opening", "ethereum", "1"], |shown| *shown = opening("ethereum", 9), "absence not shown"),
        (&["opening", "solana", "1"], |shown| *shown = opening("ethereum", 1), "not 1 of"),
        (&["roots", "transitions", &first], |shown| shown["items"][0]["number"] = json!(5), "it makes root"),
        (&["roots", "transitions", &first], |shown| shown["items"] = json!([]), "nothing leads"),
    ];
    for (command, twist, says) in twists {
        let (place, _) = place(twist);
        let ran = place.run(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{command:?}: {}", ran.all());
        assert!(ran.stderr.contains("does not hold") && ran.stderr.contains(says), "{says}: {}", ran.stderr);
        let ran = place.run(&[command, &["--json"][..]].concat());
        assert_eq!(serde_json::from_str::<Value>(&ran.stderr).unwrap()["code"], "not_shown");
    }
}
