//! Turns what went wrong into one line and an exit code.
//!
//! Depends on [`super::output`]. An error without a [`Failure`] in its chain is a failed operation: code 1.

use std::process::ExitCode;

use super::output;

/// A failure with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Failure {
    /// Code 2: the arguments do not fit together, or do not fit what is there.
    #[error("{0}")]
    Usage(String),
    /// Code 78, EX_CONFIG: there is no usable setting for where the sidecar or its token is.
    #[error("{0}")]
    Configuration(String),
    /// Code 1: the sidecar cannot be reached, so that the next file would fare no better.
    #[error("{0}")]
    Unreachable(String),
    /// Code 1, and everything has been said already.
    #[error("some of it failed")]
    Reported,
    /// Code 141, as if SIGPIPE had ended it: whoever read the output has gone. Nothing is said.
    #[error("standard output is closed")]
    StdoutClosed,
    /// Code 128 and the signal's number. Nothing is said.
    #[error("ended by a signal")]
    Signal(u8),
}

impl Failure {
    /// Wrong usage, in these words.
    pub(super) fn usage(text: impl Into<String>) -> anyhow::Error {
        Self::Usage(text.into()).into()
    }

    /// A wrong configuration, in these words.
    pub(super) fn configuration(text: impl Into<String>) -> anyhow::Error {
        Self::Configuration(text.into()).into()
    }

    /// A wrong configuration, with the chain of its causes.
    pub(super) fn of_configuration(
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> anyhow::Error {
        Self::configuration(format!("{:#}", anyhow::Error::from(error)))
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Configuration(_) => 78,
            Self::Unreachable(_) | Self::Reported => 1,
            Self::StdoutClosed => 141,
            Self::Signal(number) => 128_u8.saturating_add(*number),
        }
    }

    fn is_quiet(&self) -> bool {
        matches!(self, Self::Reported | Self::StdoutClosed | Self::Signal(_))
    }
}

/// Whether `error` should end a command that could go on with its next file.
pub(super) fn ends_everything(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<Failure>();
    match failure {
        None | Some(Failure::Usage(_) | Failure::Reported) => false,
        Some(
            Failure::StdoutClosed
            | Failure::Signal(_)
            | Failure::Configuration(_)
            | Failure::Unreachable(_),
        ) => true,
    }
}

/// Writes `error` to standard error, unless it is one of the quiet ones, and returns its exit code.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    let failure = error.downcast_ref::<Failure>();
    if !failure.is_some_and(Failure::is_quiet) {
        output::note(&format!("keypod: {error:#}"));
    }
    ExitCode::from(failure.map_or(1, Failure::code))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_exit_code_survives_added_context() {
        let error = Err::<(), _>(Failure::configuration("no token")).context("a.txt").unwrap_err();
        assert_eq!(report(&error), ExitCode::from(78));
        assert!(ends_everything(&error));
        assert_eq!(report(&anyhow::anyhow!("anything else")), ExitCode::from(1));
        assert_eq!(report(&Failure::Signal(2).into()), ExitCode::from(130));
    }
}
