//! Every input that was kept, through the function it was kept for: without an engine, in seconds.
#![allow(missing_docs)]

use coprocessor_fuzz::{TARGETS, Target, run};
use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Whoever sets this has the seeds written anew.
const WRITE: &str = "WRITE_SEEDS";

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn corpus(name: &str) -> PathBuf {
    fuzz().join("corpus").join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn check(target: &Target) -> Result<usize, String> {
    let files = files(&corpus(target.name));
    for file in &files {
        let input = fs::read(file).unwrap();
        let tried = catch_unwind(AssertUnwindSafe(|| run(target.name, &input)));
        tried.map_err(|_| format!("{}: see the panic above", file.display()))?;
    }
    Ok(files.len())
}

/// Seeds are files, so that engines and people find them; what they say is in the targets.
#[test]
fn seeds_are_as_the_targets_make_them() {
    for target in TARGETS {
        let folder = corpus(target.name);
        let seeds = (target.seeds)();
        let names: BTreeSet<_> = seeds.iter().map(|(name, _)| format!("seed-{name}")).collect();
        assert_eq!(names.len(), seeds.len(), "{}: two seeds of one name", target.name);
        if std::env::var_os(WRITE).is_some() {
            fs::create_dir_all(&folder).unwrap();
            for (name, bytes) in &seeds {
                fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
            }
        }
        for (name, bytes) in &seeds {
            let file = folder.join(format!("seed-{name}"));
            let same = fs::read(&file).is_ok_and(|kept| kept == *bytes);
            assert!(same, "{} is not what the target makes: {WRITE}=1 cargo test -p coprocessor-fuzz", file.display());
        }
        for file in files(&folder) {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(!name.starts_with("seed-") || names.contains(&name), "{name}: no target makes this seed any more");
        }
    }
}

#[test]
fn nothing_in_the_corpus_is_a_finding() {
    let mut found = Vec::new();
    for target in TARGETS {
        match check(target) {
            Ok(count) => assert!(count > 0, "{} has no corpus", target.name),
            Err(finding) => found.push(finding),
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A target without a fuzzer would never be tried on anything new.
#[test]
fn every_target_has_its_fuzzer() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"{}\"\n", target.name)),
            "{} is not in fuzz/Cargo.toml",
            target.name
        );
        let fuzzer = fs::read_to_string(fuzz().join(format!("fuzz_targets/{}.rs", target.name))).unwrap();
        assert!(fuzzer.contains(&format!("run(\"{}\"", target.name)), "{}'s fuzzer tries something else", target.name);
    }
}
