//! A disk that fills, and a full one: admission says so, nothing is half written, and the service goes on once there is space.

use crate::{
    guests::{counter, hello_circuit, numbered},
    process::{run, skipped},
    service::{Service, deployment, json_of, problem_of, until},
};
use coprocessor_api::Problem;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
};
use tempfile::TempDir;

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount() -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32m", "coprocessor-e2e"]).arg(at.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at))
    }

    /// With another option.
    fn remount(&self, option: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{option}")]).arg(self.0.path());
        assert!(run(mount).status.success());
    }

    /// Leaves no byte free; removing the file gives it all back.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        // A process that has just been killed may still hold it.
        umount.arg("-l").arg(self.0.path());
        run(umount);
    }
}

/// The first to meet a full disk is told so; from then on it is known that there is no room.
async fn check_no_space(what: &str, refused: Response) {
    let problem: Problem = refused.json().await.unwrap();
    assert_eq!(problem.status, 507, "{what}: {problem}");
    assert!(["storage_full", "storage_low"].contains(&problem.code.as_str()), "{what}: {problem}");
}

#[tokio::test]
async fn a_full_disk_is_said_and_survived() {
    // Declared first, so that the service has ended when it is unmounted.
    let Some(disk) = SmallDisk::mount() else {
        return skipped("mounting a small file system takes root");
    };
    let directory = tempfile::tempdir().unwrap();
    symlink(disk.0.path(), directory.path().join("data")).unwrap();
    // Else it would take nothing from the start.
    let service = Service::start_in(directory, &["--min-free-mib", "0"]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let first = service.submit(&program, json!({})).await;
    service.delivered(&first).await;

    let filler = disk.fill();
    let mut acknowledged = vec![first];
    // What was allotted before may still be used up.
    let refused = loop {
        let response = service.prove(&program, json!({"text": "x".repeat(4096)})).send().await.unwrap();
        if response.status() != 202 {
            break response;
        }
        let task: serde_json::Value = response.json().await.unwrap();
        acknowledged.push(task["id"].as_str().unwrap().to_owned());
        assert!(acknowledged.len() < 10_000, "the disk is never full");
    };
    check_no_space("a task", refused).await;
    let mut other = deployment(&counter(2, 2), &hello_circuit());
    other["nonce"] = 1.into();
    other["name"] = "x".repeat(100).into();
    let file = format!("/api/v1/programs/{program}/files/large.bin");
    let file = service.request(Method::PUT, &file).body(vec![7; 1 << 20]);
    check_no_space("a file", file.send().await.unwrap()).await;
    let task = service.prove(&program, json!("x".repeat(100_000)));
    check_no_space("a larger task", task.send().await.unwrap()).await;

    // Reading goes on.
    let listed = service.get("/api/v1/tasks?limit=1000").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), acknowledged.len());
    let file = service.request(Method::GET, &format!("/api/v1/programs/{program}/files/large.bin"));
    problem_of("the file not written", file, 404, "unknown_file").await;

    fs::remove_file(filler).unwrap();
    until("it takes tasks again", || async { service.get("/health/ready").await["status"] == "ok" }).await;
    acknowledged.push(service.submit(&program, json!({})).await);
    for task in &acknowledged {
        service.delivered(task).await;
    }
    assert_eq!(service.count(&program).await, u32::try_from(acknowledged.len()).unwrap());
    let deployed = service.post("/api/v1/programs", &other).send().await.unwrap();
    assert_eq!(deployed.status(), 201);
}

#[tokio::test]
async fn a_service_low_on_storage_takes_nothing_new_and_goes_on_with_what_it_has() {
    // No disk has as much free.
    const LOW: &[&str] = &["--min-free-mib", "99999999999"];
    let mut service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let before = service.submit(&program, json!({})).await;
    service.kill();
    service.restart(LOW);
    service.delivered(&before).await;
    until("it says so", || async { service.get("/health/ready").await["status"] == "degraded" }).await;
    let ready = service.get("/health/ready").await;
    assert!(ready["problems"][0].as_str().unwrap().starts_with("storage: "), "{ready}");
    let storage = service.get("/api/v1/storage").await;
    assert!(storage["low"].is_string() && storage["free_bytes"].is_u64(), "{storage}");

    let mut other = deployment(&counter(2, 2), &hello_circuit());
    other["nonce"] = 1.into();
    let file = service.request(Method::PUT, &format!("/api/v1/programs/{program}/files/a.txt")).body("x");
    for (what, request) in [
        ("a task", service.prove(&program, json!({}))),
        ("a program", service.post("/api/v1/programs", &other)),
        ("a file", file),
    ] {
        service.refuses(what, request, 507, "storage_low").await;
    }
    assert_eq!(service.get("/api/v1/tasks").await["items"].as_array().unwrap().len(), 1);

    service.stop();
    service.restart(&[]);
    assert_eq!(service.get("/health/ready").await["status"], "ok");
    let task = service.submit(&program, json!({})).await;
    service.delivered(&task).await;
    assert_eq!(service.count(&program).await, 2);
}

#[tokio::test]
async fn a_store_larger_than_allowed_takes_nothing_new() {
    let service = Service::start(&["--max-store-mib", "0"]);
    until("it says so", || async { service.get("/health/ready").await["status"] == "degraded" }).await;
    let deploy = service.post("/api/v1/programs", &deployment(&counter(1, 1), &hello_circuit()));
    service.refuses("a program", deploy, 507, "storage_low").await;
}

#[tokio::test]
async fn a_full_disk_and_one_that_takes_no_writes_fail_no_call_for_want_of_compiled_controllers() {
    const UNWRITTEN: &str = "a compiled controller cannot be kept";
    // Declared first, so that the service has ended when it is unmounted.
    let Some(disk) = SmallDisk::mount() else {
        return skipped("mounting a small file system takes root");
    };
    fs::set_permissions(disk.0.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    symlink(disk.0.path(), directory.path().join("data/compiled")).unwrap();
    let filler = disk.fill();
    let mut service = Service::start_in(directory, &[]);
    let compiled = async |service: &Service| service.get("/api/v1/storage").await["compiled"].clone();
    let mut programs = Vec::new();
    for number in 1..=2 {
        programs.push(service.deploy_beside(number.into(), &numbered(number), &hello_circuit()).await);
    }
    let full = compiled(&service).await;
    assert!(full["problem"].as_str().unwrap().contains("No space left"), "{full}");
    assert_eq!((&full["files"], service.log().matches(UNWRITTEN).count()), (&json!(0), 1), "{}", service.log());
    fs::remove_file(filler).unwrap();
    programs.push(service.deploy_beside(3, &numbered(3), &hello_circuit()).await);
    let free = compiled(&service).await;
    assert_eq!((&free["files"], &free["problem"]), (&json!(1), &serde_json::Value::Null));

    service.kill();
    disk.remount("ro");
    service.restart(&[]);
    for (number, program) in (1..).zip(&programs) {
        let call = service.post(&format!("/api/v1/programs/{program}/call"), &json!({}));
        assert_eq!(json_of(call, StatusCode::OK).await["result"], number);
    }
    let read_only = compiled(&service).await;
    assert_eq!((&read_only["compiled"], &read_only["loaded"]), (&json!(2), &json!(1)), "what is there is used");
    assert!(read_only["problem"].as_str().unwrap().contains("Read-only"), "{read_only}");
    assert_eq!(service.log().matches(UNWRITTEN).count(), 2, "once for each process");
}
