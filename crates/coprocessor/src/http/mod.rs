//! HTTP: routes, documents, and what happens around every request.

mod events;
mod extract;
mod files;
mod problem;
mod programs;
mod provers;
mod roots;
mod runs;
mod tasks;
mod verify;
mod wellness;

use axum::{Router, extract::DefaultBodyLimit, response::IntoResponse};
use coprocessor_api::{Code, Problem};
use coprocessor_engine::Engine;
use std::any::Any;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use problem::Failure;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Coprocessor",
        description = "Registers guest programs and proves them. Errors are RFC 9457 `application/problem+json` with a \
                       stable `code`. Ids are hexadecimal, bytes base64, times RFC 3339.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "programs", description = "Guest programs: a controller, a circuit, a volume"),
        (name = "tasks", description = "Proof requests and what becomes of them"),
        (name = "files", description = "A program's FAT-16 volume"),
        (name = "proofs", description = "Verification"),
        (name = "service", description = "Roots, prover nodes, health"),
    ),
    components(schemas(Problem))
)]
struct Document;

fn routes() -> OpenApiRouter<Engine> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(wellness::service_info))
        .routes(routes!(wellness::live))
        .routes(routes!(wellness::ready))
        .routes(routes!(programs::deploy, programs::list))
        .routes(routes!(programs::show, programs::delete))
        .routes(routes!(programs::controller, programs::set_controller))
        .routes(routes!(programs::circuit))
        .routes(routes!(programs::verifying_key))
        .routes(routes!(runs::witness))
        .routes(routes!(runs::execute))
        .routes(routes!(runs::call))
        .routes(routes!(tasks::submit))
        .routes(routes!(tasks::list))
        .routes(routes!(tasks::show, tasks::cancel))
        .routes(routes!(events::events))
        .routes(routes!(tasks::proof))
        .routes(routes!(tasks::retry))
        .routes(routes!(files::root))
        .routes(routes!(files::read, files::write, files::remove))
        .routes(routes!(files::image))
        .routes(routes!(roots::current))
        .routes(routes!(verify::verify))
        .routes(routes!(provers::list, provers::add, provers::remove))
}

/// The whole service over an engine.
pub(crate) fn router(engine: Engine, max_body: u64) -> Router {
    let (router, document) = routes().split_for_parts();
    let max_body = usize::try_from(max_body).unwrap_or(usize::MAX);
    router
        .merge(utoipa_swagger_ui::SwaggerUi::new("/docs").url("/openapi.json", document))
        .route("/", axum::routing::get(|| async { axum::response::Redirect::temporary("/docs/") }))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(max_body))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(TraceLayer::new_for_http().make_span_with(span).on_response(()).on_failure(()))
        .with_state(engine)
}

/// The OpenAPI document.
pub(crate) fn openapi_json() -> String {
    routes().split_for_parts().1.to_pretty_json().unwrap_or_else(|error| unreachable!("a document is JSON: {error}"))
}

async fn unknown_route(uri: axum::http::Uri) -> Failure {
    Failure::new(Code::UnknownRoute, format!("there is no {}; /openapi.json lists what there is", uri.path()))
}

async fn method_not_allowed(method: axum::http::Method, uri: axum::http::Uri) -> Failure {
    Failure::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}

#[allow(clippy::needless_pass_by_value)] // The layer's signature.
fn panicked(panic: Box<dyn Any + Send>) -> axum::response::Response {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Failure::internal(&format!("a handler panicked: {said}")).into_response()
}

/// Method and path; never the query, which may hold what is nobody's business.
fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    tracing::debug_span!("http", method = %request.method(), path = request.uri().path())
}
