//! Breaking the glass over HTTP: begin, list, end.

use http::StatusCode;

use super::answer::Answer;
use super::error::Failure;
use super::wire::{EmergencyList, EmergencyRequest, EmergencyView};
use super::{Api, Call, json};
use crate::audit::Attempt;

pub(super) async fn begin(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: EmergencyRequest = json::parse(&body)?;
    let begun = api.service.begin_emergency(attempt, &request.reason, request.minutes()).await?;
    Ok(json::answer(begun.receipt(), StatusCode::CREATED, &EmergencyView::of(&begun)))
}

pub(super) async fn list(api: &Api, call: Call, attempt: &mut Attempt) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let listed = api.service.list_emergencies(attempt).await?;
    let emergencies = listed.iter().map(EmergencyView::of).collect();
    Ok(json::answer(listed.receipt(), StatusCode::OK, &EmergencyList { emergencies }))
}

pub(super) async fn end(api: &Api, call: Call, attempt: &mut Attempt) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let ended = api.service.end_emergency(attempt).await?;
    Ok(json::answer(ended.receipt(), StatusCode::OK, &EmergencyView::of(&ended)))
}
