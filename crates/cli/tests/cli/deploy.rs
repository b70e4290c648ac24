//! Deploying, again and again.

use crate::{
    run::Place,
    service::{CIRCUIT, Service, problem, program, program_id},
};
use axum::{
    Json, Router,
    body::Bytes,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use coprocessor_api::Code;
use serde_json::json;
use std::sync::{Arc, Mutex};

/// Keeps the controller it was given, as a coprocessor does.
fn service() -> Service {
    let kept: Arc<Mutex<Option<Bytes>>> = Arc::default();
    let replaced = Arc::clone(&kept);
    let deploy = async move |mut parts: axum::extract::Multipart| -> Response {
        let mut names = Vec::new();
        let mut controller = Bytes::new();
        while let Some(part) = parts.next_field().await.unwrap() {
            let name = part.name().unwrap().to_owned();
            let content = part.bytes().await.unwrap();
            match name.as_str() {
                "controller" => controller = content,
                "circuit" => assert_eq!(content, CIRCUIT),
                "name" => assert_eq!(content, "greeter"),
                _ => {}
            }
            names.push(name);
        }
        assert_eq!(names, ["name", "nonce", "controller", "circuit"]);
        let mut kept = kept.lock().unwrap();
        match kept.as_ref() {
            None => {
                *kept = Some(controller);
                (StatusCode::CREATED, Json(program())).into_response()
            }
            Some(same) if *same == controller => Json(program()).into_response(),
            Some(_) => problem(Code::ProgramExists, "the program has another controller"),
        }
    };
    let replace = async move |content: Bytes| {
        *replaced.lock().unwrap() = Some(content);
        Json(program())
    };
    let vk = async || Json(json!({"backend": "sp1", "verifying_key": "a2V5", "digest": "33".repeat(32)}));
    Service::start(
        Router::new()
            .route("/api/v1/programs", post(deploy))
            .route(&format!("/api/v1/programs/{}/controller", program_id()), put(replace))
            .route(&format!("/api/v1/programs/{}/vk", program_id()), get(vk)),
    )
}

/// What `build` leaves behind.
fn build(place: &Place, controller: &[u8]) {
    let compiler = json!({"flavour": "installed", "rustc": "rustc 1", "cargo": "cargo 1", "linker": ""});
    let made = |content: &[u8]| {
        let sha256 = coprocessor_types::BlobDigest::of(content).to_string();
        json!({"sha256": sha256, "bytes": content.len(), "compiler": compiler})
    };
    let record = json!({"sources": "00", "controller": made(controller), "circuit": made(CIRCUIT)});
    place.write("artifacts/controller.wasm", controller);
    place.write("artifacts/circuit.elf", CIRCUIT);
    place.write("artifacts/artifacts.json", record.to_string().as_bytes());
}

#[test]
fn deploying_twice_changes_nothing_and_the_folder_remembers() {
    let place = Place::with_server(&service().url);
    build(&place, b"controller");

    let mut all = String::new();
    let mut run = |arguments: &[&str]| {
        let ran = place.run(arguments);
        all += &format!("$ cargo coprocessor {}\n{}\n", arguments.join(" "), ran.all().replace(&program_id(), "ID"));
        ran
    };
    assert_eq!(run(&["deploy"]).code, 0);
    assert_eq!(run(&["deploy"]).code, 0);
    assert_eq!(run(&["vk"]).code, 0, "the program is remembered");

    build(&place, b"another controller");
    assert_eq!(run(&["deploy"]).code, 4);
    assert_eq!(run(&["deploy", "--replace-controller"]).code, 0);
    assert_eq!(run(&["deploy"]).code, 0);
    insta::assert_snapshot!(all);

    let json = place.run(&["deploy", "--json"]).json();
    assert_eq!((&json["id"], &json["outcome"]), (&json!(program_id()), &json!("unchanged")));
    let remembered = std::fs::read_to_string(place.path().join(".coprocessor.toml")).unwrap();
    assert!(remembered.contains(&program_id()), "{remembered}");
}

#[test]
fn files_can_be_named_instead_of_built() {
    let place = Place::with_server(&service().url);
    place.write("c.wasm", b"controller");
    place.write("c.elf", CIRCUIT);
    let ran = place.run(&["deploy", "--controller", "c.wasm", "--circuit", "c.elf"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
}

#[test]
fn a_new_guest_is_written_and_its_sources_are_newer_than_a_build_of_others() {
    let place = Place::with_server(&service().url);
    let ran = place.run(&["new", "greeter"]);
    insta::assert_snapshot!(ran.all());
    assert!(place.path().join("greeter/controller/Cargo.toml").exists());
    assert_eq!(place.run(&["new", "greeter"]).code, 2, "it is there");
    assert_eq!(place.run(&["new", "Greeter"]).code, 2, "no crate has such a name");

    for name in ["artifacts/controller.wasm", "artifacts/circuit.elf", "artifacts/artifacts.json"] {
        build(&place, b"controller");
        place.write(&format!("greeter/{name}"), &std::fs::read(place.path().join(name)).unwrap());
    }
    let ran = place.run(&["deploy", "greeter"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.stderr.contains("have changed since the build"), "{}", ran.all());
    assert_eq!(place.run(&["deploy", "greeter", "--json"]).json()["stale"], json!(true));
}

#[test]
fn a_build_that_was_tampered_with_is_not_deployed() {
    let place = Place::with_server(&service().url);
    build(&place, b"controller");
    place.write("artifacts/circuit.elf", b"another circuit");
    let ran = place.run(&["deploy"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.stderr.contains("circuit.elf"), "{}", ran.all());
}

#[test]
fn what_is_no_guest_is_not_built() {
    let place = Place::bare();
    let ran = place.run(&["build"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.stderr.contains("cargo coprocessor new"), "{}", ran.all());
}
