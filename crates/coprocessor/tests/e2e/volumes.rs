//! Files of a program's volume.

use crate::{
    guests::{counter, hello_circuit, hello_controller},
    process::run,
    service::{Service, deployment, json_of},
};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::process::Command;

#[tokio::test]
async fn files_are_written_read_listed_and_removed() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let path = |file: &str| format!("/api/v1/programs/{program}/files/{file}");
    let write = |file: &str, content: Vec<u8>| service.request(Method::PUT, &path(file)).body(content);
    let content: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(write("var/share/proof.bin", content.clone()).send().await.unwrap().status(), 204);
    assert_eq!(service.file(&program, "var/share/proof.bin").await, content);
    assert_eq!(service.file(&program, "VAR/Share/PROOF.BIN").await, content, "FAT does not tell case apart");
    let listed = service.get(&path("var/share")).await;
    let [entry] = listed["entries"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!(
        (&entry["name"], &entry["kind"], &entry["size"]),
        (&json!("proof.bin"), &json!("file"), &json!(100_000))
    );
    assert_eq!(*entry, service.get(&(path("var/share/proof.bin") + "?stat=true")).await);

    let conflict = |what: &'static str, request| service.refuses(what, request, 409, "file_conflict");
    conflict("a file over a directory", write("var/share", vec![1])).await;
    conflict("a file below a file", write("var/share/proof.bin/x", vec![1])).await;
    conflict("a directory with something in it", service.request(Method::DELETE, &path("var/share"))).await;

    assert_eq!(service.request(Method::DELETE, &path("var/share/proof.bin")).send().await.unwrap().status(), 204);
    for method in [Method::GET, Method::DELETE] {
        let request = service.request(method, &path("var/share/proof.bin"));
        service.refuses("what is gone", request, 404, "unknown_file").await;
    }
}

#[tokio::test]
async fn directories_are_made_and_things_are_moved() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let path = |file: &str| format!("/api/v1/programs/{program}/files/{file}");
    let put = |file: &str, content: &'static str| service.request(Method::PUT, &path(file)).body(content);
    let rename = |from: &str, to: &str| service.request(Method::PATCH, &path(from)).json(&json!({"rename_to": to}));
    for _ in 0..2 {
        assert_eq!(put("data/new/", "").send().await.unwrap().status(), 204, "it may be there already");
    }
    assert_eq!(service.get(&path("data/new")).await["entries"], json!([]));
    service.refuses("a directory with a body", put("data/x/", "x"), 400, "invalid_body").await;
    assert_eq!(put("data/a.txt", "a").send().await.unwrap().status(), 204);
    service.refuses("a directory over a file", put("data/a.txt/", ""), 409, "file_conflict").await;

    let moved = json_of(rename("data/a.txt", "/data/new/b.txt"), StatusCode::OK).await;
    assert_eq!((&moved["name"], &moved["size"]), (&json!("b.txt"), &json!(1)));
    for time in ["created", "modified"] {
        let age = jiff::Timestamp::now().duration_since(moved[time].as_str().unwrap().parse().unwrap());
        assert!(age.as_secs() < 120, "{time} is {age:?} ago");
    }
    assert_eq!(moved["attributes"], json!(["archive"]));
    assert_eq!(service.file(&program, "data/new/b.txt").await, b"a");
    json_of(rename("data", "/DATA"), StatusCode::OK).await;
    json_of(rename("data", "moved/here"), StatusCode::OK).await;
    assert_eq!(service.file(&program, "moved/here/new/b.txt").await, b"a");
    let refused = |what: &'static str, request, status, code| service.refuses(what, request, status, code);
    refused("what is gone", rename("data", "x"), 404, "unknown_file").await;
    refused("into itself", rename("moved", "moved/here/too"), 409, "file_conflict").await;
    refused("over a directory", rename("moved/here/new/b.txt", "moved"), 409, "file_conflict").await;
    refused("no FAT name", rename("moved", "x.json"), 400, "invalid_path").await;
    let unknown = service.request(Method::PATCH, &path("moved")).json(&json!({"rename_to": "x", "more": 1}));
    refused("an unknown field", unknown, 400, "invalid_body").await;
    let full = service.request(Method::DELETE, &path("moved/here"));
    refused("a directory with something in it", full, 409, "file_conflict").await;

    let root = service.get(&format!("/api/v1/programs/{program}/files?stat=true")).await;
    assert_eq!(root, json!({"name": "/", "kind": "directory", "size": 0}));
    let before = service.get(&format!("/api/v1/programs/{program}/volume")).await;
    assert_eq!(before["size"], json!(4 << 20));
    assert_eq!(put("room.bin", "x").send().await.unwrap().status(), 204);
    let after = service.get(&format!("/api/v1/programs/{program}/volume")).await;
    let free = |volume: &serde_json::Value| volume["free"].as_u64().unwrap();
    assert_eq!(free(&after), free(&before) - 512, "one cluster");
}

#[tokio::test]
async fn raw_storage_is_apart_from_the_volume() {
    let service = Service::start(&["--max-body-mib", "32"]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let raw = format!("/api/v1/programs/{program}/raw");
    assert_eq!(service.bytes(&raw).await, b"");
    let set = |content: Vec<u8>| service.request(Method::PUT, &raw).body(content);
    assert_eq!(set(vec![7; 16 << 20]).send().await.unwrap().status(), 204);
    service.refuses("more than a controller can be given", set(vec![8; (16 << 20) + 1]), 413, "too_large").await;
    assert!(service.bytes(&raw).await == vec![7; 16 << 20]);
    assert_eq!(service.get(&format!("/api/v1/programs/{program}/files")).await["entries"], json!([]));
}

#[tokio::test]
async fn an_uploaded_image_is_checked_before_it_replaces_anything() {
    // A body limit below the image's size, which has one of its own.
    let service = Service::start(&["--max-body-mib", "1", "--max-volume-mib", "64"]);
    let from = service.deploy(&hello_controller(), &hello_circuit()).await;
    let mut second = deployment(&counter(1, 1), &hello_circuit());
    second["nonce"] = json!(1);
    let second = json_of(service.post("/api/v1/programs", &second), StatusCode::CREATED).await;
    let to = second["id"].as_str().unwrap();
    let file = |program: &str, path: &str| format!("/api/v1/programs/{program}/files/{path}");
    for (program, path) in [(from.as_str(), "dir/sent.bin"), (to, "old.bin")] {
        let write = service.request(Method::PUT, &file(program, path)).body(vec![5; 200_000]);
        assert_eq!(write.send().await.unwrap().status(), 204);
    }
    let image = service.bytes(&format!("/api/v1/programs/{from}/image")).await;
    let upload = |image: Vec<u8>| service.request(Method::PUT, &format!("/api/v1/programs/{to}/image")).body(image);

    let mut spoilt = image.clone();
    spoilt[4096 + 4000] = 7;
    let problem = service.refuses("a table that contradicts", upload(spoilt), 422, "invalid_image").await;
    assert!(problem.detail.contains("copies of the allocation table differ: cluster 2000"), "{}", problem.detail);
    service.refuses("no image", upload(vec![1; 4096]), 422, "invalid_image").await;
    service.refuses("nothing", upload(Vec::new()), 422, "invalid_image").await;
    service.refuses("more than the operator allows", upload(vec![0; 66 << 20]), 413, "too_large").await;
    assert_eq!(service.file(to, "old.bin").await, [5; 200_000]);

    let new = json_of(upload(image.clone()), StatusCode::OK).await;
    assert_eq!((&new["size"], &new["files"], &new["directories"]), (&json!(image.len()), &json!(1), &json!(1)));
    assert_eq!(service.file(to, "dir/sent.bin").await, [5; 200_000]);
    let old = service.request(Method::GET, &file(to, "old.bin"));
    service.refuses("what was there before", old, 404, "unknown_file").await;
    assert!(service.bytes(&format!("/api/v1/programs/{to}/image")).await == image);
    // It is a volume like any other.
    let task = service.submit(to, json!({})).await;
    service.delivered(&task).await;
    assert_eq!(service.count(to).await, 1);
}

#[tokio::test]
async fn paths_that_fat_cannot_hold() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let long_path = "a/".repeat(30) + "a";
    for path in [
        "ninechars.txt",
        "a.text",
        "a.b.c",
        ".hidden",
        "a*b.txt",
        "a%3Fb",
        "a%20b",
        "gr%C3%BCn.txt",
        "a%00b",
        "a%0Ab",
        "a//b",
        "a/.../b",
        &long_path,
    ] {
        let path = format!("/api/v1/programs/{program}/files/{path}");
        let write = service.request(Method::PUT, &path).body("x");
        service.refuses(&path, write, 400, "invalid_path").await;
        for method in [Method::GET, Method::DELETE] {
            service.refuses(&path, service.request(method, &path), 400, "invalid_path").await;
        }
    }
}

#[tokio::test]
async fn a_full_volume_keeps_what_it_has() {
    let service = Service::start(&["--volume-mib", "3"]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let path = |file: &str| format!("/api/v1/programs/{program}/files/{file}");
    let write = |file: &str, size: usize| service.request(Method::PUT, &path(file)).body(vec![7; size]);
    assert_eq!(write("a.bin", 2 << 20).send().await.unwrap().status(), 204);
    service.refuses("more than there is room for", write("b.bin", 2 << 20), 507, "volume_full").await;
    service.refuses("a larger file in its own place", write("a.bin", 4 << 20), 507, "volume_full").await;
    assert_eq!(service.file(&program, "a.bin").await, vec![7; 2 << 20]);

    // A controller that finds the volume full fails, with the host's reason in its log, and writes nothing.
    let (mut filler, mut files) = (900 << 10, 0);
    while filler > 0 {
        files += 1;
        if write(&format!("f{files}"), filler).send().await.unwrap().status() != 204 {
            filler /= 2;
        }
    }
    let task = service.submit(&program, json!({})).await;
    let failure = service.finished(&task).await.failure.unwrap();
    assert_eq!((failure.stage.as_str(), failure.code.as_str()), ("deliver", "guest_trap"));
    let failed = service.events(&task).await.pop().unwrap();
    assert!(failed.detail["log"][0].as_str().unwrap().contains("the volume is full"), "{failed:?}");
    let count = service.request(Method::GET, &path(crate::guests::COUNT_FILE));
    service.refuses("the file not written", count, 404, "unknown_file").await;
}

#[tokio::test]
async fn an_image_is_a_volume_that_fsck_finds_nothing_wrong_with() {
    let service = Service::start(&[]);
    let program = service.deploy(&counter(1, 1), &hello_circuit()).await;
    let image = format!("/api/v1/programs/{program}/image");
    let fresh = service.bytes(&image).await;
    assert_eq!(fresh.len(), 4 << 20);
    for n in 0..40 {
        let path = format!("/api/v1/programs/{program}/files/d{}/f{n}.bin", n % 3);
        let write = service.request(Method::PUT, &path).body(vec![n; usize::from(n) * 1000]);
        assert_eq!(write.send().await.unwrap().status(), 204);
        if n % 4 == 0 {
            assert_eq!(service.request(Method::DELETE, &path).send().await.unwrap().status(), 204);
        }
    }
    for _ in 0..3 {
        let task = service.submit(&program, json!({})).await;
        service.delivered(&task).await;
    }
    assert_eq!(service.count(&program).await, 3);
    for (name, image) in [("fresh", fresh), ("used", service.bytes(&image).await)] {
        let file = service.directory().join(format!("{name}.img"));
        std::fs::write(&file, image).unwrap();
        let mut fsck = Command::new("fsck.fat");
        fsck.arg("-n").arg(&file).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin");
        if missing(&mut fsck) {
            return;
        }
        let said = run(fsck);
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stdout));
    }
}

/// Whether `fsck.fat` is not on this machine. In CI it must be.
fn missing(fsck: &mut Command) -> bool {
    let tried = fsck.output();
    let missing = tried.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    assert!(!missing || std::env::var_os("CI").is_none(), "fsck.fat is missing; install the package dosfstools");
    if missing {
        crate::process::skipped("fsck.fat is missing (package dosfstools)");
    }
    missing
}
