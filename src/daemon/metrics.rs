//! Tells the daemon's counters over HTTP (`GET /metrics`), on loopback or a unix socket, where the configuration asks
//! for it. Few connections, each for one short answer; never on a pull's path, and nothing that is decided rests on it.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::config::Listen;
use crate::limits;
use crate::metrics::Metrics;

/// The endpoint, as the configuration wants it.
pub(super) struct Endpoint {
    metrics: Arc<Metrics>,
    serving: Option<(Listen, JoinHandle<()>)>,
}

impl Endpoint {
    /// None yet.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, serving: None }
    }

    /// Listens where it should, and nowhere else.
    pub(super) fn follow(&mut self, listen: Option<&Listen>) {
        if self.serving.as_ref().map(|(listen, _)| listen) == listen {
            return;
        }
        if let Some((_, serving)) = self.serving.take() {
            serving.abort();
        }
        self.serving = listen.map(|listen| {
            let serving = tokio::spawn(serve(listen.clone(), Arc::clone(&self.metrics)));
            (listen.clone(), serving)
        });
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.follow(None);
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

async fn serve(listen: Listen, metrics: Arc<Metrics>) {
    let listener = bind_until_it_works(&listen).await;
    let seats = Arc::new(Semaphore::new(limits::METRICS_CONNECTIONS));
    // Dropped with this future, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let metrics = Arc::clone(&metrics);
        match &listener {
            Listener::Tcp(listener) => match listener.accept().await {
                Ok((stream, _)) => drop(connections.spawn(async move {
                    answer(stream, metrics).await;
                    drop(seat);
                })),
                Err(_) => sleep(limits::METRICS_TIMEOUT).await,
            },
            Listener::Unix(listener) => match listener.accept().await {
                Ok((stream, _)) => drop(connections.spawn(async move {
                    answer(stream, metrics).await;
                    drop(seat);
                })),
                Err(_) => sleep(limits::METRICS_TIMEOUT).await,
            },
        }
    }
}

/// Tells once why it cannot listen, and tries again now and then: whoever has the place may go.
async fn bind_until_it_works(listen: &Listen) -> Listener {
    let shown = match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    };
    let mut told = false;
    loop {
        match bind(listen).await {
            Ok(listener) => {
                info!(listen = shown, "metrics");
                return listener;
            }
            Err(error) if !told => {
                told = true;
                warn!(listen = shown, "metrics are told nowhere: {error}");
            }
            Err(_) => {}
        }
        sleep(limits::METRICS_TIMEOUT).await;
    }
}

async fn bind(listen: &Listen) -> io::Result<Listener> {
    match listen {
        Listen::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
        Listen::Unix(path) => {
            let path: PathBuf = path.clone();
            let bound = tokio::task::spawn_blocking(move || super::bind(&path)).await.map_err(io::Error::other)??;
            bound.set_nonblocking(true)?;
            UnixListener::from_std(bound).map(Listener::Unix)
        }
    }
}

/// One request, within [`limits::METRICS_TIMEOUT`].
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, metrics: Arc<Metrics>) {
    let service = service_fn(|request| {
        let response = respond(&request, &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::METRICS_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever goes away or is too slow gets no answer; there is nobody to tell.
    let _ = timeout(limits::METRICS_TIMEOUT, connection).await;
}

fn respond(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let bare = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return bare(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Ok(text) = metrics.text() else { return bare(StatusCode::INTERNAL_SERVER_ERROR) };
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(OPEN_METRICS));
    response
}

/// OpenMetrics 1.0, "Content Type".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
