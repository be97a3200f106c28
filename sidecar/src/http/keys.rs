//! Keys over HTTP: make, list, show, rotate, set states, destroy, approve.

use axum::response::Response;
use http::StatusCode;

use super::error::Failure;
use super::wire::{
    ApprovalList, ApprovalView, CreateKeyRequest, DestroyRequest, KeyList, KeyView, RotateRequest,
    Rotated, StateRequest, Waits,
};
use super::{Api, Call, invalid, json};
use crate::names::{KeyVersion, NameError};
use crate::service::Destruction;
use crate::store::KeyRecord;

pub(super) async fn create(api: &Api, mut call: Call) -> Result<Response, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: CreateKeyRequest = json::parse(&body)?;
    let settings = request.settings().map_err(invalid)?;
    let key = api.service.create_key(&call.caller, &request.name, settings).await?;
    Ok(json::answer(StatusCode::CREATED, &api.view(&key)))
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Response, Failure> {
    call.refuse_query()?;
    let keys = api.service.list_keys(&call.caller).await?;
    let keys = keys.iter().map(|key| api.view(key)).collect();
    Ok(json::answer(StatusCode::OK, &KeyList { keys }))
}

pub(super) async fn show(api: &Api, call: Call) -> Result<Response, Failure> {
    call.refuse_query()?;
    let key = api.service.show_key(&call.caller, &call.key_name()?).await?;
    Ok(json::answer(StatusCode::OK, &api.view(&key)))
}

pub(super) async fn rotate(api: &Api, mut call: Call) -> Result<Response, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: RotateRequest = json::parse(&body)?;
    let key = api.service.rotate(&call.caller, &request.key).await?;
    let answer = Rotated { key: key.name.as_str(), key_version: key.primary.number() };
    Ok(json::answer(StatusCode::OK, &answer))
}

pub(super) async fn set_state(api: &Api, mut call: Call) -> Result<Response, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: StateRequest = json::parse(&body)?;
    let (name, version) = (call.key_name()?, call.key_version()?);
    let key = api.service.set_state(&call.caller, &name, version, request.state).await?;
    Ok(json::answer(StatusCode::OK, &api.view(&key)))
}

pub(super) async fn destroy(api: &Api, mut call: Call) -> Result<Response, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: DestroyRequest = json::parse(&body)?;
    let (name, version) = (call.key_name()?, call.key_version()?);
    match api.service.destroy(&call.caller, &name, version, &request.confirm).await? {
        Destruction::Ordered(key) => Ok(json::answer(StatusCode::OK, &api.view(&key))),
        Destruction::Waits(approval) => {
            let expires_at = approval.expires_at.to_string();
            let answer = Waits { approval: &approval.id, expires_at };
            Ok(json::answer(StatusCode::ACCEPTED, &answer))
        }
    }
}

pub(super) async fn cancel_destruction(api: &Api, call: Call) -> Result<Response, Failure> {
    call.refuse_query()?;
    let (name, version) = (call.key_name()?, call.key_version()?);
    let key = api.service.cancel_destruction(&call.caller, &name, version).await?;
    Ok(json::answer(StatusCode::OK, &api.view(&key)))
}

pub(super) async fn list_approvals(api: &Api, call: Call) -> Result<Response, Failure> {
    call.refuse_query()?;
    let waiting = api.service.list_approvals(&call.caller).await?;
    let approvals = waiting.iter().map(|(approval, key)| ApprovalView::of(approval, key)).collect();
    Ok(json::answer(StatusCode::OK, &ApprovalList { approvals }))
}

pub(super) async fn approve(api: &Api, call: Call) -> Result<Response, Failure> {
    call.refuse_query()?;
    let key = api.service.approve(&call.caller, call.param("id")).await?;
    Ok(json::answer(StatusCode::OK, &api.view(&key)))
}

impl Api {
    fn view(&self, key: &KeyRecord) -> KeyView {
        KeyView::of(key, |key, version| self.service.keyring().used(key, version))
    }
}

impl Call {
    fn key_version(&self) -> Result<KeyVersion, Failure> {
        self.param("version").parse().map_err(|error: NameError| invalid(error.to_string()))
    }
}
