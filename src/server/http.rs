//! `/metrics` and `/healthz`, for those who watch the broker.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::access;
use super::dispatch;
use super::http_listener;
use super::shared::Shared;
use crate::protocol::WireError;

/// Serves until the server stops.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .with_state(shared.clone());
    http_listener::serve(listener, router, shared).await;
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Err(refused) = access::may_watch(&shared, bearer(&headers)) {
        return unauthorized(&refused);
    }
    shared.observe();
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, shared.metrics.render()).into_response()
}

/// 200 while all is well, 503 when writes are refused or damage was found; the body says why, where
/// it is shown to who may see it.
async fn healthz(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let health = dispatch::health(&shared, &shared.broker());
    let is_shown = access::may_watch(&shared, bearer(&headers)).is_ok();
    let status = if health.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = if is_shown {
        serde_json::to_string(&health).unwrap_or_default()
    } else {
        format!("{{\"ok\":{}}}", health.ok)
    };
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body + "\n",
    )
        .into_response()
}

/// The key in `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn unauthorized(error: &WireError) -> Response {
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, "Bearer")],
        format!("{error}\n"),
    )
        .into_response()
}
