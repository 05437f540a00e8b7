//! Checks of a running service: what to send, how to send it from the host itself, and what the answers mean.
//!
//! **Invariant:** a template never holds a value: it holds a mark that is replaced in bytes afterwards. No redirects, no proxies,
//! every answer bounded. Tested beside the code.

mod curl;
mod http;
mod judge;
mod template;
mod url;

pub use curl::{CURL, curl_answer, curl_config};
pub use http::{HttpRequest, request};
pub use judge::{Direction, Judged, Stability, Streak, judge};
pub use template::{Context, check_template, render};
pub use url::Url;
