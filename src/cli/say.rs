//! Printing that survives a closed pipe: a reader that has gone away is no error.

use std::io::Write as _;

/// Data, to standard output.
pub(super) fn out(text: &str) {
    let _reader_may_be_gone = std::io::stdout().write_all(text.as_bytes());
}

/// Everything else, to standard error.
pub(super) fn err(text: &str) {
    let _reader_may_be_gone = std::io::stderr().write_all(text.as_bytes());
}
