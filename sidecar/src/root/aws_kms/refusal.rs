//! From what a call of KMS came to, to a [`RootError`] with words for an operator.
//!
//! `refusal/meaning.rs` decides what an error code means for keys in memory; here are the words. They name the key,
//! where it was asked for and what to do. Of AWS's own words they show those about keys, states and permissions,
//! without what could be a credential; those about signatures and tokens they never show, because AWS repeats there
//! what was signed. Test: `no_credential_is_ever_in_an_error`.

mod meaning;

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};

use super::RootError;
use super::access::Access;
use super::redact::redacted;
use super::transport::PlainHttp;
use meaning::Meaning;

impl Access {
    /// Why a call gave nothing.
    pub(super) fn refused<E>(&self, error: &SdkError<E>) -> RootError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(context) => {
                self.answered(context.err(), context.raw().status().as_u16(), context.raw())
            }
            SdkError::ResponseError(_) => self.no_answer_of_kms(),
            SdkError::TimeoutError(_) => self.timed_out(),
            _ => self.not_sent(error),
        }
    }

    fn answered(
        &self,
        error: &impl ProvideErrorMetadata,
        status: u16,
        response: &HttpResponse,
    ) -> RootError {
        let (code, message) = (error.code().unwrap_or_default(), error.message());
        let message = message.unwrap_or_default();
        let meaning = Meaning::of(code, message, status);
        let retry_after = retry_after(response);
        let (root, place) = (self.name.clone(), &self.place);
        let code = redacted(code);
        let said = format!("{code}: {}", redacted(message));
        match meaning {
            Meaning::Throttled => RootError::Throttled { root, retry_after },
            Meaning::Away => {
                let reason = format!("AWS KMS cannot use {place} for now ({said})");
                RootError::Unavailable { root, reason, retry_after }
            }
            Meaning::Foreign => {
                let reason = format!(
                    "what answers for {place} is not AWS KMS (HTTP status {status}): look at the proxies and endpoints between"
                );
                RootError::Unavailable { root, reason, retry_after }
            }
            Meaning::Expired => self.unavailable(format!(
                "the credentials for {place} have expired ({code}): renew them; if they are in the environment or in a file of keys, start Keypod again after it"
            )),
            Meaning::Clock => self.unavailable(format!(
                "the clock of this machine differs from AWS's by minutes ({code}): set it right"
            )),
            Meaning::Denied => RootError::Denied {
                root,
                reason: format!(
                    "{place}: {said}; allow {} on this key to this role, in the role's policy and the key's, and in that of the VPC endpoint if there is one",
                    place.purpose().rights()
                ),
            },
            Meaning::NotKnown => RootError::Denied {
                root,
                reason: format!(
                    "AWS does not accept the credentials for {place} ({code}): renew them, and look whether the account and the region are enabled"
                ),
            },
            Meaning::Gone => RootError::KeyGone {
                root,
                reason: format!(
                    "{place}: {said}; aws kms enable-key or cancel-key-deletion brings a key back that is not deleted yet"
                ),
            },
            Meaning::NotFound => RootError::KeyGone {
                root,
                reason: format!(
                    "{place}: {said}; if the key is in another region than {}, set root.aws_kms.region, or {} to the key's ARN",
                    place.region(),
                    place.purpose().setting()
                ),
            },
            Meaning::Unusable => RootError::Unusable {
                root,
                reason: format!(
                    "{place}: {said}; it takes a KMS key {}: look at {} and the endpoint",
                    place.purpose().wanted(),
                    place.purpose().setting()
                ),
            },
            Meaning::Corrupt => self.corrupt(),
        }
    }

    fn timed_out(&self) -> RootError {
        let (place, timeout) = (&self.place, self.attempt_timeout);
        self.unavailable(match self.credentials.are_being_looked_up() {
            true => format!(
                "the credentials for {place} took longer than {timeout:?}; they are still looked up, for the next attempt"
            ),
            false => format!(
                "{place} was not reached, or did not answer, within {timeout:?}: look at the network, and at the VPC endpoint and proxy if there are any"
            ),
        })
    }

    /// Nothing was sent, or the connection failed.
    fn not_sent(&self, error: &(dyn Error + 'static)) -> RootError {
        let place = &self.place;
        let causes: Vec<&(dyn Error + 'static)> =
            std::iter::successors(Some(error), |error| (*error).source()).collect();
        if causes.iter().any(|cause| cause.is::<PlainHttp>()) {
            return RootError::Unusable {
                root: self.name.clone(),
                reason: format!(
                    "{place} would be asked for in the clear: the endpoint in AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS or the profile is not https://; set root.aws_kms.endpoint"
                ),
            };
        }
        let text: Vec<_> = causes.iter().skip(1).map(ToString::to_string).collect();
        let text = redacted(&without_process_output(&text.join(": ")));
        self.unavailable(match causes.iter().any(|cause| cause.is::<CredentialsError>()) {
            true => format!(
                "no credentials for {place} ({text}): give this process a role (IRSA, Pod Identity, an instance's or a task's), or AWS_PROFILE, or AWS_ACCESS_KEY_ID"
            ),
            false if text.contains("certificate") => format!(
                "{place} has a certificate that is not trusted here ({text}): set SSL_CERT_FILE to its authority's certificate, or install the system's authorities"
            ),
            false => format!(
                "{place} cannot be reached ({text}): look at the network, and at the VPC endpoint and proxy if there are any"
            ),
        })
    }

    /// It answered with success, and not as KMS does.
    pub(super) fn no_answer_of_kms(&self) -> RootError {
        self.unavailable(format!(
            "what answers for {} does not answer as AWS KMS does: look at the proxies and endpoints between",
            self.place
        ))
    }

    fn unavailable(&self, reason: String) -> RootError {
        RootError::Unavailable { root: self.name.clone(), reason, retry_after: None }
    }
}

/// What a process that should give credentials wrote to its standard error may hold them: the SDK shows all of it.
fn without_process_output(text: &str) -> String {
    match text.split_once("Stderr:") {
        Some((before, _)) => format!("{before}what it said is not shown"),
        None => text.to_owned(),
    }
}

/// `Retry-After` in seconds.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
