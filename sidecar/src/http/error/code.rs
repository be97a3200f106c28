//! The codes of API.md, each with its status and title.

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// Every code of API.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the contract; `title` says what each means")]
pub enum Code {
    InvalidRequest,
    InvalidCiphertext,
    DecryptionFailed,
    ProxiedRequest,
    Unauthenticated,
    Forbidden,
    KeyNotFound,
    RouteNotFound,
    MethodNotAllowed,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    KeyExists,
    VersionDisabled,
    Conflict,
    VersionDestroyed,
    RateLimited,
    RootUnavailable,
    StoreUnavailable,
    Overloaded,
    Internal,
}

impl Code {
    /// Every code that this version can answer with.
    pub const ALL: [Self; 21] = [
        Self::InvalidRequest,
        Self::InvalidCiphertext,
        Self::DecryptionFailed,
        Self::ProxiedRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::KeyNotFound,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::KeyExists,
        Self::VersionDisabled,
        Self::Conflict,
        Self::VersionDestroyed,
        Self::RateLimited,
        Self::RootUnavailable,
        Self::StoreUnavailable,
        Self::Overloaded,
        Self::Internal,
    ];

    /// The code as in API.md, the status, and a title.
    #[rustfmt::skip]
    const fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidRequest => ("invalid_request", S::BAD_REQUEST, "The request is not valid"),
            Self::InvalidCiphertext => ("invalid_ciphertext", S::BAD_REQUEST, "This is not a ciphertext of this format"),
            Self::DecryptionFailed => ("decryption_failed", S::BAD_REQUEST, "The ciphertext does not open"),
            Self::ProxiedRequest => ("proxied_request", S::BAD_REQUEST, "Proxied requests are refused"),
            Self::Unauthenticated => ("unauthenticated", S::UNAUTHORIZED, "The caller is not known"),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "The caller may not do this"),
            Self::KeyNotFound => ("key_not_found", S::NOT_FOUND, "There is no such key"),
            Self::RouteNotFound => ("route_not_found", S::NOT_FOUND, "There is no such route"),
            Self::MethodNotAllowed => ("method_not_allowed", S::METHOD_NOT_ALLOWED, "The route has no such method"),
            Self::RequestTimeout => ("request_timeout", S::REQUEST_TIMEOUT, "The body came too slowly"),
            Self::PayloadTooLarge => ("payload_too_large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::UnsupportedMediaType => ("unsupported_media_type", S::UNSUPPORTED_MEDIA_TYPE, "The route does not take this media type"),
            Self::KeyExists => ("key_exists", S::CONFLICT, "There is a key of that name already"),
            Self::VersionDisabled => ("version_disabled", S::CONFLICT, "The state of the key version does not allow this"),
            Self::Conflict => ("conflict", S::CONFLICT, "The change does not fit the state"),
            Self::VersionDestroyed => ("version_destroyed", S::GONE, "The key version is destroyed"),
            Self::RateLimited => ("rate_limited", S::TOO_MANY_REQUESTS, "A rate is used up"),
            Self::RootUnavailable => ("root_unavailable", S::SERVICE_UNAVAILABLE, "The root cannot be reached"),
            Self::StoreUnavailable => ("store_unavailable", S::SERVICE_UNAVAILABLE, "The key store cannot be used"),
            Self::Overloaded => ("overloaded", S::SERVICE_UNAVAILABLE, "As much is under way as the limits admit"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "A defect of the sidecar"),
        }
    }

    /// As in API.md.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status that it travels with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    pub(in crate::http) const fn title(self) -> &'static str {
        self.row().2
    }
}
