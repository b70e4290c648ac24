//! Embeds the SDK's sources and the guest template, so that an installed `cargo coprocessor` needs no checkout.
//!
//! A proc macro could embed a folder too, but would not notice a new file; `rerun-if-changed` does.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const SDK: [&str; 5] = ["types", "merkle", "circuit-sdk", "controller-sdk", "ethereum"];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let crates = here.parent().expect("this crate has siblings");

    let mut sdk = Vec::new();
    for name in SDK {
        sdk.push((format!("{name}/Cargo.toml"), crates.join(name).join("Cargo.toml")));
        collect(&crates.join(name).join("src"), &format!("{name}/src"), &mut sdk);
    }
    let mut template = Vec::new();
    collect(&here.join("template"), "", &mut template);
    let root = crates.parent().expect("crates are in the workspace").join("Cargo.toml");

    let mut code = String::new();
    table(&mut code, "SDK_FILES", &mut sdk);
    table(&mut code, "TEMPLATE_FILES", &mut template);
    table(&mut code, "ROOT_MANIFEST", &mut vec![("Cargo.toml".to_owned(), root)]);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("embedded.rs"), code).expect("OUT_DIR is writable");
}

/// All files under `dir`, named relative to it under `prefix`, with `/`.
fn collect(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    println!("cargo:rerun-if-changed={}", dir.display());
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("a readable directory").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("source file names are UTF-8");
        let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        if path.is_dir() {
            collect(&path, &name, files);
        } else {
            files.push((name, path));
        }
    }
}

fn table(code: &mut String, name: &str, files: &mut Vec<(String, PathBuf)>) {
    files.sort();
    writeln!(code, "static {name}: &[(&str, &str)] = &[").expect("writing to a string");
    for (relative, path) in files {
        println!("cargo:rerun-if-changed={}", path.display());
        writeln!(code, "    ({relative:?}, include_str!({:?})),", path.display().to_string())
            .expect("writing to a string");
    }
    code.push_str("];\n");
}
