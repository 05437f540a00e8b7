//! One JSON object a line: `{"v":1,"at_ms":…,"elapsed_ms":…,"event":"step-done","data":{…}}`.
//!
//! A command that could not do its work says so in one more, the last: `{"v":1,"event":"error","data":{"exit":5,"message":…,"hints":[…]}}`.
//! It is no fact of a run, so it has no time and is in no ledger.

use std::io::Write;

use serde_json::json;

use crate::model::{EVENT_VERSION, Entry};

use super::Reporter;

/// Speaks to machines.
pub struct Json<W> {
    out: W,
    silent: bool,
}

impl<W: Write> Json<W> {
    /// Speaks there.
    pub const fn new(out: W) -> Self {
        Self { out, silent: false }
    }
}

impl<W: Write + Send> Reporter for Json<W> {
    fn entry(&mut self, entry: &Entry) {
        if self.silent {
            return;
        }
        // The outer name of an enum is its word already; what is inside is the data.
        let event = serde_json::to_value(&entry.event).expect("an event has only string keys");
        let data = event.as_object().and_then(|fields| fields.values().next().cloned()).unwrap_or(json!({}));
        let line = json!({
            "v": EVENT_VERSION,
            "at_ms": entry.at_unix.0,
            "elapsed_ms": entry.elapsed.0,
            "event": entry.event.label(),
            "data": data,
        });
        self.silent = writeln!(self.out, "{line}").and_then(|()| self.out.flush()).is_err();
    }
}
