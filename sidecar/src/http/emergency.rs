//! Breaking the glass over HTTP: begin, list, end.

use axum::response::Response;
use http::StatusCode;

use super::error::Failure;
use super::wire::{EmergencyList, EmergencyRequest, EmergencyView};
use super::{Api, Call, json};

pub(super) async fn begin(api: &Api, mut call: Call) -> Result<Response, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: EmergencyRequest = json::parse(&body)?;
    let begun = api.service.begin_emergency(&call.caller, &request.reason, request.minutes())?;
    Ok(json::answer(StatusCode::CREATED, &EmergencyView::of(&begun)))
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Response, Failure> {
    call.refuse_query()?;
    let emergencies = api.service.list_emergencies(&call.caller)?;
    let emergencies = emergencies.iter().map(EmergencyView::of).collect();
    Ok(json::answer(StatusCode::OK, &EmergencyList { emergencies }))
}

pub(super) async fn end(api: &Api, call: Call) -> Result<Response, Failure> {
    call.refuse_query()?;
    let ended = api.service.end_emergency(&call.caller)?;
    Ok(json::answer(StatusCode::OK, &EmergencyView::of(&ended)))
}
