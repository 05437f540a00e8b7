//! The one form of URL that a probe takes: `http://HOST[:PORT]/PATH`.

use std::fmt;

/// Where a probe goes, as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Name or address; a v6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, as a phrase.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or_else(|| {
            if text.starts_with("https://") {
                "`https` is not spoken by http probes; use a `command` probe with curl".to_owned()
            } else {
                "a probe's URL begins with `http://`".to_owned()
            }
        })?;
        if text.contains(|c: char| c.is_control() || c == ' ' || !c.is_ascii()) {
            return Err("a URL has no blanks, control characters or letters beyond ASCII".to_owned());
        }
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        // Before anything of it is repeated: what stands before the `@` may be a password.
        if authority.contains('@') {
            return Err("a URL names a host, and no user".to_owned());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or("the `[` of the address is never closed")?;
                (host, after.strip_prefix(':'))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(80), |port| port.parse().map_err(|_| "a URL's port is a number".to_owned()))?;
        if host.is_empty() {
            return Err("a URL names a host".to_owned());
        }
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }
}

/// Host and port as the `Host` header has them.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_host_port_and_path_and_nothing_else() {
        let parts = |text| Url::parse(text).map(|url| (url.to_string(), url.path));
        assert_eq!(parts("http://127.0.0.1:7801/a?b=c"), Ok(("127.0.0.1:7801".into(), "/a?b=c".into())));
        assert_eq!(parts("http://[::1]:1"), Ok(("[::1]:1".into(), "/".into())));
        assert_eq!(parts("http://h/"), Ok(("h:80".into(), "/".into())));
        for bad in [
            "https://h/",
            "ftp://h",
            "http://",
            "http://u@h/",
            "http://h:x/",
            "http://[::1/",
            "http://h/a b",
            "http://h/\r\nX: y",
        ] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }
}
