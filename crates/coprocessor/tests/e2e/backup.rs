//! Backup of a running service, and what a restored one knows.

use crate::{
    guests::{LONG, counter, hello_circuit},
    process::{coprocessor, run},
    service::{Service, deployment, json_of},
};
use reqwest::StatusCode;
use serde_json::json;
use std::{fs, path::Path, process::Output};

fn command(name: &str, flags: [(&str, &Path); 2]) -> Output {
    let mut command = coprocessor();
    command.arg(name);
    for (flag, path) in flags {
        command.arg(flag).arg(path);
    }
    run(command)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_backup_of_a_running_service_is_restored_as_the_same_instance() {
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let mut slow = deployment(&counter(LONG, 1), &hello_circuit());
    slow["nonce"] = 1.into();
    let slow = json_of(service.post("/api/v1/programs", &slow), StatusCode::CREATED).await;
    let done = service.submit(&program, json!({})).await;
    service.delivered(&done).await;
    let key = service.key_for("ops", &["admin"]).await;
    service.act_as(&key);
    let under_way = service.submit(slow["id"].as_str().unwrap(), json!({})).await;
    let proof = service.get(&format!("/api/v1/tasks/{done}/proof")).await;

    let data = service.directory().join("data");
    let elsewhere = tempfile::tempdir().unwrap();
    let backup = elsewhere.path().join("backup");
    let made = command("backup", [("--data-dir", &data), ("--to", &backup)]);
    assert!(made.status.success(), "{}", text(&made));
    assert_eq!(String::from_utf8_lossy(&made.stdout).trim(), backup.to_str().unwrap());
    // What came after it is not in it.
    let later = service.submit(&program, json!({})).await;
    service.delivered(&later).await;
    let identity = service.get("/api/v1/roots/current").await;
    service.delivered(&under_way).await;

    let again = command("backup", [("--data-dir", &data), ("--to", &backup)]);
    assert!(!again.status.success() && text(&again).contains(backup.to_str().unwrap()), "{}", text(&again));
    let over = command("restore", [("--from", &backup), ("--data-dir", &data)]);
    assert!(!over.status.success(), "nothing is overwritten: {}", text(&over));
    service.stop();

    let restored = elsewhere.path().join("data");
    let done_restoring = command("restore", [("--from", &backup), ("--data-dir", &restored)]);
    assert!(done_restoring.status.success(), "{}", text(&done_restoring));
    assert!(text(&done_restoring).contains("same instance"), "{}", text(&done_restoring));
    let mut service = Service::start_in(elsewhere, &[]);
    service.act_as(&key);
    assert_eq!(service.get("/api/v1/roots/current").await, identity);
    assert_eq!(service.get(&format!("/api/v1/tasks/{done}/proof")).await, proof);
    assert_eq!(service.count(&program).await, 1);
    // What was under way goes on.
    service.delivered(&under_way).await;
    assert_eq!(service.count(slow["id"].as_str().unwrap()).await, 1);
    let unknown = service.request(reqwest::Method::GET, &format!("/api/v1/tasks/{later}"));
    crate::service::problem_of("what came later", unknown, 404, "unknown_task").await;
}

#[test]
fn what_is_no_backup_is_not_restored_and_what_is_no_store_not_backed_up() {
    let directory = tempfile::tempdir().unwrap();
    let (nothing, to) = (directory.path().join("nothing"), directory.path().join("to"));
    for (name, flags) in [
        ("backup", [("--data-dir", nothing.as_path()), ("--to", &to)]),
        ("restore", [("--from", &nothing), ("--data-dir", &to)]),
    ] {
        let output = command(name, flags);
        assert!(!output.status.success());
        assert!(text(&output).contains(nothing.to_str().unwrap()), "{name}: {}", text(&output));
        let left = fs::read_dir(&to).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{name} left something behind");
        assert!(!nothing.exists());
    }
}

/// With flags of its own choice.
fn check(data: &Path, flags: &[&str]) -> (bool, String, String) {
    let mut command = coprocessor();
    command.arg("check").arg("--data-dir").arg(data).args(flags);
    let output = run(command);
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), text(&output))
}

#[tokio::test]
async fn a_store_with_a_blob_that_was_changed_or_removed_does_not_hold_together() {
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let done = service.submit(&program, json!({})).await;
    service.delivered(&done).await;
    let data = service.directory().join("data");
    let (good, _, why) = check(&data, &[]);
    assert!(!good && why.contains("stop it first"), "{why}");
    service.stop();

    let (good, said, why) = check(&data, &[]);
    assert!(good && said.contains("holds together: 1 tasks"), "{said}{why}");
    let blob = largest_file(&data.join("blobs"));
    let content = fs::read(&blob).unwrap();
    let mut changed = content.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&blob, &changed).unwrap();
    let (good, said, why) = check(&data, &[]);
    assert!(!good && said.contains("blob") && why.contains("restore the last good backup"), "{said}{why}");
    assert!(check(&data, &["--rows-only"]).0, "blobs are not read");
    fs::remove_file(&blob).unwrap();
    assert!(!check(&data, &[]).0, "a blob is missing");
    fs::write(&blob, &content).unwrap();
    assert!(check(&data, &[]).0);
    let (good, _, why) = check(&data.join("nothing"), &[]);
    assert!(!good && why.contains("there is no store in"), "{why}");
}

fn largest_file(directory: &Path) -> std::path::PathBuf {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                directories.push(entry.path());
            } else {
                files.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    files.into_iter().max().unwrap().1
}
