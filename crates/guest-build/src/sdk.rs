//! The SDK's sources as a workspace of their own, for guests outside this repository.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The SDK's crates, by folder name; `Cargo.toml` is a workspace over them. Paths are relative, with `/`.
pub(crate) fn files() -> impl Iterator<Item = (String, String)> {
    let crates = SDK_FILES.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned()));
    std::iter::once(("Cargo.toml".to_owned(), manifest())).chain(crates)
}

/// Files of the guest template, with placeholders.
pub(crate) fn template_files() -> &'static [(&'static str, &'static str)] {
    TEMPLATE_FILES
}

/// What the crates inherit from the repository's root manifest, and no more: another crate's dependency there is no
/// change to the SDK.
fn manifest() -> String {
    let root: toml::Table = toml::from_str(ROOT_MANIFEST[0].1).expect("the root manifest parses: cargo has read it");
    let mut workspace = root["workspace"].as_table().expect("a workspace").clone();
    let manifests: Vec<toml::Table> = SDK_FILES
        .iter()
        .filter(|(path, _)| path.ends_with("/Cargo.toml"))
        .map(|(_, content)| toml::from_str(content).expect("an SDK manifest parses: cargo has read it"))
        .collect();
    let used: Vec<String> = manifests.iter().flat_map(dependencies).collect();

    let mut inherited = workspace["dependencies"].as_table().expect("workspace dependencies").clone();
    inherited.retain(|name, _| used.iter().any(|used| used == name));
    for dependency in inherited.iter_mut().filter_map(|(_, value)| value.as_table_mut()) {
        if let Some(toml::Value::String(path)) = dependency.get_mut("path") {
            *path = path.trim_start_matches("crates/").to_owned();
        }
    }
    workspace.insert("dependencies".into(), inherited.into());
    workspace.remove("exclude");
    let members = SDK_FILES.iter().filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"));
    workspace.insert("members".into(), members.map(toml::Value::from).collect::<Vec<_>>().into());

    let manifest = toml::Table::from_iter([("workspace".to_owned(), toml::Value::from(workspace))]);
    let text = toml::to_string(&manifest).expect("a table of what was parsed is written");
    format!("# The coprocessor's SDK, as the version of `cargo coprocessor` that made this project carries it.\n{text}")
}

fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let of = |table: &toml::Table| -> Vec<String> {
        let kinds = ["dependencies", "dev-dependencies"].into_iter();
        kinds.filter_map(|kind| table.get(kind)?.as_table()).flat_map(|table| table.keys().cloned()).collect()
    };
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    of(manifest).into_iter().chain(targets.flat_map(of)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdks_manifest_holds_what_its_crates_inherit_and_no_more() {
        let manifest: toml::Table = toml::from_str(&manifest()).unwrap();
        let workspace = manifest["workspace"].as_table().unwrap();
        let dependencies = workspace["dependencies"].as_table().unwrap();
        assert_eq!(dependencies["coprocessor-merkle"]["path"].as_str(), Some("merkle"));
        assert!(dependencies.contains_key("sp1-zkvm"), "also those of one target");
        assert!(dependencies.contains_key("proptest"), "also those of tests");
        assert!(!dependencies.contains_key("tokio"));
        assert_eq!(workspace["members"].as_array().unwrap().len(), 5);
        assert!(workspace.contains_key("lints") && workspace.contains_key("package"));
    }
}
