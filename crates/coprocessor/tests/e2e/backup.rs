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
