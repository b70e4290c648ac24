//! Exit codes, and what errors say.

use crate::{
    run::{Place, Ran},
    service::{ROOT, Service, TASK, failed_task, problem, program_id, respond},
};
use axum::{Json, Router, http::StatusCode, routing::get};
use coprocessor_api::{Code, Problem};
use serde_json::json;

fn at(router: Router, arguments: &[&str]) -> Ran {
    Place::with_server(&Service::start(router).url).run(arguments)
}

fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn nobody_answers() {
    let place = Place::with_server(&nobody());
    insta::assert_snapshot!(place.run(&["status"]).all());
    let problem = place.run(&["status", "--json"]).problem();
    assert_eq!((&problem["code"], &problem["exit_code"]), (&json!("unreachable"), &json!(3)));
    assert!(problem["hint"].as_str().unwrap().contains("--server"));
}

#[test]
fn the_request_is_refused() {
    let router = || Router::new().fallback(async || problem(Code::UnknownProgram, "there is no program 00"));
    insta::assert_snapshot!(at(router(), &["vk", ROOT]).all());
    let problem = at(router(), &["vk", ROOT, "--json"]).problem();
    assert_eq!(problem["type"], "urn:coprocessor:problem:unknown_program");
    assert_eq!((&problem["status"], &problem["exit_code"]), (&json!(404), &json!(4)));
}

#[test]
fn a_guest_fails_and_its_log_is_shown() {
    let router = Router::new().fallback(async || {
        let mut problem =
            Problem::with_code(Code::GuestFailed, "guest_panicked", "the controller panicked: no name\u{1b}[2J");
        problem.log = vec!["looking for a name".to_owned()];
        respond(&problem)
    });
    insta::assert_snapshot!(at(router, &["witness", ROOT]).all());
}

#[test]
fn the_service_fails() {
    let router = Router::new().fallback(async || problem(Code::Internal, "see the service's log"));
    insta::assert_snapshot!(at(router, &["tasks"]).all());
}

#[test]
fn the_service_is_not_ready() {
    let router =
        Router::new().route("/health/ready", get(async || problem(Code::Unavailable, "the store does not work")));
    insta::assert_snapshot!(at(router, &["status"]).all());
}

#[test]
fn something_else_answers() {
    let router = Router::new().fallback(async || (StatusCode::NOT_FOUND, "<html>\nnot here</html>"));
    insta::assert_snapshot!(at(router, &["tasks"]).all());
    let router = Router::new().fallback(async || Json(json!({"hello": "world"})));
    insta::assert_snapshot!(at(router, &["tasks"]).all());
}

#[test]
fn a_failed_task_is_a_no() {
    let router = Router::new()
        .route(&format!("/api/v1/tasks/{TASK}/events"), get(async || ([("content-type", "text/event-stream")], "")))
        .route(&format!("/api/v1/tasks/{TASK}"), get(async || Json(failed_task())));
    let ran = at(router, &["tasks", "follow", TASK]);
    let shown = ran.all().replace(&program_id(), "ID");
    insta::assert_snapshot!(shown);
}

#[test]
fn the_command_line_is_at_fault() {
    let place = Place::with_server(&nobody());
    place.write("not.json", b"{");
    let commands: &[&[&str]] = &[
        &["prove", "--args", "Ada"],
        &["prove", "--args", "@missing.json"],
        &["tasks", "show", "7"],
        &["tasks", "list", "--state", "done"],
        &["verify"],
        &["verify", "not.json"],
        &["vk"],
        &["deploy"],
        &["deploy", "missing"],
        &["files", "-p", ROOT, "get", "../../tasks"],
        &["--server", "localhost:1", "status"],
        &["--server", "http://user:secret@localhost", "status"],
        &["frobnicate"],
    ];
    let mut all = String::new();
    for command in commands {
        let ran = place.run(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{command:?}: {}", ran.all());
        all += &format!("$ cargo coprocessor {}\n{}\n", command.join(" ").replace(ROOT, "ID"), ran.stderr);

        let problem = place.run(&[&["--json"], *command].concat()).problem();
        assert_eq!(problem["exit_code"], 2, "{command:?}");
        assert!(problem["status"].is_null() && problem["code"].is_string(), "{problem}");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn the_server_is_found_where_help_says() {
    let (by_file, by_home, by_flag) = (nobody(), nobody(), nobody());
    let place = Place::bare();
    let asked = |arguments: &[&str]| place.run(&[arguments, &["--json"][..]].concat()).problem()["detail"].to_string();
    assert!(asked(&["status"]).contains("http://127.0.0.1:37281"));
    let home = place.path().join("../home/.config/coprocessor");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.toml"), format!("server = {by_home:?}")).unwrap();
    assert!(asked(&["status"]).contains(&by_home));
    place.write("coprocessor.toml", format!("server = {by_file:?}").as_bytes());
    assert!(asked(&["status"]).contains(&by_file));
    assert!(asked(&["status", "--server", &by_flag]).contains(&by_flag));
}
