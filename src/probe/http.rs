//! One HTTP/1.1 request over any stream, usually one that SSH forwards to the host's own loopback.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::model::{Reason, ReasonKind, Secret};

use super::Url;

/// The longest body of an answer. It is thrown away; more than this is a download, and not a page that says how a service is.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;

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

impl HttpRequest {
    /// Whether the playbook has this header itself.
    pub(super) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(has, _)| has.eq_ignore_ascii_case(name))
    }
}

/// Sends it and waits for the whole answer: a status line without its body is no answer. Redirects are answers like all others.
///
/// # Errors
/// `probe-unanswered` if no whole answer came in time, `probe-unexpected` if it is no HTTP answer or has no end, `probe-impossible`
/// if the request cannot be sent as it is.
pub async fn request<S>(stream: S, request: &HttpRequest, deadline: Duration) -> Result<u16, Reason>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ready = build(request)?;
    let mut status = None;
    let talk = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        // Ends with us, whatever the service does: a stream that nobody reads would hold up the whole connection.
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let answer = sender.send_request(ready).await.map_err(|error| failed(&error))?;
        let code = *status.insert(answer.status().as_u16());
        read_away(answer.into_body(), code).await?;
        Ok(code)
    };
    let ended = timeout(deadline, talk).await;
    ended.unwrap_or_else(|_| Err(late(request, status, deadline)))
}

async fn read_away(mut body: Incoming, status: u16) -> Result<(), Reason> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.map_err(|_| broken_off(status))?.data_ref().map_or(0, Bytes::len);
        if bytes > BODY_BYTES_MAX {
            return Err(too_long(status));
        }
    }
    Ok(())
}

fn failed(error: &hyper::Error) -> Reason {
    if error.is_parse() { no_http() } else { closed() }
}

/// The service took the request and said nothing.
pub(super) fn closed() -> Reason {
    Reason::new(ReasonKind::ProbeUnanswered, "the service closed the connection without an answer")
}

/// What answers is not a web server, or says more than one may before its answer begins.
pub(super) fn no_http() -> Reason {
    Reason::new(ReasonKind::ProbeUnexpected, "what answers there does not speak HTTP/1 as we know it")
}

pub(super) fn broken_off(status: u16) -> Reason {
    Reason::new(ReasonKind::ProbeUnanswered, format!("it began to answer {status}, and broke off"))
}

pub(super) fn too_long(status: u16) -> Reason {
    Reason::new(ReasonKind::ProbeUnexpected, format!("it answers {status} with more than 1 MiB"))
}

pub(super) fn late(request: &HttpRequest, status: Option<u16>, limit: Duration) -> Reason {
    let what = status.map_or_else(|| "no answer".to_owned(), |status| format!("no end of the answer {status}"));
    let detail = format!("{what} from {} within {} s", request.url, limit.as_secs_f32());
    Reason::new(ReasonKind::ProbeUnanswered, detail)
}

fn build(request: &HttpRequest) -> Result<hyper::Request<Full<Bytes>>, Reason> {
    let impossible =
        |what: &str| Reason::new(ReasonKind::ProbeImpossible, format!("the request cannot be sent: {what}"));
    let body = Full::new(Bytes::copy_from_slice(request.body.expose()));
    let mut builder = hyper::Request::builder().method(request.method.as_str()).uri(request.url.path.as_str());
    for (name, value) in [("host", request.url.to_string()), ("connection", "close".to_owned())] {
        if !request.has_header(name) {
            builder = builder.header(name, value);
        }
    }
    for (name, value) in &request.headers {
        let mut value = HeaderValue::from_bytes(value.expose())
            .map_err(|_| impossible(&format!("the value of `{name}` has bytes that no header can carry")))?;
        value.set_sensitive(true);
        builder = builder.header(name.as_str(), value);
    }
    builder.body(body).map_err(|_| impossible("its method or a header's name is not one"))
}
