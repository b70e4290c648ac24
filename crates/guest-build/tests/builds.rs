//! Whole builds with a real toolchain. Minutes each, so they run when asked for: `cargo test -p coprocessor-guest-build
//! -- --ignored`. Without a toolchain they say so and stop, except in CI (`CI` set), where that is a failure.

use coprocessor_guest_build::{
    Artifacts, BuildOptions, GuestBuildError, GuestKind, Progress, Toolchain, build_guest, check_bare_target,
    check_guest, template, write_artifacts,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn toolchains_are_here() -> bool {
    let missing: Vec<GuestBuildError> =
        GuestKind::ALL.into_iter().filter_map(|kind| Toolchain::find(kind, None).err()).collect();
    let here = missing.is_empty();
    assert!(here || env::var_os("CI").is_none(), "{missing:?}");
    #[allow(clippy::print_stderr)] // What is skipped must be seen.
    missing.iter().for_each(|error| eprintln!("skipped: {error}"));
    here
}

fn build(dir: &Path, cache: &Path) -> Artifacts {
    let options = BuildOptions { cache: Some(cache.to_owned()), ..BuildOptions::default() };
    build_guest(dir, &options, &mut |_| {}).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
#[ignore = "compiles the standard library twice"]
fn a_new_guest_builds_outside_the_checkout_with_equal_bits_in_any_folder() {
    if !toolchains_are_here() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let first = temp.path().join("first");
    template::write(&first, "my-guest").unwrap();
    let built = build(&first, &temp.path().join("cache"));
    assert!(built.controller.starts_with(b"\0asm"));
    assert!(built.circuit.starts_with(b"\x7fELF"));
    write_artifacts(&first, &built).unwrap();
    check_guest(&first).unwrap();

    let second = temp.path().join("another/and/deeper/second");
    template::write(&second, "my-guest").unwrap();
    // The lock that the first build wrote: without it a crate released in between would be another source.
    fs::copy(first.join("Cargo.lock"), second.join("Cargo.lock")).unwrap();
    let rebuilt = build(&second, &temp.path().join("cache elsewhere"));
    assert_eq!(built.provenance, rebuilt.provenance);

    for artifact in [&built.controller, &built.circuit] {
        let text = String::from_utf8_lossy(artifact);
        for place in [temp.path().to_string_lossy().into_owned(), env::var("HOME").unwrap()] {
            assert!(!text.contains(&format!("{}/", place.trim_end_matches('/'))), "names {place}");
        }
    }
}

#[test]
#[ignore = "compiles a workspace"]
fn a_new_guests_own_tests_pass() {
    let temp = tempfile::tempdir().unwrap();
    template::write(temp.path(), "my-guest").unwrap();
    let output = Command::new(env!("CARGO"))
        .current_dir(temp.path())
        .args(["test", "--workspace"])
        .env("CARGO_TARGET_DIR", temp.path().join("target"))
        .env("CARGO_ENCODED_RUSTFLAGS", "-Dwarnings")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("the_circuit_takes_what_the_controller_makes ... ok"), "{report}");
}

#[test]
#[ignore = "compiles the core library"]
fn the_sdk_needs_no_operating_system() {
    if toolchains_are_here() {
        check_bare_target(&repository(), &mut |_: Progress<'_>| {}).unwrap();
    }
}
