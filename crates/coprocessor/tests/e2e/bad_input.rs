//! Requests that are wrong before anything is looked at: routes, methods, ids, bodies, parameters.

use crate::{
    guests::{hello_circuit, hello_controller},
    service::{Service, deployment},
};
use coprocessor_types::{ProgramId, TaskId};
use reqwest::{Method, RequestBuilder, header::CONTENT_TYPE, multipart::Form};
use serde_json::json;

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let service = Service::start(&[]);
    for path in ["/api", "/api/v1/nothing", "/api/v2", "/programs", "/api/v1/programs/", "/api/v1/tasks/x/y"] {
        service.refuses(path, service.request(Method::GET, path), 404, "unknown_route").await;
    }
    for (method, path) in [
        (Method::DELETE, "/api/v1/programs"),
        (Method::PUT, "/api/v1/tasks"),
        (Method::PATCH, "/api/v1"),
        (Method::GET, "/api/v1/verify"),
        (Method::POST, "/health/live"),
    ] {
        let what = format!("{method} {path}");
        service.refuses(&what, service.request(method, path), 405, "method_not_allowed").await;
    }
}

#[tokio::test]
async fn ids_that_are_none_and_ids_of_nothing() {
    let service = Service::start(&[]);
    let nothing = ProgramId::default().to_string();
    for (id, status, code) in [
        (nothing.as_str(), 404, "unknown_program"),
        ("0", 400, "invalid_parameter"),
        ("zz", 400, "invalid_parameter"),
        (&nothing[1..], 400, "invalid_parameter"),
        ("%00", 400, "invalid_parameter"),
        ("%ff", 400, "invalid_parameter"),
    ] {
        for (what, request) in of_program(&service, id) {
            service.refuses(&format!("{what} of {id}"), request, status, code).await;
        }
    }
    let nothing = TaskId::now().to_string();
    for (id, status, code) in [
        (nothing.as_str(), 404, "unknown_task"),
        ("1", 400, "invalid_parameter"),
        (&nothing[1..], 400, "invalid_parameter"),
        ("00000000-0000-4000-8000-00000000000g", 400, "invalid_parameter"),
    ] {
        for (method, rest) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::GET, "/events"),
            (Method::GET, "/proof"),
            (Method::POST, "/retry"),
        ] {
            let path = format!("/api/v1/tasks/{id}{rest}");
            service.refuses(&format!("{method} {path}"), service.request(method, &path), status, code).await;
        }
    }
}

/// Every request about a program, right but for the program.
fn of_program(service: &Service, id: &str) -> Vec<(String, RequestBuilder)> {
    let path = |rest: &str| format!("/api/v1/programs/{id}{rest}");
    let bare = |method: Method, rest: &str| (format!("{method} {rest}"), service.request(method, &path(rest)));
    let with = |rest: &str| (format!("POST {rest}"), service.post(&path(rest), &json!({})));
    vec![
        bare(Method::GET, ""),
        bare(Method::DELETE, ""),
        bare(Method::GET, "/controller"),
        ("PUT /controller".into(), service.request(Method::PUT, &path("/controller")).body(hello_controller())),
        bare(Method::GET, "/circuit"),
        bare(Method::GET, "/vk"),
        bare(Method::GET, "/files"),
        bare(Method::GET, "/files/a.txt"),
        ("PUT /files/a.txt".into(), service.request(Method::PUT, &path("/files/a.txt")).body("x")),
        bare(Method::DELETE, "/files/a.txt"),
        (
            "PATCH /files/a.txt".into(),
            service.request(Method::PATCH, &path("/files/a.txt")).json(&json!({"rename_to": "b.txt"})),
        ),
        bare(Method::GET, "/image"),
        ("PUT /image".into(), service.request(Method::PUT, &path("/image")).body("x")),
        bare(Method::GET, "/volume"),
        bare(Method::GET, "/raw"),
        ("PUT /raw".into(), service.request(Method::PUT, &path("/raw")).body("x")),
        with("/witness"),
        with("/execute"),
        with("/call"),
        with("/tasks"),
    ]
}

#[tokio::test]
async fn bodies_of_the_wrong_shape() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let tasks = format!("/api/v1/programs/{program}/tasks");
    for (path, body) in [
        ("/api/v1/programs", "{}"),
        ("/api/v1/programs", r#"{"controller": 1, "circuit": ""}"#),
        ("/api/v1/programs", r#"{"controller": "not base64!", "circuit": ""}"#),
        ("/api/v1/programs", r#"{"controller": "", "circuit": "", "nonce": -1}"#),
        ("/api/v1/programs", r#"{"controller": "", "circuit": "", "backend": "sp2"}"#),
        ("/api/v1/programs", r#"{"controller": "", "circuit": "", "nonsense": 1}"#),
        (&tasks, ""),
        (&tasks, "{"),
        (&tasks, "[1]"),
        (&tasks, "[]"),
        (&tasks, "\"text\""),
        (&tasks, "null"),
        (&tasks, r#"{"arg": 1}"#),
        (&tasks, r#"{"kind": 1}"#),
        (&tasks, r#"{"kind": "paper"}"#),
        (&tasks, r#"{"root": "0"}"#),
        (&tasks, r#"{"root": 7}"#),
        ("/api/v1/verify", "{}"),
        ("/api/v1/verify", r#"{"kind": "mock", "proof": "AA==", "public_inputs": "AA==", "extra": true}"#),
        ("/api/v1/provers", "{}"),
        ("/api/v1/provers", r#"{"address": "127.0.0.1:1", "secrets": "x"}"#),
    ] {
        let request = service.request(Method::POST, path).header(CONTENT_TYPE, "application/json").body(body);
        service.refuses(&format!("{path} with {body}"), request, 400, "invalid_body").await;
    }
    let deep = format!("{{\"args\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let request = service.request(Method::POST, &tasks).header(CONTENT_TYPE, "application/json").body(deep);
    service.refuses("JSON nested very deep", request, 400, "invalid_body").await;
}

#[tokio::test]
async fn media_types_that_are_not_taken() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let tasks = format!("/api/v1/programs/{program}/tasks");
    for path in ["/api/v1/programs", &tasks, "/api/v1/verify", "/api/v1/provers"] {
        for media in ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"] {
            let request = service.request(Method::POST, path).header(CONTENT_TYPE, media).body("{}");
            service.refuses(&format!("{media} to {path}"), request, 415, "unsupported_media_type").await;
        }
        let request = service.request(Method::POST, path).body("{}");
        service.refuses(&format!("no media type to {path}"), request, 415, "unsupported_media_type").await;
    }
}

#[tokio::test]
async fn multipart_with_parts_missing_unknown_or_broken() {
    let service = Service::start(&[]);
    let (controller, circuit) = (hello_controller(), hello_circuit());
    let part = |bytes: &[u8]| reqwest::multipart::Part::bytes(bytes.to_vec());
    let whole = || Form::new().part("controller", part(&controller)).part("circuit", part(&circuit));
    for (what, form, said) in [
        ("no circuit", Form::new().part("controller", part(&controller)), "`circuit`"),
        ("no controller", Form::new().part("circuit", part(&circuit)), "`controller`"),
        ("an unknown part", whole().text("colour", "red"), "`colour`"),
        ("a nonce that is none", whole().text("nonce", "-1"), "`nonce`"),
        ("a size that is none", whole().text("volume_size", "large"), "`volume_size`"),
        ("an unknown backend", whole().text("backend", "sp2"), "`sp2`"),
        ("a name that is no text", whole().part("name", part(&[0xff])), "`name`"),
        ("a name that is too long", whole().text("name", "x".repeat(129)), "128"),
        ("a volume that FAT-16 has not", whole().text("volume_size", "1000"), "1000"),
        ("a volume over the limit", whole().text("volume_size", (1_u64 << 40).to_string()), "limit"),
    ] {
        let request = service.request(Method::POST, "/api/v1/programs").multipart(form);
        let problem = service.refuses(what, request, 400, "invalid_body").await;
        assert!(problem.detail.contains(said), "{what}: {problem}");
    }
    for (media, body) in [
        ("multipart/form-data", "--x--"),
        ("multipart/form-data; boundary=x", "no boundary in it"),
        ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"circuit\"\r\n\r\ncut off"),
    ] {
        let request = service.request(Method::POST, "/api/v1/programs").header(CONTENT_TYPE, media).body(body);
        service.refuses(&format!("{media} {body:?}"), request, 400, "invalid_body").await;
    }
}

#[tokio::test]
async fn bodies_over_the_limit() {
    let service = Service::start(&["--max-body-mib", "1"]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let path = |rest: &str| format!("/api/v1/programs/{program}{rest}");
    let large = vec![b'x'; (1 << 20) + 1];
    let json = json!({"args": "x".repeat(1 << 20)});
    let form = Form::new().part("controller", reqwest::multipart::Part::bytes(large.clone()));
    for (what, request) in [
        ("a task", service.post(&path("/tasks"), &json)),
        ("a dry run", service.post(&path("/witness"), &json)),
        ("a call", service.post(&path("/call"), &json)),
        ("a deployment", service.post("/api/v1/programs", &deployment(&large, b""))),
        ("a deployment in parts", service.request(Method::POST, "/api/v1/programs").multipart(form)),
        ("a controller", service.request(Method::PUT, &path("/controller")).body(large.clone())),
        ("a file", service.request(Method::PUT, &path("/files/a.bin")).body(large.clone())),
    ] {
        service.refuses(what, request, 413, "too_large").await;
    }
    // One byte less is taken.
    let request = service.request(Method::PUT, &path("/files/a.bin")).body(large[1..].to_vec());
    assert_eq!(request.send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn parameters_of_lists() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let task = service.submit(&program, json!({"name": "Ada"})).await;
    service.delivered(&task).await;
    for list in ["/api/v1/programs", "/api/v1/tasks"] {
        for limit in ["0", "1001", "-1", "many", ""] {
            let path = format!("{list}?limit={limit}");
            service.refuses(&path, service.request(Method::GET, &path), 400, "invalid_parameter").await;
        }
        for cursor in ["x", "p-1", "t12", "p1'--", "%00", ""] {
            let path = format!("{list}?cursor={cursor}");
            service.refuses(&path, service.request(Method::GET, &path), 400, "invalid_cursor").await;
        }
    }
    for query in ["state=asleep", "state=Failed", "program=zz", "program="] {
        let path = format!("/api/v1/tasks?{query}");
        service.refuses(&path, service.request(Method::GET, &path), 400, "invalid_parameter").await;
    }
    let events = format!("/api/v1/tasks/{task}/events");
    for query in ["after=-1", "after=x", "limit=0"] {
        let path = format!("{events}?{query}");
        service.refuses(&path, service.request(Method::GET, &path), 400, "invalid_parameter").await;
    }
    let stream = service.request(Method::GET, &events).header("accept", "text/event-stream");
    let request = stream.header("last-event-id", "yesterday");
    service.refuses("a Last-Event-ID that is none", request, 400, "invalid_parameter").await;
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let service = Service::start(&[]);
    let program = service.deploy(&hello_controller(), &hello_circuit()).await;
    let mut submitted = Vec::new();
    for _ in 0..5 {
        submitted.push(service.submit(&program, json!({"name": "Ada"})).await);
    }
    let mut listed = Vec::new();
    let mut path = "/api/v1/tasks?limit=2".to_owned();
    loop {
        let page = service.get(&path).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        listed.extend(items.iter().map(|task| task["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/tasks?limit=2&cursor={next}");
    }
    submitted.reverse();
    assert_eq!(listed, submitted, "newest first, each once");
}
