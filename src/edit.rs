//! Bytes into bytes: one value in a file is read or replaced, every other byte stays.
//!
//! **Invariant:** pure; an error names keys and lines, never a value. A form that its readers would read differently is refused and
//! not guessed at. Tested in `tests/it/dotenv.rs`, and against the readers themselves in `tests/real/dotenv_readers.rs`.

mod dotenv;
mod error;

pub use error::EditError;

use crate::model::Secret;

/// The value at a place: of one key of a `.env` file, or (`None`) the whole content.
///
/// # Errors
/// If there is not exactly one such value that every reader reads alike.
pub fn read(content: &Secret, key: Option<&str>) -> Result<Secret, EditError> {
    let Some(key) = key else { return Ok(content.duplicate()) };
    let place = dotenv::find(content.expose(), key)?;
    Ok(Secret::new(content.expose()[place.value].to_vec()))
}

/// The content with another value at that place.
///
/// # Errors
/// As [`read`], and if the new value cannot be written there so that every reader reads it back.
pub fn replace(content: &Secret, key: Option<&str>, new: &Secret) -> Result<Secret, EditError> {
    let Some(key) = key else { return Ok(new.duplicate()) };
    let before = content.expose();
    let place = dotenv::find(before, key)?;
    dotenv::check_value(new.expose(), place.quote, key, place.line)?;
    let mut after = Vec::with_capacity(before.len() + new.len());
    after.extend_from_slice(&before[..place.value.start]);
    after.extend_from_slice(new.expose());
    after.extend_from_slice(&before[place.value.end..]);
    let after = Secret::new(after);
    let back = read(&after, Some(key))?;
    assert!(back.same_as(new), "what was written is not what is read back");
    Ok(after)
}
