//! The same request through the host's own curl, where its sshd does not forward.
//!
//! **Invariant:** nothing of the request is an argument: all of it is curl's configuration, which goes to its standard input. The
//! answers mean what they mean in `http`.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::model::{Reason, ReasonKind, Secret};

use super::HttpRequest;
use super::http::{BODY_BYTES_MAX, broken_off, closed, late, no_http, too_long};

/// What is run: no `~/.curlrc`, everything from standard input.
pub const CURL: [&str; 4] = ["curl", "-q", "--config", "-"];

/// The request as curl's configuration.
///
/// # Errors
/// `probe-impossible` if it cannot be said so.
pub fn curl_config(request: &HttpRequest, limit: Duration) -> Result<Secret, Reason> {
    let values: usize = request.headers.iter().map(|(_, value)| value.len()).sum();
    // Room for all of it, so that no half of it is left where it stood before.
    let mut config = Config(Zeroizing::new(Vec::with_capacity(8 * 1024 + 2 * (request.body.len() + values))));
    let seconds = limit.as_secs_f32();
    // No proxy, no redirect, no other protocol, no globbing, nothing said on the terminal; the body goes nowhere.
    for (option, value) in [
        ("url", format!("http://{}{}", request.url, request.url.path)),
        ("proto", "=http".to_owned()),
        ("noproxy", "*".to_owned()),
        ("max-time", format!("{seconds:.3}")),
        ("max-filesize", BODY_BYTES_MAX.to_string()),
        ("output", "/dev/null".to_owned()),
        ("write-out", "%{http_code}".to_owned()),
    ] {
        config.option(option, value.as_bytes())?;
    }
    config.0.extend_from_slice(b"silent\ngloboff\npath-as-is\nhttp1.1\n");
    match request.method.as_str() {
        // curl would wait for a body that never comes.
        "HEAD" => config.0.extend_from_slice(b"head\n"),
        method => {
            config.option("request", method.as_bytes())?;
            if !request.body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
                config.option("data-raw", request.body.expose())?;
            }
        }
    }
    // What curl would add by itself is left out, as in the other way.
    for name in ["Accept", "Expect", "User-Agent", "Content-Type"] {
        if !request.has_header(name) {
            config.option("header", format!("{name}:").as_bytes())?;
        }
    }
    for (name, value) in [("Host", request.url.to_string()), ("Connection", "close".to_owned())] {
        if !request.has_header(name) {
            config.option("header", format!("{name}: {value}").as_bytes())?;
        }
    }
    for (name, value) in &request.headers {
        let mut line = Zeroizing::new(name.as_bytes().to_vec());
        // `Name:` alone would take the header away.
        line.extend_from_slice(if value.is_empty() { b";" } else { b": " });
        line.extend_from_slice(value.expose());
        if value.expose().iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err(impossible(&format!("the value of `{name}` has bytes that no header can carry")));
        }
        config.option("header", &line)?;
    }
    Ok(Secret::new(std::mem::take(&mut *config.0)))
}

/// What curl's exit status (curl(1), "EXIT CODES") and the code that it printed mean.
///
/// # Errors
/// Why that is no answer.
pub fn curl_answer(request: &HttpRequest, exit: u16, printed: &Secret, limit: Duration) -> Result<u16, Reason> {
    let printed = std::str::from_utf8(printed.expose()).unwrap_or_default().trim();
    let status = printed.parse().ok().filter(|status| *status != 0);
    let unanswered = |detail: String| Reason::new(ReasonKind::ProbeUnanswered, detail);
    match (exit, status) {
        (0, Some(status)) => Ok(status),
        (63, Some(status)) => Err(too_long(status)),
        (18 | 56, Some(status)) => Err(broken_off(status)),
        (6 | 7, _) => Err(unanswered(format!("{}: nothing listens there", request.url))),
        (28, status) => Err(late(request, status, limit)),
        (52 | 55 | 56, _) => Err(closed()),
        (1 | 8, _) => Err(no_http()),
        (exit, _) => Err(unanswered(format!("the host's curl ended with status {exit}"))),
    }
}

struct Config(Zeroizing<Vec<u8>>);

impl Config {
    /// `name = "value"`, with curl's escapes.
    fn option(&mut self, name: &str, value: &[u8]) -> Result<(), Reason> {
        if value.contains(&0) {
            return Err(impossible("it has a NUL, which curl's configuration cannot carry"));
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b" = \"");
        for byte in value {
            match byte {
                b'"' | b'\\' => self.0.extend_from_slice(&[b'\\', *byte]),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                other => self.0.push(*other),
            }
        }
        self.0.extend_from_slice(b"\"\n");
        Ok(())
    }
}

fn impossible(what: &str) -> Reason {
    Reason::new(ReasonKind::ProbeImpossible, format!("the request cannot be sent by the host's curl: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Url;

    fn config(method: &str, header: &[u8], body: &[u8]) -> Result<String, Reason> {
        let request = HttpRequest {
            method: method.to_owned(),
            url: Url::parse("http://[::1]:7801/a?b={c}").unwrap(),
            headers: vec![("x-secret".to_owned(), Secret::new(header.to_vec()))],
            body: Secret::new(body.to_vec()),
        };
        let config = curl_config(&request, Duration::from_millis(2_500))?;
        Ok(String::from_utf8(config.expose().to_vec()).unwrap())
    }

    #[test]
    fn every_byte_of_the_request_is_quoted_and_stays_on_its_line() {
        let text = config("POST", b"a\"b\\c", b"@/etc/passwd\n\"").unwrap();
        assert!(text.contains("header = \"x-secret: a\\\"b\\\\c\"\n"), "{text}");
        assert!(text.contains("data-raw = \"@/etc/passwd\\n\\\"\"\n"), "{text}");
        assert!(text.contains("url = \"http://[::1]:7801/a?b={c}\"\n") && text.contains("max-time = \"2.500\"\n"));
        assert!(config("GET", b"x", b"").unwrap().lines().all(|line| !line.starts_with("data")));
        assert!(config("GET", b"", b"").unwrap().contains("header = \"x-secret;\"\n"));
        assert!(config("HEAD", b"x", b"body").unwrap().contains("\nhead\n"));
    }

    #[test]
    fn what_would_begin_another_header_or_end_the_text_is_refused() {
        for (header, body) in [(&b"x\r\nEvil: 1"[..], &b""[..]), (b"x", b"a\0b"), (b"x\0", b"")] {
            assert_eq!(config("POST", header, body).unwrap_err().kind, ReasonKind::ProbeImpossible);
        }
    }
}
