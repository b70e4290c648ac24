//! The workspace as cargo sees it.

use cargo_metadata::{Metadata, MetadataCommand};
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate is in crates/").to_owned()
}

/// All packages and edges of a plain build on this platform: what is downloaded anyway, so no network is needed.
pub(crate) fn metadata(manifest: &Path) -> Metadata {
    let host = host();
    MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(["--locked".to_owned(), format!("--filter-platform={host}")])
        .exec()
        .expect("cargo knows this workspace")
}

fn host() -> String {
    let output = std::process::Command::new("rustc").arg("-vV").output().expect("there is a rustc");
    let text = String::from_utf8(output.stdout).expect("rustc writes UTF-8");
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}
