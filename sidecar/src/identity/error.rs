//! Why issuers cannot be used, for operators; and why a token was refused, for the debug log alone.

use std::path::PathBuf;

/// Why the settings of an issuer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {} of the issuer {provider}", path.display())]
    Unreadable {
        /// Whose.
        provider: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{} of the issuer {provider} has to hold {wanted}", path.display())]
    Content {
        /// Whose.
        provider: String,
        /// Which file.
        path: PathBuf,
        /// What it has to hold.
        wanted: &'static str,
    },
    /// No HTTP client can be made.
    #[error("the issuer {provider} cannot be asked")]
    Client {
        /// Whose.
        provider: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why an issuer's keys, or its word about a token, could not be had. It says what to do about it and repeats nothing
/// of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Nobody answered.
    #[error("{reason}")]
    Unreached {
        /// What the connection said.
        reason: String,
    },
    /// It answered with another status.
    #[error("it answered {status}: look at the address, and at what this sidecar may do there")]
    Status {
        /// Which.
        status: u16,
    },
    /// The answer is too long.
    #[error("its answer is longer than {max} bytes")]
    TooLong {
        /// What is read.
        max: usize,
    },
    /// The answer is not what was asked for.
    #[error("it gave no {wanted}: look at the address")]
    Content {
        /// What was asked for.
        wanted: &'static str,
    },
    /// The discovery document is another issuer's.
    #[error(
        "its discovery document names another issuer: set `issuer` to the one that it names, to the letter"
    )]
    OtherIssuer,
    /// A file that is sent, or that holds the keys, cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
    },
}

/// Why a token was refused. It is told to nobody but the debug log, and holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Long,
    Form,
    Header,
    Critical,
    Type,
    Algorithm,
    Claims,
    Issuer,
    Audience,
    Subject,
    Expired,
    TooEarly,
    Lifetime,
    Pod,
    Groups,
    /// No key of that id, and none came by asking.
    UnknownKey,
    /// The issuer's keys are too old, or were never had.
    NoKeys,
    Signature,
    /// The API server did not vouch for it, or could not be asked.
    Review,
    /// Too many wait for an issuer.
    Busy,
}

impl Refusal {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Long => "it is too long",
            Self::Form => "it is not three parts in base64url",
            Self::Header => "its header is not one object with `alg` and at most one of each name",
            Self::Critical => "its header has `crit`",
            Self::Type => "its `typ` is another",
            Self::Algorithm => "its algorithm is not the key's, or none that is taken",
            Self::Claims => "its claims are not one object with what is needed in it",
            Self::Issuer => "no such issuer is configured",
            Self::Audience => "it is for another audience",
            Self::Subject => "its subject cannot be a caller's name",
            Self::Expired => "it has expired",
            Self::TooEarly => "it is not valid yet",
            Self::Lifetime => "it is valid for longer than is taken",
            Self::Pod => "it is another pod's, or bound to none",
            Self::Groups => "its groups cannot be roles, or are too many or elsewhere",
            Self::UnknownKey => "no key of the issuer has its `kid`",
            Self::NoKeys => "the issuer's keys are not there, or too old",
            Self::Signature => "its signature is not one of the key's",
            Self::Review => "the API server does not vouch for it, or does not answer",
            Self::Busy => "too many wait for the issuer",
        }
    }
}
