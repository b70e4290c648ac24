//! Every dependency's licence against the list in deny.toml, without a network; and docs/DEPENDENCIES.md against what
//! there is.
#![allow(missing_docs)]

mod workspace;

use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};
use std::collections::BTreeSet;

/// The other workspace that is given away with this one.
const FUZZERS: &str = "fuzz/Cargo.toml";

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
    #[serde(rename = "confidence-threshold")]
    _confidence: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    name: String,
    allow: Vec<String>,
}

impl Licenses {
    fn load() -> Self {
        let text = std::fs::read_to_string(workspace::root().join("deny.toml")).unwrap();
        toml::from_str::<Deny>(&text).expect("deny.toml reads").licenses
    }

    /// Whether the expression can be satisfied with allowed licences; the second says whether an exception was needed.
    fn judge(&self, package: &str, expression: &Expression) -> (bool, bool) {
        let plainly = expression.evaluate(|required| is_among(required, &self.allow));
        let exceptions = self.exceptions.iter().filter(|exception| exception.name == package);
        let more: Vec<_> = exceptions.flat_map(|exception| &exception.allow).chain(&self.allow).cloned().collect();
        (expression.evaluate(|required| is_among(required, &more)), !plainly)
    }
}

fn is_among(required: &LicenseReq, allowed: &[String]) -> bool {
    let required = required.to_string();
    allowed.contains(&required)
}

/// As published: some older packages still write `MIT/Apache-2.0`.
fn parse(expression: &str) -> Expression {
    Expression::parse_mode(expression, ParseMode::LAX).unwrap_or_else(|error| panic!("{expression:?}: {error}"))
}

#[test]
fn every_dependency_may_be_given_away() {
    let licences = Licenses::load();
    let root = workspace::root();
    let mut broken = BTreeSet::new();
    let mut needed = BTreeSet::new();
    let metadata = workspace::metadata(&root.join("Cargo.toml"));
    assert!(metadata.packages.len() > 300, "{} packages: cargo did not show them all", metadata.packages.len());
    let fuzzers = workspace::metadata(&root.join(FUZZERS));
    for package in metadata.packages.iter().chain(&fuzzers.packages) {
        let Some(expression) = &package.license else {
            broken.insert(format!("{} {} names no licence", package.name, package.version));
            continue;
        };
        let (allowed, by_exception) = licences.judge(&package.name, &parse(expression));
        if !allowed {
            broken.insert(format!("{} {}: {expression} is not in deny.toml", package.name, package.version));
        } else if by_exception {
            needed.insert(package.name.to_string());
        }
    }
    for exception in licences.exceptions.iter().filter(|exception| !needed.contains(&exception.name)) {
        broken.insert(format!("the exception for {} is not needed any more", exception.name));
    }
    assert!(broken.is_empty(), "{}", broken.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn expressions_are_judged_as_a_whole() {
    let licences = Licenses {
        allow: vec!["MIT".into(), "Apache-2.0 WITH LLVM-exception".into()],
        exceptions: vec![Exception { name: "files".into(), allow: vec!["MPL-2.0".into()] }],
        _confidence: 0.9,
    };
    let judge = |package, expression| licences.judge(package, &parse(expression));
    assert_eq!(judge("any", "MIT"), (true, false));
    assert_eq!(judge("any", "GPL-3.0-only OR MIT"), (true, false));
    assert_eq!(judge("any", "MIT/GPL-3.0"), (true, false));
    assert!(!judge("any", "GPL-3.0-only AND MIT").0);
    assert_eq!(judge("any", "Apache-2.0 WITH LLVM-exception"), (true, false));
    assert!(!judge("any", "Apache-2.0").0);
    assert!(!judge("any", "MPL-2.0").0);
    assert_eq!(judge("files", "MPL-2.0"), (true, true));
}

/// Names in the first column of the tables in docs/DEPENDENCIES.md: `| serde, serde_json | … |`, a version after a name is
/// skipped.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(workspace::root().join("docs/DEPENDENCIES.md")).unwrap();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let names = cells.flat_map(|cell| cell.split(", ")).filter_map(|name| name.split_whitespace().next());
    names.filter(|name| *name != "crate").map(ToOwned::to_owned).collect()
}

#[test]
fn every_direct_dependency_has_its_reason_written_down() {
    let metadata = workspace::metadata(&workspace::root().join("Cargo.toml"));
    let fuzzers = workspace::metadata(&workspace::root().join(FUZZERS));
    let all = [&metadata, &fuzzers].into_iter();
    let members = all.flat_map(|metadata| {
        metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id))
    });
    let direct = members.flat_map(|package| &package.dependencies).filter(|dependency| dependency.path.is_none());
    let direct: BTreeSet<_> = direct.map(|dependency| dependency.name.clone()).collect();
    let documented = documented();
    let missing: Vec<_> = direct.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/DEPENDENCIES.md does not say why these are here: {missing:?}");
    let gone: Vec<_> = documented.difference(&direct).collect();
    assert!(gone.is_empty(), "docs/DEPENDENCIES.md speaks of what nobody uses: {gone:?}");
}

#[test]
fn what_the_workspace_offers_is_used() {
    #[derive(Deserialize)]
    struct Root {
        workspace: Workspace,
    }
    #[derive(Deserialize)]
    struct Workspace {
        dependencies: toml::Table,
    }
    let root = workspace::root().join("Cargo.toml");
    let offered: Root = toml::from_str(&std::fs::read_to_string(&root).unwrap()).unwrap();
    let metadata = workspace::metadata(&root);
    let members = metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id));
    let used: BTreeSet<_> = members.flat_map(|package| &package.dependencies).map(|used| used.name.as_str()).collect();
    let guests = ["coprocessor-circuit-sdk", "coprocessor-controller-sdk"];
    let offered = offered.workspace.dependencies.keys().map(String::as_str);
    let unused: Vec<_> = offered.filter(|name| !used.contains(name) && !guests.contains(name)).collect();
    assert!(unused.is_empty(), "[workspace.dependencies] has what no member uses: {unused:?}");
}
