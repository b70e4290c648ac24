//! Starting: what keeps a service from it, and what it says then.

use crate::{
    guests::{hello_circuit, hello_controller},
    process::{coprocessor, free_address, run},
    service::Service,
};
use std::{fs, process::Command};

/// The message of a service that does not start.
fn refused(command: Command) -> String {
    let output = run(command);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

fn serve(flags: &[&str]) -> Command {
    let mut command = coprocessor();
    command.args(flags);
    command
}

#[tokio::test]
async fn a_directory_is_one_services_alone() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let directory = service.directory().join("data");
    let mut second = serve(&["--listen", "127.0.0.1:0", "--data-dir"]);
    second.arg(&directory);
    let said = refused(second);
    let path = directory.canonicalize().unwrap();
    assert!(said.contains(path.to_str().unwrap()) && said.contains("in use by another coprocessor"), "{said}");
    // The first one is none the worse for it.
    service.get(&format!("/api/v1/programs/{program}")).await;
}

#[test]
fn beyond_loopback_only_when_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let mut command = serve(&["--listen", listen, "--data-dir"]);
        command.arg(&data);
        let said = refused(command);
        assert!(said.contains("--insecure") && said.contains("coprocessor keys create"), "{said}");
    }
    assert!(!data.exists(), "nothing was made before it was refused");
}

#[test]
fn flags_that_cannot_be_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    for (flags, said) in [
        (&["--listen", "here"][..], "--listen"),
        (&["--volume-mib", "1"], "--volume-mib"),
        (&["--max-body-mib", "0"], "--max-body-mib"),
        (&["--prover", "ftp://127.0.0.1"], "ftp://127.0.0.1"),
        (&["--prover-secret-file", "/nowhere/secret"], "/nowhere/secret"),
        (&["--controller-fuel", "lots"], "--controller-fuel"),
        (&["--keep-tasks", "soon"], "--keep-tasks"),
        (&["--keep-compiled-mib", "1.5"], "--keep-compiled-mib"),
        (&["--webhook-allow", "http://host/path"], "--webhook-allow"),
        (&["--mock-failures", "101"], "--mock-failures"),
        (&["--blobs", "s3://bucket"], "--database-url"),
        (&["--database-url-file", "/nowhere/url"], "/nowhere/url"),
    ] {
        let mut command = serve(&["--data-dir", data]);
        command.args(flags);
        let message = refused(command);
        assert!(message.contains(said), "{flags:?}: {message}");
    }
}

#[test]
fn a_data_directory_that_is_a_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let mut command = serve(&["--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(&file);
    let said = refused(command);
    assert!(said.contains(file.to_str().unwrap()), "{said}");
}

#[tokio::test]
async fn an_instance_keeps_its_identity() {
    let mut service = Service::start(&[]);
    let before = service.everything().await;
    service.stop();
    service.restart(&[]);
    assert_eq!(service.everything().await, before);
    let other = Service::start(&[]);
    assert_ne!(other.everything().await["root"], before["root"], "no two instances share a root");
}

#[tokio::test]
async fn mock_proofs_are_announced_loudly() {
    let service = Service::start(&[]);
    assert!(service.log().contains("NO PROVER NODE IS CONFIGURED"), "{}", service.log());
}

/// Whether it is well, and what is said of it.
fn health(address: &str, more: &[&str]) -> (bool, String) {
    let mut command = coprocessor();
    command.args(["health", "--listen", address]).args(more);
    let output = run(command);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_tells_a_service_that_works_from_one_that_does_not() {
    let service = Service::start(&[]);
    assert_eq!(health(service.address(), &[]), (true, "ok\n".to_owned()));
    let full = Service::start(&["--min-free-mib", "1000000000"]);
    let (works, said) = health(full.address(), &[]);
    assert!(works && said.starts_with("degraded\nstorage: "), "{said}");

    let nobody = free_address();
    let (works, said) = health(&nobody, &[]);
    assert!(!works && said.contains(&format!("cannot ask {nobody}")), "{said}");
    let silent = std::net::TcpListener::bind(&nobody).unwrap();
    let (works, said) = health(&nobody, &["--seconds", "1"]);
    assert!(!works && said.contains("no answer"), "{said}");
    drop(silent);
}
