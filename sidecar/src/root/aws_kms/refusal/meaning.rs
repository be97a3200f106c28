//! What an error code of AWS's means for the keys in memory. Depends on nothing.
//!
//! What passes by itself is served through; what does not ends the use of a key at once. So a code is taken for
//! passing only if AWS documents it so, and one that is not known here is not.

/// What an answer with an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Too many calls.
    Throttled,
    /// KMS, or what the key depends on, does not work now.
    Away,
    /// Not an error of AWS's: something between answered.
    Foreign,
    /// The credentials have expired, and new ones will do.
    Expired,
    /// This machine's clock is wrong.
    Clock,
    /// No policy lets this caller use the key.
    Denied,
    /// AWS does not know the caller.
    NotKnown,
    /// The key is disabled, or will be deleted, or has no material.
    Gone,
    /// There is no such key here.
    NotFound,
    /// The key is not one for encryption, or was not asked for as KMS takes it.
    Unusable,
    /// The ciphertext is not of this key and context.
    Corrupt,
}

impl Meaning {
    /// Of an error with this code, message and HTTP status. The code is empty if there is none.
    pub(super) fn of(code: &str, message: &str, status: u16) -> Self {
        match code {
            "" if status == 429 => Self::Throttled,
            "" => Self::Foreign,
            "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "LimitExceededException"
            | "LimitExceeded"
            | "SlowDown" => Self::Throttled,
            "ExpiredToken" | "ExpiredTokenException" => Self::Expired,
            "RequestExpired" | "RequestTimeTooSkewed" => Self::Clock,
            "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "AuthFailure" => Self::of_signature(message),
            "UnrecognizedClientException" | "InvalidClientTokenId"
                if contains(message, &["expired"]) =>
            {
                Self::Expired
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "OptInRequired"
            | "SubscriptionRequiredException" => Self::NotKnown,
            "AccessDeniedException" | "AccessDenied" | "NotAuthorized" => Self::Denied,
            "DisabledException" => Self::Gone,
            "KMSInvalidStateException" => Self::of_state(message),
            "NotFoundException" => Self::NotFound,
            "InvalidCiphertextException" | "IncorrectKeyException" => Self::Corrupt,
            "KMSInternalException"
            | "DependencyTimeoutException"
            | "KeyUnavailableException"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "RequestTimeout"
            | "RequestTimeoutException" => Self::Away,
            _ if status == 429 => Self::Throttled,
            _ if status >= 500 => Self::Away,
            _ => Self::Unusable,
        }
    }

    /// A signature with a time that is not AWS's says so; any other does not match.
    fn of_signature(message: &str) -> Self {
        match contains(message, &["signature expired", "signature not yet current"]) {
            true => Self::Clock,
            false => Self::NotKnown,
        }
    }

    /// `KMSInvalidStateException` is one code for two things: a key that is pending deletion or import, and every
    /// failure of a custom key store, where the message alone tells a proxy that is away from one that refuses.
    fn of_state(message: &str) -> Self {
        const PASSES: [&str; 11] = [
            "is unavailable",
            "is updating",
            "is creating",
            "not connected",
            "disconnected",
            "did not respond",
            "timed out",
            "cannot communicate",
            "due to throttling",
            "high rate of requests",
            "internal error",
        ];
        let about_a_deletion = contains(message, &["pending", "denied", "disabled"]);
        match !about_a_deletion && contains(message, &PASSES) {
            true => Self::Away,
            false => Self::Gone,
        }
    }
}

fn contains(message: &str, parts: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    parts.iter().any(|part| message.contains(part))
}
