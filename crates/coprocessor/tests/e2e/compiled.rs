//! Compiled controllers: kept over restarts, and only where nobody else can write.

use crate::{
    guests::{echo, hello_circuit, numbered},
    process::skipped,
    service::{Service, json_of},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// A controller of this number whose machine code takes some 300 KB: what is in its data is part of that.
fn large(number: u32) -> Vec<u8> {
    let data = "x".repeat(250_000);
    let text = format!(
        r#"(module (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (memory (export "memory") 8) (data (i32.const 64) "{number}{data}")
        (func (export "get_witnesses"))
        (func (export "entrypoint") (drop (call $ret (i32.const 64) (i32.const 1)))))"#
    );
    wat::parse_str(text).unwrap()
}

async fn call(service: &Service, program: &str) -> Value {
    let call = service.post(&format!("/api/v1/programs/{program}/call"), &json!({}));
    json_of(call, StatusCode::OK).await["result"].clone()
}

async fn compiled(service: &Service) -> Value {
    service.get("/api/v1/storage").await["compiled"].clone()
}

/// Compiled, loaded from the disk.
async fn counts(service: &Service) -> (u64, u64) {
    let compiled = compiled(service).await;
    (compiled["compiled"].as_u64().unwrap(), compiled["loaded"].as_u64().unwrap())
}

fn directory(service: &Service) -> PathBuf {
    service.directory().join("data/compiled")
}

fn files(service: &Service) -> Vec<PathBuf> {
    fs::read_dir(directory(service)).unwrap().map(|file| file.unwrap().path()).collect()
}

/// How often the log says so.
fn said(service: &Service, what: &str) -> usize {
    service.log().matches(what).count()
}

const NOT_USED: &str = "a compiled controller that was kept is not used";

#[tokio::test]
async fn a_service_that_was_killed_compiles_nothing_again() {
    let mut service = Service::start(&[]);
    let called = service.deploy(&numbered(1), &hello_circuit()).await;
    let proved = service.deploy_beside(1, &numbered(2), &hello_circuit()).await;
    assert_eq!(counts(&service).await, (2, 0));
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&directory(&service)), 0o700);
    let kept = files(&service);
    assert_eq!(kept.iter().map(mode).collect::<Vec<_>>(), [0o600; 2]);
    service.kill();

    service.restart(&[]);
    assert_eq!(call(&service, &called).await, json!(1));
    let task = service.submit(&proved, json!({})).await;
    assert_eq!(service.delivered(&task).await.result, Some(json!(2)));
    assert_eq!(call(&service, &called).await, json!(1));
    assert_eq!(counts(&service).await, (0, 2));
    let report = compiled(&service).await;
    assert!(report["found"].as_u64().unwrap() >= 2, "{report}");
    let bytes: u64 = kept.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!((&report["files"], &report["bytes"], &report["problem"]), (&json!(2), &json!(bytes), &Value::Null));
    // What is deleted stays until it has to make room.
    let delete = service.request(reqwest::Method::DELETE, &format!("/api/v1/programs/{called}"));
    assert!(delete.send().await.unwrap().status().is_success());
    assert_eq!(files(&service).len(), 2);
    service.stop();

    // Of another version, as far as its name tells.
    let old = directory(&service).join(format!("{}.0123456789abcdef", "7".repeat(64)));
    fs::write(&old, "code").unwrap();
    service.restart(&[]);
    assert!(!old.exists());
    assert_eq!(files(&service).len(), 2);
    service.stop();
    fs::remove_dir_all(directory(&service)).unwrap();
    service.restart(&["--keep-compiled-mib", "0"]);
    assert_eq!(call(&service, &proved).await, json!(2));
    assert_eq!((counts(&service).await, directory(&service).exists()), ((1, 0), false));
}

#[tokio::test]
async fn files_that_are_not_what_they_were_are_compiled_again_and_replaced() {
    let mut service = Service::start(&[]);
    let mut programs = Vec::new();
    for number in 1..=4 {
        programs.push(service.deploy_beside(number.into(), &numbered(number), &hello_circuit()).await);
    }
    service.kill();
    let files = files(&service);
    let whole: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let mut damaged = whole[0].clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&files[0], damaged).unwrap();
    File::options().write(true).open(&files[1]).unwrap().set_len(100).unwrap();
    fs::write(&files[2], &whole[3]).unwrap();
    fs::set_permissions(&files[3], Permissions::from_mode(0o666)).unwrap();

    service.restart(&[]);
    for _ in 0..2 {
        for (number, program) in (1..).zip(&programs) {
            assert_eq!(call(&service, program).await, json!(number));
        }
    }
    assert_eq!(counts(&service).await, (4, 0));
    assert_eq!(said(&service, NOT_USED), 4, "{}", service.log());
    service.kill();
    service.restart(&[]);
    for (number, program) in (1..).zip(&programs) {
        assert_eq!(call(&service, program).await, json!(number));
    }
    assert_eq!((counts(&service).await, said(&service, NOT_USED)), ((0, 4), 4));
    let now: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(now == whole, "each is what it was before");
}

#[tokio::test]
async fn a_directory_that_others_can_write_to_is_not_used_and_what_to_do_is_said() {
    const REFUSED: &str = "compiled controllers are neither kept nor used";
    let mut service = Service::start(&[]);
    let program = service.deploy(&numbered(1), &hello_circuit()).await;
    service.kill();
    fs::set_permissions(directory(&service), Permissions::from_mode(0o777)).unwrap();
    service.restart(&[]);
    assert_eq!(call(&service, &program).await, json!(1));
    let other = service.deploy_beside(1, &numbered(2), &hello_circuit()).await;
    assert_eq!((counts(&service).await, files(&service).len()), ((2, 0), 1));
    let problem = compiled(&service).await["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("mode 0777") && problem.contains("chmod go-w"), "{problem}");
    assert!(said(&service, REFUSED) == 1 && service.log().contains("chmod go-w"), "{}", service.log());
    assert_eq!(service.get("/health/ready").await["status"], "ok");

    // Mended while it runs.
    fs::set_permissions(directory(&service), Permissions::from_mode(0o700)).unwrap();
    service.deploy_beside(2, &numbered(3), &hello_circuit()).await;
    assert_eq!((files(&service).len(), compiled(&service).await["problem"].clone()), (2, Value::Null));
    service.kill();
    if chown(directory(&service), Some(12345), None).is_err() {
        return skipped("giving a directory to somebody else takes root");
    }
    service.restart(&[]);
    assert_eq!(call(&service, &other).await, json!(2));
    let problem = compiled(&service).await["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("belongs to user 12345"), "{problem}");
    assert_eq!((counts(&service).await, said(&service, REFUSED)), ((1, 0), 2));
}

#[tokio::test]
async fn no_more_is_kept_than_allowed_and_what_was_not_used_for_longest_goes() {
    const BOUND: &[&str] = &["--keep-compiled-mib", "1"];
    let mut service = Service::start(BOUND);
    let mut programs = Vec::new();
    for number in 1..=3 {
        programs.push(service.deploy_beside(number.into(), &large(number), &hello_circuit()).await);
    }
    assert_eq!(files(&service).len(), 3);
    service.kill();
    // In whatever order they were written, all is long ago.
    for file in files(&service) {
        File::open(file).unwrap().set_modified(SystemTime::now() - Duration::from_secs(10_000)).unwrap();
    }
    service.restart(BOUND);
    for (number, program) in [(1, &programs[0]), (3, &programs[2])] {
        assert_eq!(call(&service, program).await, json!(number));
    }
    programs.push(service.deploy_beside(4, &large(4), &hello_circuit()).await);
    let report = compiled(&service).await;
    assert!(report["bytes"].as_u64().unwrap() <= 1 << 20, "{report}");
    assert_eq!((&report["files"], &report["limit"]), (&json!(3), &json!(1 << 20)));
    service.kill();
    service.restart(BOUND);
    for number in [1, 3, 4] {
        assert_eq!(call(&service, &programs[number - 1]).await, json!(number));
    }
    assert_eq!(counts(&service).await, (0, 3));
    assert_eq!(call(&service, &programs[1]).await, json!(2));
    assert_eq!(counts(&service).await, (1, 3));
    // A lower bound holds from the start.
    service.stop();
    service.restart(&["--keep-compiled-mib", "0"]);
    service.stop();
    assert_eq!(files(&service).len(), 3, "they are neither used nor touched");
}

#[tokio::test]
async fn domains_controllers_are_kept_too() {
    let mut service = Service::start(&[]);
    crate::domains::register(&service).await;
    assert_eq!((counts(&service).await, files(&service).len()), ((1, 0), 1));
    service.kill();
    service.restart(&[]);
    service.client().append(crate::domains::NAME, &crate::domains::one_block(1)).await.unwrap();
    assert_eq!(counts(&service).await, (0, 1));
    // The same code as a program's.
    service.deploy(&echo(), &hello_circuit()).await;
    assert_eq!((counts(&service).await, files(&service).len()), ((0, 1), 1));
}
