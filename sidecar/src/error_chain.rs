//! Spells an error with all that caused it, for the log. Depends on nothing.

use std::error::Error;

/// `error: its cause: the cause of that`.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
