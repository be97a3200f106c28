//! The audit log over HTTP: what it hashes.

use axum::response::Response;
use http::StatusCode;

use super::error::Failure;
use super::wire::{AuditHashRequest, AuditHashesView};
use super::{Api, Call, invalid, json};

pub(super) async fn hash(api: &Api, mut call: Call) -> Result<Response, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: AuditHashRequest<'_> = json::parse(&body)?;
    let question = request.question().map_err(invalid)?;
    let hashes = api.service.audit_hash(&call.caller, question).await?;
    Ok(json::answer(StatusCode::OK, &AuditHashesView::of(&hashes)))
}
