//! Turns what went wrong into a status, a code and an outward text: the only file that knows status codes.
//!
//! The body is `application/problem+json` (RFC 9457). `detail` says what to do and repeats nothing secret; the
//! chain of causes goes to the log and stays there.

mod status;

pub use status::status_of;

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use status::title_of;

use super::request_id::RequestId;
use crate::emergency::EmergencyError;
use crate::error_chain::error_chain;
use crate::keyring::KeyringError;
use crate::limits::{Overloaded, RateLimited, Refused};
use crate::root::RootError;
use crate::service::{Code, Error};

/// Clients that may come again are told to wait this long, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An answer that is not a success.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    code: Code,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    allow: Option<Vec<Method>>,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    /// `urn:keypod:error:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The same for every problem of this code.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// One of the codes of the API.
    code: Code,
    /// What to do about it.
    detail: &'a str,
    /// The id of this request, as in the log.
    request_id: &'a str,
}

/// What is wrong with one item of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ItemError {
    /// One of the codes of the API.
    code: Code,
    /// The same for every problem of this code.
    title: &'static str,
    /// What to do about it.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
}

impl Failure {
    /// A failure with this code and what to do about it.
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = match status_of(code) {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some(RETRY_AFTER),
            _ => None,
        };
        Self { code, detail: detail.into(), retry_after, allow: None }
    }

    /// 405, with the methods that the route has.
    pub(super) fn method_not_allowed(allow: Vec<Method>) -> Self {
        let mut failure = Self::new(Code::MethodNotAllowed, "use a method of the Allow header");
        failure.allow = Some(allow);
        failure
    }

    /// The code.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// As the error of one item of a batch.
    pub(super) fn into_item(self) -> ItemError {
        ItemError { code: self.code, title: title_of(self.code), detail: self.detail }
    }

    /// As a whole answer.
    pub(super) fn into_response(self, request_id: &RequestId) -> Response {
        let problem = Problem {
            kind: format!("urn:keypod:error:{}", self.code.as_str()),
            title: title_of(self.code),
            status: status_of(self.code).as_u16(),
            code: self.code,
            detail: &self.detail,
            request_id: request_id.as_str(),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status_of(self.code);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: never earlier than it would be admitted.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow {
            let methods: Vec<_> = allow.iter().map(Method::as_str).collect();
            if let Ok(value) = HeaderValue::from_str(&methods.join(", ")) {
                headers.insert(header::ALLOW, value);
            }
        }
        response
    }
}

impl From<Overloaded> for Failure {
    fn from(_: Overloaded) -> Self {
        Self::new(Code::Overloaded, "come again after a moment, or raise the limits of the sidecar")
    }
}

impl From<RateLimited> for Failure {
    fn from(limited: RateLimited) -> Self {
        let detail = format!("{limited}: come again after the time in Retry-After");
        let retry_after = Some(limited.retry_after);
        Self { retry_after, ..Self::new(Code::RateLimited, detail) }
    }
}

impl From<Refused> for Failure {
    fn from(none: Refused) -> Self {
        match none {
            Refused::OfItsCaller(limited) => limited.into(),
            Refused::AtAll(overloaded) => overloaded.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

impl Failure {
    /// What the outside is told of `error`.
    pub(super) fn of(error: &Error) -> Self {
        let code = error.code();
        if code == Code::Internal {
            return internal(error);
        }
        let mut failure = match error {
            Error::RateLimited(limited) => (*limited).into(),
            _ => Self::new(code, advice(error)),
        };
        failure.retry_after = retry_after(error).or(failure.retry_after);
        failure
    }
}

/// When to come again, where the error knows.
fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::Emergency(EmergencyError::Pause { wait }) => Some(*wait),
        Error::Keyring(KeyringError::Root(root)) => root.retry_after(),
        _ => None,
    }
}

/// What to do about `error`, with nothing secret in it.
fn advice(error: &Error) -> Cow<'static, str> {
    match error {
        Error::Forbidden => "ask an operator to allow this caller, action and key".into(),
        Error::Invalid(text) => (*text).into(),
        Error::DecryptionFailed => {
            "give the context, key store and bytes that it was encrypted with".into()
        }
        Error::LimitReached => {
            "the usage limit of the key version was reached: send the message again".into()
        }
        Error::Audit(_) => {
            "what cannot be recorded is not done: an operator must look at the log and at the disk of audit.folder"
                .into()
        }
        Error::Keyring(error) => advice_on_key(error).into(),
        _ => error.to_string().into(),
    }
}

fn advice_on_key(error: &KeyringError) -> &'static str {
    match error {
        KeyringError::NoSuchKey => "make it first: POST /v1/keys, or keypod keys create",
        KeyringError::NoSuchVersion => "the key has no such version: see GET /v1/keys/NAME",
        KeyringError::NoSuchApproval => "nothing waits under that id: see GET /v1/approvals",
        KeyringError::SamePerson => "another person than who asked must approve it",
        KeyringError::KeyExists => "use the key that is there, or choose another name",
        KeyringError::VersionDisabled => {
            "enable the version, or rotate the key if it is to encrypt (with in_any_state if it is disabled)"
        }
        KeyringError::NewestDisabled => {
            "enable it again, or say in_any_state if the key is to encrypt with a version of its own"
        }
        KeyringError::VersionDestroyed => "nothing brings it back",
        KeyringError::NewestDestroyed => {
            "say in_any_state if the key is to encrypt again, with a version of its own"
        }
        KeyringError::Reserved => "names that begin with keypod. are reserved",
        KeyringError::Conflict(text) => text,
        KeyringError::LimitTooSmall => {
            "it is larger than what one version of this key may seal: use a key with larger limits"
        }
        KeyringError::VersionsExhausted => {
            "the key has used all its version numbers: use another key"
        }
        KeyringError::WrappedElsewhere { .. } => {
            "no root of this sidecar has wrapped this key version: an operator must look at the log"
        }
        KeyringError::Root(root) => match **root {
            RootError::Unavailable { .. } | RootError::Throttled { .. } => {
                "come again after the time in Retry-After; the log and /readyz?verbose say what is wrong"
            }
            _ => "the root refuses this key: an operator must look at the log and mend it",
        },
        KeyringError::Store(_) => {
            "come again after the time in Retry-After; the log says what is wrong with the store"
        }
        KeyringError::Memory(_) => {
            "protected memory for keys is used up: an operator must raise RLIMIT_MEMLOCK"
        }
        _ => "an operator must look at the log",
    }
}

/// A defect: the log has the chain, the answer has not.
fn internal(error: &(dyn std::error::Error + 'static)) -> Failure {
    tracing::error!(error = error_chain(error), "internal error");
    Failure::new(Code::Internal, "a defect of the sidecar or damaged data: its log says more")
}

/// What a panic in a handler becomes; the panic itself is in the log.
pub(super) fn panicked() -> Failure {
    Failure::new(Code::Internal, "a defect of the sidecar: its log says more")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limits::Limit;
    use crate::names::RootName;

    /// The local root is read at the start and never away, so no suite can make most of these happen.
    #[test]
    fn a_root_that_does_not_answer_or_refuses_is_unavailable_for_now() {
        let root = RootName::local;
        let reason = || "SECRET".to_owned();
        let errors = [
            RootError::Unavailable { root: root(), reason: reason(), retry_after: None },
            RootError::Throttled { root: root(), retry_after: None },
            RootError::Denied { root: root(), reason: reason() },
            RootError::KeyGone { root: root(), reason: reason() },
            RootError::Unusable { root: root(), reason: reason() },
        ];
        let errors = errors.map(|error| KeyringError::Root(Arc::new(error)));
        for error in
            errors.into_iter().chain([KeyringError::WrappedElsewhere { roots: root().to_string() }])
        {
            let failure = Failure::of(&Error::Keyring(error));
            assert_eq!(failure.code(), Code::RootUnavailable);
            assert!(!failure.detail.contains("SECRET"), "{}", failure.detail);
            let answer = failure.into_response(&RequestId::of(&http::HeaderMap::new()));
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        }
    }

    #[test]
    fn the_title_of_a_used_up_rate_holds_for_a_callers_and_for_a_keys() {
        for limit in [Limit::CallerRequests, Limit::KeyRequests] {
            let limited = RateLimited { limit, retry_after: RETRY_AFTER };
            let failure = Failure::of(&Error::RateLimited(limited));
            assert_eq!(title_of(failure.code()), "A rate is used up");
            assert!(failure.detail.starts_with(&limited.to_string()), "{}", failure.detail);
        }
    }

    #[test]
    fn what_nobody_can_mend_by_coming_again_is_a_defect() {
        for error in [
            KeyringError::Root(Arc::new(RootError::Corrupt { root: RootName::local() })),
            KeyringError::NotWrapped,
            KeyringError::WrongPermit,
        ] {
            let failure = Failure::of(&Error::Keyring(error));
            assert_eq!(failure.code(), Code::Internal);
            assert_eq!(failure.retry_after, None);
        }
    }
}
