//! The codes of API.md: what went wrong, in one word that clients and the audit log know it by.

use serde::Serialize;
use utoipa::ToSchema;

/// Every code of API.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "the names are the contract; `http/error/status.rs` says what each means"
)]
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
    AuditUnavailable,
    Overloaded,
    Internal,
}

impl Code {
    /// Every code that this version can answer with.
    pub const ALL: [Self; 22] = [
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
        Self::AuditUnavailable,
        Self::Overloaded,
        Self::Internal,
    ];

    /// As in API.md.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidCiphertext => "invalid_ciphertext",
            Self::DecryptionFailed => "decryption_failed",
            Self::ProxiedRequest => "proxied_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::KeyNotFound => "key_not_found",
            Self::RouteNotFound => "route_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::KeyExists => "key_exists",
            Self::VersionDisabled => "version_disabled",
            Self::Conflict => "conflict",
            Self::VersionDestroyed => "version_destroyed",
            Self::RateLimited => "rate_limited",
            Self::RootUnavailable => "root_unavailable",
            Self::StoreUnavailable => "store_unavailable",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
        }
    }
}
