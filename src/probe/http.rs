//! One HTTP/1.1 request over any stream, usually one that SSH forwards to the host's own loopback.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::model::{Reason, ReasonKind, Secret};

use super::Url;

/// How much of an answer's body is read: a health page, not a download.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A request with nothing left open.
pub struct HttpRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// Where.
    pub url: Url,
    /// Names and rendered values.
    pub headers: Vec<(String, Secret)>,
    /// The rendered body.
    pub body: Secret,
}

/// Sends it and waits for the whole answer: a status line without its body is no answer.
///
/// # Errors
/// `probe-unanswered` if nothing came in time, `probe-impossible` if the request cannot be sent as it is.
pub async fn request<S>(stream: S, request: &HttpRequest, deadline: Duration) -> Result<u16, Reason>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ready = build(request)?;
    let unanswered = |detail: String| Reason::new(ReasonKind::ProbeUnanswered, detail);
    let talk = async {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unanswered(format!("no HTTP: {error}")))?;
        let driver = tokio::spawn(connection);
        let answer = async {
            let answer = sender.send_request(ready).await.map_err(|error| unanswered(format!("no answer: {error}")))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
            body.map_err(|_| unanswered(format!("{status}, but its body broke off or is longer than 64 KiB")))?;
            Ok(status)
        };
        let answer = answer.await;
        driver.abort();
        answer
    };
    timeout(deadline, talk).await.unwrap_or_else(|_| {
        Err(unanswered(format!("no answer from {} within {} s", request.url, deadline.as_secs_f32())))
    })
}

fn build(request: &HttpRequest) -> Result<hyper::Request<Full<Bytes>>, Reason> {
    let impossible =
        |what: &str| Reason::new(ReasonKind::ProbeImpossible, format!("the request cannot be sent: {what}"));
    let body = Full::new(Bytes::copy_from_slice(request.body.expose()));
    let mut builder = hyper::Request::builder()
        .method(request.method.as_str())
        .uri(request.url.path.as_str())
        .header("host", request.url.to_string())
        .header("connection", "close");
    for (name, value) in &request.headers {
        let mut value = HeaderValue::from_bytes(value.expose())
            .map_err(|_| impossible(&format!("the value of `{name}` has bytes that no header can carry")))?;
        value.set_sensitive(true);
        builder = builder.header(name.as_str(), value);
    }
    builder.body(body).map_err(|_| impossible("its method or a header's name is not one"))
}
