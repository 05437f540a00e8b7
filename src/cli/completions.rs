//! `completions` and `man`.

use super::{Args, CliError, Exit, say};

/// `completions`.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command_line(), "lockturn", &mut script);
    say::out(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}

/// `man`: the page of the command and of each verb, one after the other.
pub(super) fn man() -> Result<Exit, CliError> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command_line())
        .render(&mut page)
        .map_err(|error| CliError::new(Exit::Bug, format!("the manual page cannot be written: {error}")))?;
    say::out(&String::from_utf8_lossy(&page));
    Ok(Exit::Done)
}
