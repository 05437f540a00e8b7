//! The services' HTTP interfaces, answered inside the process over a forwarded SSH channel.
//!
//! **Invariant:** no socket is opened: nothing but a holder of the client key reaches a service.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

use super::create::Role;
use super::running::Host;
use super::service::{Service, Signed};

/// Longer bodies are refused, as the real service does.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Serves one connection until its end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(host: Arc<Host>, stream: S) {
    let service = service_fn(move |request| answer(Arc::clone(&host), request));
    // An error here is the client's hanging up: nobody is left to tell.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(host: Arc<Host>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let (status, text) = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            // The control plane reads its database: not on a thread that others wait for.
            let work = move || route(&mut host.service(), &parts, &body, Timestamp::now());
            tokio::task::spawn_blocking(work).await.unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, String::new()))
        }
        Err(_) => error(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE"),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}

type Answer = (StatusCode, String);

fn error(status: StatusCode, word: &str) -> Answer {
    (status, format!("{{\"error\":\"{word}\"}}"))
}

fn route(service: &mut Service, parts: &hyper::http::request::Parts, body: &[u8], now: Timestamp) -> Answer {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let path = parts.uri.path();
    match (service.role(), &parts.method, path) {
        (Role::Worker, &Method::GET, "/worker/health") => {
            let uptime = service.uptime(now).unwrap_or_default();
            (StatusCode::OK, format!("{{\"status\":\"ok\",\"uptime_seconds\":{uptime},\"active_tasks\":0}}"))
        }
        (Role::ControlPlane, &Method::GET, "/ops/stats") => {
            if header("x-os-secret").is_some_and(|shown| service.takes_os_secret(shown)) {
                (StatusCode::OK, "{\"status\":\"ok\"}".to_owned())
            } else {
                error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED")
            }
        }
        (Role::Worker, &Method::POST, "/worker/dispatch")
        | (Role::ControlPlane, &Method::POST, "/ops/worker/completion" | "/ops/worker/ipc") => {
            let signed = Signed {
                worker: header("x-worker-id"),
                timestamp: header("x-worker-timestamp"),
                request_id: header("x-worker-requestid"),
                hmac: header("x-worker-hmac"),
            };
            match service.check(&signed, body, now) {
                Err(word) => error(StatusCode::UNAUTHORIZED, word),
                Ok(()) if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() => {
                    error(StatusCode::BAD_REQUEST, "INVALID_JSON")
                }
                Ok(()) => (StatusCode::OK, "{\"status\":\"accepted\"}".to_owned()),
            }
        }
        _ => error(StatusCode::NOT_FOUND, "NOT_FOUND"),
    }
}
