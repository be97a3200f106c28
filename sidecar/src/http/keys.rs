//! Keys over HTTP: make, list, show, rotate, set states, destroy, approve.

use http::StatusCode;

use super::answer::Answer;
use super::error::Failure;
use super::wire::{
    ApprovalList, ApprovalView, CreateKeyRequest, DestroyRequest, KeyList, KeyView, RotateRequest,
    Rotated, RotatedDue, RotationView, StateRequest, Waits,
};
use super::{Api, Call, invalid, json};
use crate::audit::Attempt;
use crate::names::{KeyVersion, NameError};
use crate::service::{Destruction, DueRotation};
use crate::store::KeyRecord;

pub(super) async fn create(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: CreateKeyRequest = json::parse(&body)?;
    let settings = request.settings().map_err(invalid)?;
    let key = api.service.create_key(attempt, &request.name, settings).await?;
    Ok(json::answer(key.receipt(), StatusCode::CREATED, &api.view(&key)))
}

pub(super) async fn list(api: &Api, call: Call, attempt: &mut Attempt) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let listed = api.service.list_keys(attempt).await?;
    let keys = listed.iter().map(|key| api.view(key)).collect();
    Ok(json::answer(listed.receipt(), StatusCode::OK, &KeyList { keys }))
}

pub(super) async fn show(api: &Api, call: Call, attempt: &mut Attempt) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let key = api.service.show_key(attempt, &call.key_name()?).await?;
    Ok(json::answer(key.receipt(), StatusCode::OK, &api.view(&key)))
}

pub(super) async fn rotate(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: RotateRequest = json::parse(&body)?;
    let key = api.service.rotate(attempt, &request.key, request.in_any_state).await?;
    let answer = Rotated { key: key.name.as_str(), key_version: key.primary.number() };
    Ok(json::answer(key.receipt(), StatusCode::OK, &answer))
}

pub(super) async fn rotate_due(
    api: &Api,
    call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let done = api.service.rotate_due(attempt).await?;
    let rotations = done.iter().map(|one| match one {
        DueRotation::Rotated(key, due) => RotationView::Rotated {
            key: key.name.to_string(),
            key_version: key.primary.number(),
            due: due.as_str(),
        },
        DueRotation::Failed(key, error) => {
            RotationView::Failed { key: key.to_string(), error: Failure::of(error).into_item() }
        }
    });
    let answer = RotatedDue { rotations: rotations.collect() };
    Ok(json::answer(done.receipt(), StatusCode::OK, &answer))
}

pub(super) async fn set_state(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: StateRequest = json::parse(&body)?;
    let (name, version) = (call.key_name()?, call.key_version()?);
    let key = api.service.set_state(attempt, &name, version, request.state).await?;
    Ok(json::answer(key.receipt(), StatusCode::OK, &api.view(&key)))
}

pub(super) async fn destroy(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let request: DestroyRequest = json::parse(&body)?;
    let (name, version) = (call.key_name()?, call.key_version()?);
    let destroyed = api.service.destroy(attempt, &name, version, &request.confirm).await?;
    let receipt = destroyed.receipt();
    match &*destroyed {
        Destruction::Ordered(key) => Ok(json::answer(receipt, StatusCode::OK, &api.view(key))),
        Destruction::Waits(approval) => {
            let expires_at = approval.expires_at.to_string();
            let answer = Waits { approval: &approval.id, expires_at };
            Ok(json::answer(receipt, StatusCode::ACCEPTED, &answer))
        }
    }
}

pub(super) async fn cancel_destruction(
    api: &Api,
    call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let (name, version) = (call.key_name()?, call.key_version()?);
    let key = api.service.cancel_destruction(attempt, &name, version).await?;
    Ok(json::answer(key.receipt(), StatusCode::OK, &api.view(&key)))
}

pub(super) async fn list_approvals(
    api: &Api,
    call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let waiting = api.service.list_approvals(attempt).await?;
    let approvals = waiting.iter().map(|(approval, key)| ApprovalView::of(approval, key)).collect();
    Ok(json::answer(waiting.receipt(), StatusCode::OK, &ApprovalList { approvals }))
}

pub(super) async fn approve(
    api: &Api,
    call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    call.refuse_query()?;
    let key = api.service.approve(attempt, call.param("id")).await?;
    Ok(json::answer(key.receipt(), StatusCode::OK, &api.view(&key)))
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
