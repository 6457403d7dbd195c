//! `/metrics` and `/healthz`, for those who watch the broker.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::dispatch;
use super::http_listener;
use super::shared::Shared;

/// Serves until the server stops.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .with_state(shared.clone());
    http_listener::serve(listener, router, shared).await;
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    shared.observe();
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, shared.metrics.render()).into_response()
}

/// 200 while all is well, 503 when writes are refused or damage was found; the body says why.
async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let health = dispatch::health(&shared, &shared.broker());
    let status = if health.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::to_string(&health).unwrap_or_default();
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body + "\n",
    )
        .into_response()
}
