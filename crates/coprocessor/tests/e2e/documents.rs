//! The OpenAPI document, and that it tells the truth.

use crate::{
    process::{coprocessor, run},
    service::Service,
};
use coprocessor_types::{ProgramId, TaskId};
use reqwest::Method;
use serde_json::Value;

#[tokio::test]
async fn every_route_of_the_document_answers() {
    let service = Service::start(&[]);
    let document = service.get("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let concrete = path
            .replace("{program}", &ProgramId::default().to_string())
            .replace("{task}", &TaskId::now().to_string())
            .replace("{webhook}", &TaskId::now().to_string())
            .replace("{delivery}", &TaskId::now().to_string())
            .replace("{key}", "0123456789abcdef")
            .replace("{owner}", "alice")
            .replace("{domain}", "ethereum")
            .replace("{number}", "7")
            .replace("{root}", &coprocessor_types::Root::default().to_string())
            .replace("{*path}", "a.txt")
            .replace("{path}", "a.txt");
        assert!(!concrete.contains('{'), "{path} has a parameter this test does not know");
        for method in operations.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let response = service.request(method.clone(), &concrete).send().await.unwrap();
            let status = response.status();
            assert!(!status.is_server_error(), "{method} {path}: {status}");
            let body = response.text().await.unwrap();
            let code = serde_json::from_str::<Value>(&body).map_or(Value::Null, |body| body["code"].clone());
            assert!(code != "unknown_route" && code != "method_not_allowed", "{method} {path}: {body}");
            asked += 1;
        }
    }
    assert!(asked >= 40, "{asked} operations");
}

#[tokio::test]
async fn every_problem_code_is_documented_and_keys_are_asked_for() {
    let service = Service::start(&[]);
    let document = service.get("/openapi.json").await;
    let description = document["info"]["description"].as_str().unwrap();
    for code in coprocessor_api::Code::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), code.status());
        assert!(description.contains(&row), "{row}");
    }
    assert_eq!(document["security"][0]["key"], serde_json::json!([]));
    let scheme = &document["components"]["securitySchemes"]["key"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&"http".into(), &"bearer".into()));
    // Open ones say so.
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(document["paths"][path]["get"]["security"], serde_json::json!([{}]), "{path}");
    }
    assert!(document["paths"]["/api/v1/tasks"]["get"].get("security").is_none());
}

#[tokio::test]
async fn the_document_is_the_same_without_a_service() {
    let service = Service::start(&[]);
    let mut command = coprocessor();
    command.arg("openapi");
    // It is longer than a pipe holds.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success());
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, service.get("/openapi.json").await);
}

#[tokio::test]
async fn health_and_pages() {
    let service = Service::start(&[]);
    let answer = service.request(Method::GET, "/health/live").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(service.get("/health/ready").await["status"], "ok");
    let info = service.get("/api/v1").await;
    assert_eq!(info["name"], "coprocessor");
    let page = service.request(Method::GET, "/docs/").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let mut version = coprocessor();
    version.arg("--version");
    let said = String::from_utf8(run(version).stdout).unwrap();
    assert!(said.contains(info["version"].as_str().unwrap()), "{said}");
}
