//! HTTP: routes, documents, and what happens around every request.

mod auth;
mod controllers;
mod domains;
mod events;
mod extract;
mod files;
mod keys;
mod owners;
mod problem;
mod programs;
mod provers;
mod rates;
mod roots;
mod runs;
mod tasks;
mod verify;
mod webhooks;
mod wellness;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    middleware::from_fn_with_state,
    response::IntoResponse,
};
use coprocessor_api::{Code, Problem};
use coprocessor_engine::Engine;
use std::{any::Any, fmt::Write, sync::Arc};
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use problem::Failure;

pub(crate) use auth::Gate;

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) engine: Engine,
    gate: Arc<Gate>,
    stopping: Stopping,
}

/// Cancelled when the service is told to stop: whoever waits for something ends then.
#[derive(Clone)]
pub(crate) struct Stopping(CancellationToken);

impl FromRef<Service> for Engine {
    fn from_ref(service: &Service) -> Self {
        service.engine.clone()
    }
}

impl FromRef<Service> for Stopping {
    fn from_ref(service: &Service) -> Self {
        service.stopping.clone()
    }
}

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
        (name = "domains", description = "The chains that roots commit to, and their blocks"),
        (name = "roots", description = "What proofs are bound to: roots, openings, transitions"),
        (name = "proofs", description = "Verification"),
        (name = "webhooks", description = "Events sent to where an owner wants them"),
        (name = "keys", description = "API keys"),
        (name = "owners", description = "What each owner may use"),
        (name = "service", description = "Prover nodes, health, storage"),
    ),
    components(schemas(Problem)),
    security(("key" = [])),
    modifiers(&Key, &Codes)
)]
struct Document;

/// The way callers say who they are.
struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("cpk_<id>_<secret>".to_owned());
        scheme.description = Some(
            "An API key. A service where no key was ever made takes requests without, from its own machine.".to_owned(),
        );
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// The table of problem codes.
struct Codes;

impl Modify for Codes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut text = document.info.description.take().unwrap_or_default();
        text.push_str(
            "\n\nRequests that change something (`POST`, `PUT`, `PATCH`, `DELETE`) count against their owner's rate: answers carry \
             `RateLimit-Policy` and `RateLimit`, and a refusal `Retry-After`.\n\n| code | status | meaning |\n|---|---|---|\n",
        );
        for code in Code::ALL {
            let _ = writeln!(text, "| `{}` | {} | {} |", code.as_str(), code.status(), code.title());
        }
        text.push_str("\nA guest that fails gives 422 with a code of its own, such as `out_of_fuel`, and its log.");
        document.info.description = Some(text);
    }
}

/// Routes that take no key.
fn open_routes() -> OpenApiRouter<Service> {
    OpenApiRouter::with_openapi(Document::openapi()).routes(routes!(wellness::live)).routes(routes!(wellness::ready))
}

/// Routes behind the gate.
fn gated_routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(wellness::service_info))
        .routes(routes!(wellness::storage))
        .routes(routes!(programs::deploy, programs::list))
        .routes(routes!(programs::show, programs::delete))
        .routes(routes!(controllers::show, controllers::set))
        .routes(routes!(controllers::versions))
        .routes(routes!(controllers::rollback))
        .routes(routes!(programs::circuit))
        .routes(routes!(programs::verifying_key))
        .routes(routes!(runs::witness))
        .routes(routes!(runs::execute))
        .routes(routes!(runs::call))
        .routes(routes!(tasks::submit))
        .routes(routes!(tasks::list))
        .routes(routes!(tasks::show, tasks::cancel))
        .routes(routes!(events::events))
        .routes(routes!(events::owner_events))
        .routes(routes!(tasks::proof))
        .routes(routes!(tasks::recording))
        .routes(routes!(tasks::retry))
        .routes(routes!(files::root))
        .routes(routes!(files::read, files::write, files::rename, files::remove))
        .routes(routes!(files::image, files::replace_image))
        .routes(routes!(files::volume))
        .routes(routes!(files::raw, files::set_raw))
        .routes(routes!(domains::add, domains::list))
        .routes(routes!(domains::show))
        .routes(routes!(domains::controller, domains::set_controller))
        .routes(routes!(domains::append, domains::blocks))
        .routes(routes!(domains::prove_state))
        .routes(routes!(domains::block))
        .routes(routes!(domains::latest))
        .routes(routes!(roots::list))
        .routes(routes!(roots::current))
        .routes(routes!(roots::transitions))
        .routes(routes!(roots::show))
        .routes(routes!(roots::opening))
        .routes(routes!(roots::instance))
        .routes(routes!(verify::verify))
        .routes(routes!(provers::list, provers::add, provers::remove))
        .routes(routes!(webhooks::add, webhooks::list))
        .routes(routes!(webhooks::show, webhooks::remove))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::whoami))
        .routes(routes!(owners::list))
        .routes(routes!(owners::show, owners::set))
}

impl Service {
    /// A service over an engine, which ends what waits when `stopping` is cancelled.
    pub(crate) fn new(engine: Engine, gate: Gate, stopping: CancellationToken) -> Self {
        Self { engine, gate: Arc::new(gate), stopping: Stopping(stopping) }
    }

    /// All of its routes.
    pub(crate) fn router(self, max_body: u64) -> Router {
        let gated = gated_routes().route_layer(from_fn_with_state(self.clone(), auth::gate));
        let (router, document) = open_routes().merge(gated).split_for_parts();
        let max_body = usize::try_from(max_body).unwrap_or(usize::MAX);
        let router = router
            .merge(utoipa_swagger_ui::SwaggerUi::new("/docs").url("/openapi.json", document))
            .route("/", axum::routing::get(|| async { axum::response::Redirect::temporary("/docs/") }))
            .fallback(unknown_route)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(DefaultBodyLimit::max(max_body))
            .layer(CatchPanicLayer::custom(panicked));
        // Costs time with every request, and says nothing unless asked.
        let router = if tracing::enabled!(tracing::Level::DEBUG) {
            router.layer(TraceLayer::new_for_http().make_span_with(span).on_response(()).on_failure(()))
        } else {
            router
        };
        router.with_state(self)
    }
}

/// The OpenAPI document.
pub(crate) fn openapi_json() -> String {
    let document = open_routes().merge(gated_routes()).split_for_parts().1;
    document.to_pretty_json().unwrap_or_else(|error| unreachable!("a document is JSON: {error}"))
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

/// Method and path; never the query or the headers, which may hold what is nobody's business.
fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    tracing::debug_span!("http", method = %request.method(), path = request.uri().path())
}
