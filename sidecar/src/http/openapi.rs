//! `/openapi.json`: the API's own description (OpenAPI 3.1), made from the route table and the wire types.

use std::sync::LazyLock;

use http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::answer::Answer;
use super::error::{Failure, ItemError, Problem, status_of};
use super::routes::{ROUTES, Route, Takes};
use super::status::StatusView;
use super::{Api, Call, wire};
use crate::audit::Attempt;
use crate::service::Code;

/// What can go wrong on every route.
const EVERYWHERE: [Code; 12] = [
    Code::InvalidRequest,
    Code::ProxiedRequest,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::RouteNotFound,
    Code::MethodNotAllowed,
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::RateLimited,
    Code::AuditUnavailable,
    Code::Overloaded,
    Code::Internal,
];

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(ROUTES));

pub(super) async fn serve(
    _api: &Api,
    call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let receipt = attempt.succeed().await.map_err(crate::service::Error::from)?;
    Ok(super::json::answer(&receipt, StatusCode::OK, &*DOCUMENT))
}

/// The document for these routes.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(route.method.as_str().to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keypod",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Encrypt, decrypt and rotate on localhost; the root key stays in its KMS.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:7480" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "On the Unix socket the peer's user may be enough.",
                },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut responses = Map::new();
    for (status, schema) in route.answers {
        responses.insert(status.to_string(), success(route, *status, schema));
    }
    let mut codes = EVERYWHERE.to_vec();
    codes.extend_from_slice(route.codes);
    if route.takes != Takes::Nothing {
        codes.push(Code::UnsupportedMediaType);
    }
    for code in codes {
        let status = status_of(code).as_u16().to_string();
        let response = responses.entry(status).or_insert_with(|| problem(status_of(code)));
        if let Some(Value::String(description)) = response.get_mut("description") {
            let separator = if description.is_empty() { "" } else { ", " };
            description.push_str(separator);
            description.push_str(code.as_str());
        }
    }
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": responses,
    });
    if let (Some(body), Some(operation)) = (request_body(route.takes), operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn success(route: &Route, status: u16, schema: &str) -> Value {
    let mut content = json!({ "application/json": { "schema": reference(schema) } });
    let mut headers = json!({ "X-Request-Id": { "schema": { "type": "string" } } });
    if let (Takes::JsonOrOctets { .. }, Some(content), Some(headers)) =
        (route.takes, content.as_object_mut(), headers.as_object_mut())
    {
        content.insert("application/octet-stream".to_owned(), json!({}));
        for (name, kind) in [("Keypod-Key", "string"), ("Keypod-Key-Version", "integer")] {
            let header = json!({
                "description": "With octets.",
                "schema": { "type": kind },
            });
            headers.insert(name.to_owned(), header);
        }
    }
    let description = match status {
        201 => "Made.",
        202 => "Waits for a second person.",
        _ => "Done.",
    };
    json!({ "description": description, "headers": headers, "content": content })
}

fn problem(status: StatusCode) -> Value {
    let mut headers = json!({ "X-Request-Id": { "schema": { "type": "string" } } });
    let more = match status {
        StatusCode::UNAUTHORIZED => Some(("WWW-Authenticate", json!({ "const": "Bearer" }))),
        StatusCode::METHOD_NOT_ALLOWED => Some(("Allow", json!({ "type": "string" }))),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Some(("Retry-After", json!({ "type": "integer", "minimum": 1 })))
        }
        _ => None,
    };
    if let (Some((name, schema)), Some(headers)) = (more, headers.as_object_mut()) {
        headers.insert(name.to_owned(), json!({ "required": true, "schema": schema }));
    }
    json!({
        "description": "",
        "headers": headers,
        "content": { "application/problem+json": { "schema": reference("Problem") } },
    })
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    for (name, schema) in [
        ("name", json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$" })),
        ("version", json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })),
        ("id", json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })),
    ] {
        if route.path.contains(&format!("{{{name}}}")) {
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "schema": schema,
            }));
        }
    }
    if let Takes::JsonOrOctets { key_in_query, new_context, .. } = route.takes {
        if key_in_query {
            parameters.push(json!({
                "name": "key", "in": "query", "required": false,
                "description": "With octets: the name of the key. Refused with JSON.",
                "schema": { "type": "string", "pattern": wire::OWN_KEY_NAME },
            }));
        }
        let names = ["Keypod-Context", "Keypod-New-Context"];
        for name in names.iter().take(if new_context { 2 } else { 1 }) {
            parameters.push(json!({
                "name": name, "in": "header", "required": false,
                "description": "With octets: base64url, without padding, of a JSON object of strings.",
                "schema": { "type": "string", "pattern": "^[A-Za-z0-9_-]+$" },
            }));
        }
    }
    parameters
}

fn request_body(takes: Takes) -> Option<Value> {
    let content = match takes {
        Takes::Nothing => return None,
        Takes::Json(schema) => json!({ "application/json": { "schema": reference(schema) } }),
        Takes::JsonOrOctets { schema, .. } => json!({
            "application/json": { "schema": reference(schema) },
            "application/octet-stream": {},
        }),
    };
    Some(json!({ "required": true, "content": content }))
}

fn reference(schema: &str) -> Value {
    if schema == "OpenApi" {
        return json!({ "type": "object" });
    }
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn schemas() -> Map<String, Value> {
    let mut all = Vec::new();
    add::<wire::EncryptRequest<'_>>(&mut all);
    add::<wire::Encrypted<'_>>(&mut all);
    add::<wire::DecryptRequest<'_>>(&mut all);
    add::<wire::Decrypted<'_>>(&mut all);
    add::<wire::RewrapRequest<'_>>(&mut all);
    add::<wire::EncryptBatchRequest<'_>>(&mut all);
    add::<wire::DecryptBatchRequest<'_>>(&mut all);
    add::<wire::RewrapBatchRequest<'_>>(&mut all);
    add::<wire::EncryptedBatch>(&mut all);
    add::<wire::DecryptedBatch<'_>>(&mut all);
    add::<wire::CreateKeyRequest>(&mut all);
    add::<wire::RotateRequest>(&mut all);
    add::<wire::Rotated<'_>>(&mut all);
    add::<wire::RotatedDue>(&mut all);
    add::<wire::StateRequest>(&mut all);
    add::<wire::DestroyRequest>(&mut all);
    add::<wire::KeyView>(&mut all);
    add::<wire::KeyList>(&mut all);
    add::<wire::Waits<'_>>(&mut all);
    add::<wire::ApprovalList>(&mut all);
    add::<wire::EmergencyRequest>(&mut all);
    add::<wire::EmergencyView>(&mut all);
    add::<wire::EmergencyList>(&mut all);
    add::<wire::AuditHashRequest<'_>>(&mut all);
    add::<wire::AuditHashesView>(&mut all);
    add::<StatusView>(&mut all);
    add::<Problem<'_>>(&mut all);
    add::<ItemError>(&mut all);
    let schema = |(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default());
    let mut schemas: Map<String, Value> = all.into_iter().map(schema).collect();
    // What a derived schema cannot say: one of the two, and not both.
    if let Some(Value::Object(question)) = schemas.get_mut("AuditHashRequest") {
        let either = json!([{ "required": ["subject"] }, { "required": ["context"] }]);
        question.insert("oneOf".to_owned(), either);
    }
    schemas
}

/// Adds the schema of `T` and of all that it refers to.
fn add<T: ToSchema + PartialSchema>(all: &mut Vec<(String, RefOr<Schema>)>) {
    all.push((T::name().into_owned(), T::schema()));
    T::schemas(all);
}
