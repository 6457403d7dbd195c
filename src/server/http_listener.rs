//! Connections to `/metrics` and `/healthz`: few, short-lived, and a newcomer is always served.
//!
//! A client that sends nothing, or a little now and then, holds one of a few places for a few
//! seconds; when all are taken the oldest makes way. So whoever watches the broker is answered,
//! however many others hold on to their connections.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::entrance::{self, LastWords};
use super::shared::Shared;

/// Most connections at once.
const MAX_CONNECTIONS: usize = 64;

/// The head of a request is whole within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection ends after this long, whatever it does.
const LIFETIME: Duration = Duration::from_secs(60);

/// What is under way at the end may take this long.
const LAST: Duration = Duration::from_secs(1);

/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Accepts until the server stops, then waits for what is under way.
pub(super) async fn serve(listener: TcpListener, router: Router, shared: Arc<Shared>) {
    let stop = &shared.stop;
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if open.len() >= MAX_CONNECTIONS {
            open.retain(|task| !task.is_finished());
        }
        while open.len() >= MAX_CONNECTIONS {
            if let Some(oldest) = open.pop_front() {
                oldest.abort();
            }
        }
        open.push_back(tasks.spawn(answer(socket, router.clone(), shared.clone())));
    }
    while tasks.join_next().await.is_some() {}
}

/// What is said in plain HTTP to a client that speaks TLS, or does not, to the wrong port.
fn last_words() -> LastWords {
    let answer = |text: &str| {
        let length = text.len();
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close";
        format!("{head}\r\nContent-Length: {length}\r\n\r\n{text}").into_bytes()
    };
    LastWords {
        tls_required: answer("this port speaks only TLS: use https://\n"),
        tls_unavailable: answer("this port speaks without TLS: use http://\n"),
    }
}

async fn answer(socket: TcpStream, router: Router, shared: Arc<Shared>) {
    let tls = shared.tls.as_ref().map(|tls| tls.http());
    let Some(socket) = entrance::enter(&shared, socket, tls, last_words).await else {
        return;
    };
    let stop = &shared.stop;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = wait(stop) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(LAST, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

/// Waits until a connection has to end.
async fn wait(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LIFETIME) => {}
    }
}
