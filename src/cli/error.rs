//! A command that could not do its work: what is true now, and what to do next.

use crate::model::EVENT_VERSION;

use super::Exit;

/// Why a command ended early.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// One phrase or a rendered list of diagnostics, without a leading `error:` where `rendered`.
    pub message: String,
    /// Whether the message is already laid out for the screen.
    pub rendered: bool,
    /// What to do next, each a command to paste or a short sentence.
    pub hints: Vec<String>,
}

impl CliError {
    /// An error of one phrase.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), rendered: false, hints: Vec::new() }
    }

    /// An error whose text is laid out already.
    pub fn rendered(exit: Exit, message: impl Into<String>) -> Self {
        Self { rendered: true, ..Self::new(exit, message) }
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// As one event, for `--output json`.
    #[must_use]
    pub fn json(&self) -> String {
        let Self { exit, message, hints, .. } = self;
        let message = message.strip_prefix("error: ").unwrap_or(message).trim_end();
        let data = serde_json::json!({"exit": exit.code(), "message": message, "hints": hints});
        format!("{}\n", serde_json::json!({"v": EVENT_VERSION, "event": "error", "data": data}))
    }

    /// As it is printed to standard error.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = if self.rendered { self.message.clone() } else { format!("error: {}", self.message) };
        for hint in &self.hints {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }
}
