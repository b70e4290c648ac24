//! Files of a program's volume.

use crate::{
    guests::{counter, hello_circuit, hello_controller},
    process::run,
    service::Service,
};
use reqwest::Method;
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
    assert_eq!(listed["entries"], json!([{"name": "proof.bin", "kind": "file", "size": 100_000}]));

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
