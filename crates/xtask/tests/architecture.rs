//! The rules between the rooms (docs/ARCHITECTURE.md), read from cargo's own graph and from the sources.
#![allow(missing_docs)]

mod workspace;

use cargo_metadata::{DependencyKind, Metadata, Package};
use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Every room, and the rooms it may use. What is not here may not be.
const ROOMS: &[(&str, &[&str])] = &[
    ("coprocessor-types", &[]),
    ("coprocessor-merkle", &["coprocessor-types"]),
    ("coprocessor-circuit-sdk", &["coprocessor-types", "coprocessor-merkle"]),
    ("coprocessor-controller-sdk", &["coprocessor-types"]),
    ("coprocessor-ethereum", &["coprocessor-types", "coprocessor-circuit-sdk"]),
    ("coprocessor-vfs", &[]),
    ("coprocessor-outbound", &[]),
    ("coprocessor-solidity", &[]),
    ("coprocessor-store", &["coprocessor-types", "coprocessor-merkle"]),
    ("coprocessor-sandbox", &["coprocessor-types"]),
    ("coprocessor-groth16", &["coprocessor-types"]),
    ("coprocessor-prover", &["coprocessor-types"]),
    ("coprocessor-prover-sp1", &["coprocessor-types", "coprocessor-prover"]),
    (
        "coprocessor-prover-groth16",
        &["coprocessor-types", "coprocessor-sandbox", "coprocessor-groth16", "coprocessor-prover"],
    ),
    (
        "coprocessor-engine",
        &[
            "coprocessor-types",
            "coprocessor-merkle",
            "coprocessor-vfs",
            "coprocessor-store",
            "coprocessor-sandbox",
            "coprocessor-prover",
            "coprocessor-outbound",
        ],
    ),
    ("coprocessor-api", &["coprocessor-types", "coprocessor-merkle"]),
    ("coprocessor-guest-build", &[]),
    ("coprocessor-test-servers", &[]),
    (
        "coprocessor",
        &[
            "coprocessor-types",
            "coprocessor-merkle",
            "coprocessor-api",
            "coprocessor-engine",
            "coprocessor-prover",
            "coprocessor-prover-groth16",
            "coprocessor-prover-sp1",
            "coprocessor-sandbox",
            "coprocessor-store",
            "coprocessor-vfs",
        ],
    ),
    (
        "coprocessor-prover-node",
        &["coprocessor-types", "coprocessor-prover", "coprocessor-prover-groth16", "coprocessor-prover-sp1"],
    ),
    ("coprocessor-state-proof", &["coprocessor-ethereum"]),
    (
        "coprocessor-cli",
        &[
            "coprocessor-types",
            "coprocessor-sandbox",
            "coprocessor-api",
            "coprocessor-groth16",
            "coprocessor-guest-build",
            "coprocessor-solidity",
        ],
    ),
    ("coprocessor-chaos", &["coprocessor-types", "coprocessor-api", "coprocessor-test-servers"]),
    (
        "xtask",
        &[
            "coprocessor-types",
            "coprocessor-api",
            "coprocessor-guest-build",
            "coprocessor-solidity",
            "coprocessor-test-servers",
        ],
    ),
];

/// Rooms that hold tests alone; they may use any room.
const TEST_ROOMS: &[&str] = &["coprocessor-e2e", "coprocessor-fuzz"];

/// Who alone knows a thing: crates with these names, directly or as development dependencies too.
const KNOWN_BY: &[(&str, &[&str])] = &[
    // HTTP
    (r"axum(-.*)?|tower-http", &["coprocessor", "coprocessor-state-proof"]),
    (r"utoipa-(axum|swagger-ui)", &["coprocessor"]),
    // … which the store names only to choose its TLS for object_store.
    (r"reqwest", &["coprocessor-api", "coprocessor-outbound", "coprocessor-state-proof", "coprocessor-store"]),
    // Ethereum
    (r"alloy-.*", &["coprocessor-ethereum"]),
    // SQL and blobs
    (r"rusqlite|libsqlite3-sys|sqlx.*|tokio-postgres(-.*)?|deadpool-postgres|postgres.*", &["coprocessor-store"]),
    (r"object_store", &["coprocessor-store"]),
    // WebAssembly
    (r"wasmtime(-.*)?", &["coprocessor-sandbox"]),
    // FAT
    (r"fatfs", &["coprocessor-vfs"]),
    // BN254
    (r"halo2curves", &["coprocessor-groth16"]),
    // SP1
    (r"sp1-(sdk|prover|core-.*|cuda|recursion.*|build)", &["coprocessor-prover-sp1"]),
    (r"sp1-(verifier|primitives|hypercube)", &["coprocessor-prover", "coprocessor-prover-sp1"]),
    (r"sp1-(zkvm|lib)", &["coprocessor-circuit-sdk"]),
    // The wire between coprocessor and prover node
    (r"tonic-(prost.*|reflection)|prost(-.*)?|protox", &["coprocessor-prover"]),
    // … of which xtask speaks the standard health service.
    (r"tonic(-health)?", &["coprocessor-prover", "xtask"]),
];

/// Crates for the guests: compiled for a bare target, so without the standard library.
const NO_STD: &[&str] = &["types", "merkle", "circuit-sdk", "controller-sdk", "ethereum"];

fn members(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id))
}

fn load() -> Metadata {
    workspace::metadata(&workspace::root().join("Cargo.toml"))
}

#[test]
fn arrows_point_one_way() {
    let metadata = load();
    let rooms: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    let names: BTreeSet<_> = members(&metadata).map(|package| package.name.as_str()).collect();
    let mut broken = Vec::new();
    for package in members(&metadata).filter(|package| !TEST_ROOMS.contains(&package.name.as_str())) {
        let name = package.name.as_str();
        let Some(allowed) = rooms.get(name) else {
            broken.push(format!("{name} is in no row of ROOMS: say there which rooms it may use"));
            continue;
        };
        let used = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        for used in used.map(|dependency| dependency.name.as_str()).filter(|used| names.contains(used)) {
            if !allowed.contains(&used) {
                broken.push(format!("{name} may not use {used}"));
            }
        }
    }
    broken.extend(rooms.keys().filter(|room| !names.contains(*room)).map(|room| format!("there is no {room}")));
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The rows above go from the ground up: a room uses rooms in rows before its own, so there is no circle.
#[test]
fn rooms_stand_on_rooms_below() {
    for (at, (room, used)) in ROOMS.iter().enumerate() {
        for used in *used {
            let below = ROOMS[..at].iter().any(|(below, _)| below == used);
            assert!(below, "{room} uses {used}, which is not above it in ROOMS");
        }
    }
}

#[test]
fn what_is_known_to_one_room_is_known_to_no_other() {
    let metadata = load();
    let mut broken = Vec::new();
    for (pattern, rooms) in KNOWN_BY {
        let pattern = Regex::new(&format!("^({pattern})$")).unwrap();
        let mut known = false;
        for package in members(&metadata).filter(|package| !TEST_ROOMS.contains(&package.name.as_str())) {
            for dependency in package.dependencies.iter().filter(|dependency| pattern.is_match(&dependency.name)) {
                let allowed = rooms.contains(&package.name.as_str());
                known |= allowed;
                // A test may bring up what its room must not know, such as a server to talk to.
                if !allowed && dependency.kind != DependencyKind::Development {
                    broken.push(format!("{} may not know {}: only {rooms:?} may", package.name, dependency.name));
                }
            }
        }
        if !known {
            broken.push(format!("nobody knows {pattern}: the rule watches nothing"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Without its feature the coprocessor has nothing of the SDK in it: not the prover, and not by way of another crate.
#[test]
fn a_service_without_sp1_links_nothing_of_the_sdk() {
    for (package, feature) in [("coprocessor", "sp1-core"), ("coprocessor-prover-node", "sp1")] {
        let tree = |features: &[&str]| {
            let output = std::process::Command::new("cargo")
                .args(["tree", "--locked", "-p", package, "-e", "normal,build", "--prefix", "none", "--format", "{p}"])
                .arg("--no-default-features")
                .args(features)
                .current_dir(workspace::root())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let sdk = |tree: &str| tree.lines().any(|line| line.starts_with("sp1-sdk ") || line.starts_with("sp1-prover "));
        assert!(!sdk(&tree(&[])), "{package} without {feature} has the SP1 SDK in its tree");
        assert!(sdk(&tree(&["--features", feature])), "{package} with {feature} has no SP1 SDK in its tree");
    }
}

#[test]
fn crates_for_guests_need_no_standard_library() {
    let said = Regex::new(r"(?m)^#!\[(no_std|cfg_attr\(.*no_std\))\]").unwrap();
    for name in NO_STD {
        let path = workspace::root().join("crates").join(name).join("src/lib.rs");
        let source = std::fs::read_to_string(&path).unwrap();
        assert!(said.is_match(&source), "{} does not say no_std", path.display());
    }
    // They reach no room but each other.
    for (room, used) in
        ROOMS.iter().filter(|(room, _)| NO_STD.iter().any(|name| *room == format!("coprocessor-{name}")))
    {
        for used in *used {
            let for_guests = NO_STD.iter().any(|name| *used == format!("coprocessor-{name}"));
            assert!(for_guests, "{room} is for guests and uses {used}, which is not");
        }
    }
}

/// What the graph cannot show: words of one room in another's sources.
#[test]
fn words_of_one_room_are_spoken_in_no_other() {
    let rules: [(&str, &str, &[&str]); 3] = [
        (
            "SQL",
            r#"(?i)"\s*(SELECT\s.+\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|CREATE\s+(TABLE|INDEX)\s)"#,
            // … and the servers for tests, which ask one whether it is up.
            &["store", "test-servers"],
        ),
        ("axum's types", r"\baxum::", &["coprocessor", "state-proof"]),
        ("Solidity", r"\bpragma solidity\b", &["solidity"]),
    ];
    let mut broken = Vec::new();
    for (what, pattern, rooms) in rules {
        let pattern = Regex::new(pattern).unwrap();
        let mut spoken = false;
        for (room, path, source) in sources() {
            if !pattern.is_match(&source) {
                continue;
            }
            if rooms.contains(&room.as_str()) {
                spoken = true;
            } else {
                broken.push(format!("{what} in {path}: only {rooms:?} may"));
            }
        }
        if !spoken {
            broken.push(format!("no room speaks of {what}: the rule watches nothing"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Sources that are built into programs: room, path, text.
fn sources() -> Vec<(String, String, String)> {
    let crates = workspace::root().join("crates");
    let files = walkdir::WalkDir::new(&crates).into_iter().map(Result::unwrap);
    let files = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "rs"));
    let files = files.map(|file| file.into_path().strip_prefix(&crates).unwrap().to_owned());
    let built = files.filter(|path| path.components().nth(1).is_some_and(|folder| folder.as_os_str() == "src"));
    built
        .map(|path| {
            let room = path.components().next().unwrap().as_os_str().to_str().unwrap().to_owned();
            let source = std::fs::read_to_string(crates.join(&path)).unwrap();
            (room, Path::new("crates").join(path).display().to_string(), source)
        })
        .collect()
}
