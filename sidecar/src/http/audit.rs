//! The audit log over HTTP: what it hashes.

use http::StatusCode;

use super::answer::Answer;
use super::error::Failure;
use super::wire::{AuditHashRequest, AuditHashesView};
use super::{Api, Call, invalid, json};
use crate::audit::Attempt;

pub(super) async fn hash(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: AuditHashRequest<'_> = json::parse(&body)?;
    let question = request.question().map_err(invalid)?;
    let hashes = api.service.audit_hash(attempt, question).await?;
    Ok(json::answer(hashes.receipt(), StatusCode::OK, &AuditHashesView::of(&hashes)))
}
