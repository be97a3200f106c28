//! One transit key, and how it is asked for with this process's token: what the root and its authority share.

use std::sync::Arc;

use rustify::Endpoint;
use serde::Serialize;
use vaultrs::api::EndpointResult;

use super::failure::{CallError, Failure, KeyPlace};
use super::key::{CapabilitiesSelf, KeyAnswer, KeyProperties};
use super::session::{Instead, Session};
use super::transport::Transport;
use super::{VaultAuth, file};
use crate::names::RootName;

#[derive(Clone)]
pub(super) struct Access {
    pub(super) name: RootName,
    /// Where the key is, in words.
    pub(super) place: String,
    pub(super) key: KeyPlace,
    pub(super) auth: VaultAuth,
    pub(super) session: Arc<Session>,
    pub(super) transport: Arc<Transport>,
}

impl Access {
    /// Asks `endpoint` with this process's token, and once more with another one if it is refused. No error repeats
    /// one of `secrets`.
    pub(super) async fn ask<E: Endpoint>(
        &self,
        endpoint: &E,
        body: &(impl Serialize + Sync),
        secrets: &[&str],
    ) -> Result<EndpointResult<E::Response>, Failure> {
        let token = self.session.token().await?;
        let asked = self.transport.call(endpoint, Some(body), Some(token.expose_token()), secrets);
        let said = match asked.await {
            Ok(answer) => return Ok(answer),
            Err(CallError::Refused(refusal)) if refusal.status == 403 => refusal.said,
            Err(error) => return Err(self.failure(error)),
        };
        match self.session.instead_of(&token).await? {
            Instead::Invalid => Err(Failure::Denied { reason: self.invalid_token() }),
            Instead::Valid => Err(self.not_allowed(&said)),
            Instead::Another(token) => {
                let token = token.expose_token();
                match self.transport.call(endpoint, Some(body), Some(token), secrets).await {
                    Ok(answer) => Ok(answer),
                    Err(CallError::Refused(refusal)) if refusal.status == 403 => {
                        Err(self.not_allowed(&refusal.said))
                    }
                    Err(error) => Err(self.failure(error)),
                }
            }
        }
    }

    fn failure(&self, error: CallError) -> Failure {
        match error {
            CallError::Failed(failure) => failure,
            CallError::Refused(refusal) => self.key.judge(refusal),
        }
    }

    fn not_allowed(&self, said: &str) -> Failure {
        let reason = format!(
            "its token is valid, and its policy does not allow this ({said}): give it {}",
            self.key.policy()
        );
        Failure::Denied { reason }
    }

    fn invalid_token(&self) -> String {
        let (path, _) = self.auth.secret();
        format!(
            "the token in {} has ended or was revoked, or may not look itself up: put a new one there, with {}",
            path.display(),
            self.key.policy()
        )
    }

    /// The properties of the key; `None` if they may not be read.
    pub(super) async fn read_key(&self) -> Result<Option<KeyProperties>, Failure> {
        let token = self.session.token().await?;
        let request = self.key.read_request();
        let token = Some(token.expose_token());
        match self.transport.call_for(&request, None::<&()>, token, &[]).await {
            Ok(KeyAnswer { data }) => Ok(Some(data)),
            Err(error) => self.key.unread(error).map_or(Ok(None), Err),
        }
    }

    /// What an operator should know of the token; nothing if it may not ask.
    pub(super) async fn look_at_token(&self) -> Result<Option<String>, Failure> {
        let token = self.session.token().await?;
        let (token, body) = (Some(token.expose_token()), self.key.capabilities_body());
        match self.transport.call(&CapabilitiesSelf, Some(&body), token, &[]).await {
            Ok(answer) => Ok(answer.data.and_then(|found| self.key.judge_capabilities(&found))),
            Err(CallError::Refused(_)) => Ok(None),
            Err(CallError::Failed(failure)) => Err(failure),
        }
    }

    /// What an operator should know of the file with this process's secret.
    pub(super) fn look_at_secret(&self) -> Option<String> {
        let (path, what) = self.auth.secret();
        let is_kubernetes = matches!(self.auth, VaultAuth::Kubernetes { .. });
        (!is_kubernetes && file::readable_by_all(path)).then(|| {
            let path = path.display();
            format!("every user of this machine may read the {what}: chmod o-r {path}")
        })
    }
}

/// That an answer has not what was asked for.
pub(super) fn unanswered() -> Failure {
    Failure::unavailable("it answered without what was asked for")
}
