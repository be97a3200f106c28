//! The status and the title that each code of API.md is answered with.

use http::StatusCode;

use crate::service::Code;

/// The status that `code` travels with.
#[must_use]
pub const fn status_of(code: Code) -> StatusCode {
    row(code).0
}

/// What `code` means, in a few words.
pub(in crate::http) const fn title_of(code: Code) -> &'static str {
    row(code).1
}

#[rustfmt::skip]
const fn row(code: Code) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match code {
        Code::InvalidRequest => (S::BAD_REQUEST, "The request is not valid"),
        Code::InvalidCiphertext => (S::BAD_REQUEST, "This is not a ciphertext of this format"),
        Code::DecryptionFailed => (S::BAD_REQUEST, "The ciphertext does not open"),
        Code::ProxiedRequest => (S::BAD_REQUEST, "Proxied requests are refused"),
        Code::Unauthenticated => (S::UNAUTHORIZED, "The caller is not known"),
        Code::Forbidden => (S::FORBIDDEN, "The caller may not do this"),
        Code::KeyNotFound => (S::NOT_FOUND, "There is no such key"),
        Code::RouteNotFound => (S::NOT_FOUND, "There is no such route"),
        Code::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "The route has no such method"),
        Code::RequestTimeout => (S::REQUEST_TIMEOUT, "The body came too slowly"),
        Code::PayloadTooLarge => (S::PAYLOAD_TOO_LARGE, "The body is too large"),
        Code::UnsupportedMediaType => (S::UNSUPPORTED_MEDIA_TYPE, "The route does not take this media type"),
        Code::KeyExists => (S::CONFLICT, "There is a key of that name already"),
        Code::VersionDisabled => (S::CONFLICT, "The state of the key version does not allow this"),
        Code::Conflict => (S::CONFLICT, "The change does not fit the state"),
        Code::VersionDestroyed => (S::GONE, "The key version is destroyed"),
        Code::RateLimited => (S::TOO_MANY_REQUESTS, "A rate is used up"),
        Code::RootUnavailable => (S::SERVICE_UNAVAILABLE, "The root cannot be reached"),
        Code::StoreUnavailable => (S::SERVICE_UNAVAILABLE, "The key store cannot be used"),
        Code::AuditUnavailable => (S::SERVICE_UNAVAILABLE, "The audit log cannot be written"),
        Code::Overloaded => (S::SERVICE_UNAVAILABLE, "As much is under way as the limits admit"),
        Code::Internal => (S::INTERNAL_SERVER_ERROR, "A defect of the sidecar"),
    }
}
