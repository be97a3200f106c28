//! Says in one line why a server could not be reached over HTTP, and what to mend where that is known.
//!
//! Depends on nothing of this crate. What it says holds nothing of a request, and not the address, which the error around
//! it has.

/// What the connection said; where its certificate is the matter, `mend` is what to set.
pub(crate) fn reason(error: &reqwest::Error, mend: &str) -> String {
    let mut reason = match () {
        () if error.is_timeout() => "no answer in time".to_owned(),
        () if error.is_connect() => "no connection".to_owned(),
        () => "the connection broke".to_owned(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let said = cause.to_string();
        if !reason.contains(&said) {
            reason = format!("{reason}: {said}");
        }
        source = cause.source();
    }
    if reason.contains("invalid peer certificate") {
        reason = format!("{reason}: {mend}");
    }
    reason
}
