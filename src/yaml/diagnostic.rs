//! What is wrong with a file, pointed at.

use std::fmt::Write as _;

use super::Place;

/// Whether a file can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can; the operator should know.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as the operator named it.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// The keys that lead there, `targets/0/hosts`.
    pub path: String,
    /// One phrase.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line, as far as it may be shown.
    pub shown: Shown,
}

/// A line without what could be a secret in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its text; empty if nothing may be shown.
    pub text: String,
    /// Where in it the caret stands, from 1.
    pub column: usize,
}

/// All that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostic {
    /// As compilers print it.
    #[must_use]
    pub fn render(&self) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Place { line, column } = self.place;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let at = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        let mut text = format!("{word}: {at}{}\n{margin}--> {}:{line}:{column}\n", self.message, self.file);
        if !self.shown.text.is_empty() {
            let before = " ".repeat(self.shown.column - 1);
            let _infallible = write!(text, "{margin} |\n{number} | {}\n{margin} | {before}^\n", self.shown.text);
        }
        if let Some(hint) = &self.hint {
            let _infallible = writeln!(text, "{margin} = hint: {hint}");
        }
        text
    }
}

impl Diagnostics {
    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// All of them, in the order of the files.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n")
    }
}
