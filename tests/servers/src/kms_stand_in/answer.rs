//! What the stand-in answers: the errors of AWS KMS in its own words, and what is no answer of KMS's at all.

use serde_json::json;

/// What to answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What the moto behind it answers.
    PassOn,
    /// An error of AWS's.
    Error {
        /// The HTTP status.
        status: u16,
        /// `AccessDeniedException` and the like.
        code: String,
        /// In words.
        message: String,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
    /// Anything else.
    Raw {
        /// The HTTP status.
        status: u16,
        /// The content type.
        content_type: String,
        /// The body.
        body: String,
    },
    /// Nothing, ever.
    Hang,
    /// The connection closes.
    Close,
}

impl Answer {
    /// An error with this status, code and message.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let (code, message) = (code.to_owned(), message.to_owned());
        Self::Error { status, code, message, headers: Vec::new() }
    }

    /// The same with one header more.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Error { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// A body of this type.
    #[must_use]
    pub fn raw(status: u16, content_type: &str, body: &str) -> Self {
        Self::Raw { status, content_type: content_type.to_owned(), body: body.to_owned() }
    }

    /// No policy lets this caller use the key.
    #[must_use]
    pub fn access_denied() -> Self {
        Self::error(
            400,
            "AccessDeniedException",
            "User: arn:aws:sts::111122223333:assumed-role/clinic-sidecar/pod-7 is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab because no identity-based policy allows the kms:Decrypt action",
        )
    }

    /// The key was disabled.
    #[must_use]
    pub fn disabled() -> Self {
        Self::error(
            400,
            "DisabledException",
            "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab is disabled.",
        )
    }

    /// The key is going to be deleted.
    #[must_use]
    pub fn pending_deletion() -> Self {
        Self::error(
            400,
            "KMSInvalidStateException",
            "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab is pending deletion.",
        )
    }

    /// There is no such key.
    #[must_use]
    pub fn not_found() -> Self {
        Self::error(
            400,
            "NotFoundException",
            "Alias arn:aws:kms:eu-central-1:111122223333:alias/keypod is not found.",
        )
    }

    /// Too many calls.
    #[must_use]
    pub fn throttled() -> Self {
        Self::error(
            400,
            "ThrottlingException",
            "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.",
        )
    }

    /// The session token has expired.
    #[must_use]
    pub fn expired_token() -> Self {
        Self::error(
            400,
            "ExpiredTokenException",
            "The security token included in the request is expired",
        )
    }

    /// KMS cannot use the key for now.
    #[must_use]
    pub fn key_unavailable() -> Self {
        Self::error(
            500,
            "KeyUnavailableException",
            "The request was rejected because the key was not available. The request can be retried.",
        )
    }

    /// The signature does not match; AWS then shows what it signed, and this shows `echoed` there.
    #[must_use]
    pub fn invalid_signature(echoed: &str) -> Self {
        let message = format!(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:{echoed}\n"
        );
        Self::error(400, "InvalidSignatureException", &message)
    }

    /// A load balancer's page.
    #[must_use]
    pub fn bad_gateway() -> Self {
        Self::raw(502, "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>")
    }
}

/// The body of an error in AWS's JSON protocol.
pub(super) fn error_body(code: &str, message: &str) -> Vec<u8> {
    json!({ "__type": code, "message": message }).to_string().into_bytes()
}
