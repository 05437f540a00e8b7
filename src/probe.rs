//! Checks of a running service: what to send, how to send it from the host itself, and what the answers mean.
//!
//! **Invariant:** no redirects, no proxies, every answer bounded. Tested beside the code and, on real hosts, in
//! `tests/real/sshd/probes.rs`.

mod curl;
mod http;
mod judge;

pub use crate::model::Url;
pub use crate::template::{Context, render};
pub use curl::{CURL, curl_answer, curl_config};
pub use http::{HttpRequest, request};
pub use judge::{Direction, Judged, Stability, Streak, judge};
