//! The route table: method, path, what it does, what it takes and answers, and who handles it. What serves and
//! what `/openapi.json` says are both read from it.

use futures_util::future::BoxFuture;
use http::Method;

use super::answer::Answer;
use super::error::Failure;
use super::{Api, Call, audit, batch, crypt, emergency, keys, openapi, status};
use crate::audit::Attempt;
use crate::service::Code;

/// What a route takes as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing.
    Nothing,
    /// JSON of this schema.
    Json(&'static str),
    /// JSON of this schema, or octets: then the answer is octets too. Whether the key is in the query.
    JsonOrOctets { schema: &'static str, key_in_query: bool, new_context: bool },
}

type Handler = for<'a> fn(&'a Api, Call, &'a mut Attempt) -> BoxFuture<'a, Result<Answer, Failure>>;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// The operation's name, in the metrics and in `/openapi.json`.
    pub(super) operation: &'static str,
    pub(super) summary: &'static str,
    pub(super) takes: Takes,
    /// The status and schema of each success.
    pub(super) answers: &'static [(u16, &'static str)],
    /// Whether it runs to its end even if its client goes away: what changes a key must not stop halfway.
    pub(super) runs_to_the_end: bool,
    /// What can go wrong beside what can on every route.
    pub(super) codes: &'static [Code],
    pub(super) handler: Handler,
}

const CRYPT: &[Code] = &[
    Code::KeyNotFound,
    Code::VersionDisabled,
    Code::VersionDestroyed,
    Code::RootUnavailable,
    Code::StoreUnavailable,
];
const OPEN: &[Code] = &[
    Code::InvalidCiphertext,
    Code::DecryptionFailed,
    Code::KeyNotFound,
    Code::VersionDisabled,
    Code::VersionDestroyed,
    Code::RootUnavailable,
    Code::StoreUnavailable,
];
const CHANGE: &[Code] = &[
    Code::KeyNotFound,
    Code::Conflict,
    Code::VersionDestroyed,
    Code::RootUnavailable,
    Code::StoreUnavailable,
];
const ROTATE: &[Code] = &[
    Code::KeyNotFound,
    Code::Conflict,
    Code::VersionDisabled,
    Code::VersionDestroyed,
    Code::RootUnavailable,
    Code::StoreUnavailable,
];
const LOOK: &[Code] = &[Code::KeyNotFound, Code::StoreUnavailable];

macro_rules! route {
    ($method:ident $path:literal $operation:literal $summary:literal, $takes:expr, $answers:expr, $codes:expr, $handler:path) => {
        Route {
            method: Method::$method,
            path: $path,
            operation: $operation,
            summary: $summary,
            takes: $takes,
            answers: &$answers,
            runs_to_the_end: false,
            codes: $codes,
            handler: |api, call, attempt| Box::pin($handler(api, call, attempt)),
        }
    };
}

/// The same, run to its end even if its client goes away.
macro_rules! change {
    ($($row:tt)*) => {
        Route { runs_to_the_end: true, ..route!($($row)*) }
    };
}

const fn octets(schema: &'static str, key_in_query: bool, new_context: bool) -> Takes {
    Takes::JsonOrOctets { schema, key_in_query, new_context }
}

/// Every route.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    route!(POST "/v1/encrypt" "encrypt" "Encrypt one message",
        octets("EncryptRequest", true, false), [(200, "Encrypted")], CRYPT, crypt::encrypt),
    route!(POST "/v1/decrypt" "decrypt" "Decrypt one message",
        octets("DecryptRequest", false, false), [(200, "Decrypted")], OPEN, crypt::decrypt),
    route!(POST "/v1/rewrap" "rewrap" "Move one ciphertext to the newest version",
        octets("RewrapRequest", false, true), [(200, "Encrypted")], OPEN, crypt::rewrap),
    route!(POST "/v1/encrypt/batch" "encrypt_batch" "Encrypt many messages under one key",
        Takes::Json("EncryptBatchRequest"), [(200, "EncryptedBatch")], CRYPT, batch::encrypt),
    route!(POST "/v1/decrypt/batch" "decrypt_batch" "Decrypt many messages",
        Takes::Json("DecryptBatchRequest"), [(200, "DecryptedBatch")], OPEN, batch::decrypt),
    route!(POST "/v1/rewrap/batch" "rewrap_batch" "Move many ciphertexts to the newest version",
        Takes::Json("RewrapBatchRequest"), [(200, "EncryptedBatch")], OPEN, batch::rewrap),
    change!(POST "/v1/keys" "create_key" "Make a key",
        Takes::Json("CreateKeyRequest"), [(201, "KeyView")],
        &[Code::KeyExists, Code::RootUnavailable, Code::StoreUnavailable], keys::create),
    route!(GET "/v1/keys" "list_keys" "List the keys that the caller may read",
        Takes::Nothing, [(200, "KeyList")], &[Code::StoreUnavailable], keys::list),
    route!(GET "/v1/keys/{name}" "show_key" "Show a key",
        Takes::Nothing, [(200, "KeyView")], LOOK, keys::show),
    change!(POST "/v1/rotate" "rotate" "Make a new version of a key",
        Takes::Json("RotateRequest"), [(200, "Rotated")], ROTATE, keys::rotate),
    change!(POST "/v1/rotate/due" "rotate_due" "Make a new version of every key whose rotation is due and which the caller may rotate",
        Takes::Nothing, [(200, "RotatedDue")], &[Code::StoreUnavailable], keys::rotate_due),
    change!(POST "/v1/keys/{name}/versions/{version}/state" "set_state" "Set the state of a key version",
        Takes::Json("StateRequest"), [(200, "KeyView")], CHANGE, keys::set_state),
    change!(POST "/v1/keys/{name}/versions/{version}/destroy" "destroy" "Destroy a key version, after a delay",
        Takes::Json("DestroyRequest"), [(200, "KeyView"), (202, "Waits")], CHANGE, keys::destroy),
    change!(POST "/v1/keys/{name}/versions/{version}/destroy/cancel" "cancel_destroy" "Take a destruction back, or the request for it that waits",
        Takes::Nothing, [(200, "KeyView")], CHANGE, keys::cancel_destruction),
    route!(GET "/v1/approvals" "list_approvals" "List what waits for a second person",
        Takes::Nothing, [(200, "ApprovalList")], &[Code::StoreUnavailable], keys::list_approvals),
    change!(POST "/v1/approvals/{id}" "approve" "Approve what another person asked for",
        Takes::Nothing, [(200, "KeyView")], CHANGE, keys::approve),
    route!(POST "/v1/emergency" "begin_emergency" "Break the glass: begin an emergency of one's own",
        Takes::Json("EmergencyRequest"), [(201, "EmergencyView")], &[Code::Conflict], emergency::begin),
    route!(GET "/v1/emergency" "list_emergencies" "List one's own emergency, and all with read_status",
        Takes::Nothing, [(200, "EmergencyList")], &[], emergency::list),
    route!(POST "/v1/emergency/end" "end_emergency" "End one's own emergency",
        Takes::Nothing, [(200, "EmergencyView")], &[Code::Conflict], emergency::end),
    route!(POST "/v1/audit/hash" "audit_hash" "Say how the audit log hashes a subject or a context",
        Takes::Json("AuditHashRequest"), [(200, "AuditHashesView")],
        &[Code::RootUnavailable, Code::StoreUnavailable], audit::hash),
    route!(GET "/v1/status" "status" "Show the sidecar's state",
        Takes::Nothing, [(200, "StatusView")], &[], status::status),
    route!(GET "/openapi.json" "openapi" "This description",
        Takes::Nothing, [(200, "OpenApi")], &[], openapi::serve),
];

/// The values in a request's path, by the names that they have in the route's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Params(Vec<(&'static str, String)>);

impl Params {
    /// The value of this name; empty if the route has none.
    pub(super) fn value(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// The route for this method among those of `path`, and the values in the path.
pub(super) fn find(path: &str, method: &Method) -> Result<(&'static Route, Params), Failure> {
    let mut methods = Vec::new();
    for route in ROUTES {
        let Some(params) = fit(route.path, path) else { continue };
        if route.method == *method {
            return Ok((route, params));
        }
        methods.push(route.method.clone());
    }
    if methods.is_empty() { Err(not_found()) } else { Err(Failure::method_not_allowed(methods)) }
}

/// The values at the places `{name}` of `template`, if `path` fits: never empty, and UTF-8 once decoded.
fn fit(template: &'static str, path: &str) -> Option<Params> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut params = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(Params(params)),
            (Some(wanted), Some(given)) if wanted == given => {}
            (Some(wanted), Some(given)) if !given.is_empty() => {
                let name = wanted.strip_prefix('{')?.strip_suffix('}')?;
                let value = percent_encoding::percent_decode_str(given).decode_utf8().ok()?;
                params.push((name, value.into_owned()));
            }
            _ => return None,
        }
    }
}

/// 404 for what is no route.
fn not_found() -> Failure {
    Failure::new(Code::RouteNotFound, "see /openapi.json for the routes")
}

/// The OpenAPI document that `/openapi.json` serves.
#[must_use]
pub fn document() -> serde_json::Value {
    openapi::document(ROUTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(path: &str, method: &Method) -> Option<Code> {
        find(path, method).err().map(|failure| failure.code())
    }

    #[test]
    fn each_route_is_found_by_its_own_path_and_method() {
        for route in ROUTES {
            let path = route.path.replace('{', "a").replace('}', "");
            let (found, _) = find(&path, &route.method).unwrap();
            assert_eq!(found.operation, route.operation);
        }
    }

    #[test]
    fn values_in_a_path_are_found_by_name_and_decoded() {
        let (_, params) = find("/v1/keys/a%2Eb/versions/7/state", &Method::POST).unwrap();
        assert_eq!((params.value("name"), params.value("version")), ("a.b", "7"));
        assert_eq!(params.value("id"), "");
        let (_, params) = find("/v1/keys/a%2Fb", &Method::GET).unwrap();
        assert_eq!(params.value("name"), "a/b");
    }

    #[test]
    fn what_is_nearly_a_route_is_none() {
        for path in [
            "",
            "*",
            "/",
            "/v1",
            "/v1/",
            "/v1/keys/",
            "/v1/encrypt/",
            "//v1/encrypt",
            "/v1/encrypt%2Fbatch",
            "/v1/Encrypt",
            "/v1/keys//versions/1/state",
            "/v1/keys/a/b",
            "/v1/keys/%ff",
        ] {
            assert_eq!(code_of(path, &Method::POST), Some(Code::RouteNotFound), "{path}");
        }
        assert_eq!(code_of("/v1/encrypt", &Method::GET), Some(Code::MethodNotAllowed));
        assert_eq!(code_of("/v1/keys/a", &Method::HEAD), Some(Code::MethodNotAllowed));
    }
}
