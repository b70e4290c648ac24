//! What is in `deploy/` is taken by the programs it is for.
#![allow(missing_docs, clippy::print_stdout)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// Unit files name programs where a package puts them; here stand-ins take their places.
#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "systemd-analyze is missing: install the package systemd");
        println!("skipped: systemd-analyze is missing; install the package systemd");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd")).unwrap() {
        let path = entry.unwrap().path();
        let mut text = fs::read_to_string(&path).unwrap();
        for program in ["coprocessor-prover", "coprocessor"] {
            let named = format!("ExecStart=/usr/bin/{program}");
            text = text.replace(&named, &format!("ExecStart={}", stand_in(folder.path(), program)));
        }
        assert!(!text.contains("=/usr/bin/"), "{} starts a program that this test does not know", path.display());
        let unit = folder.path().join(path.file_name().unwrap());
        fs::write(&unit, text).unwrap();
        let output = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
        units += 1;
    }
    assert_eq!(units, 2);
}

fn stand_in(folder: &Path, program: &str) -> String {
    let path = folder.join(format!("bin-{program}"));
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}
