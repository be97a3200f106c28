//! Logs in: what is secret is read from its file each time, sent once, and wiped.

use std::time::Duration;

use serde::Serialize;
use vaultrs::api::AuthInfo;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;
use vaultrs::api::token::requests::{LookupTokenSelfRequest, RenewTokenSelfRequest};
use zeroize::Zeroizing;

use super::failure::{CallError, Failure, Refusal};
use super::lease::Lease;
use super::transport::Transport;
use super::{VaultAuth, VaultRootError, file};
use crate::error_chain::error_chain;

/// A token, and how long it lives, where that is known.
pub(super) struct Login {
    pub(super) token: Zeroizing<String>,
    pub(super) lease: Option<Lease>,
}

impl VaultAuth {
    /// The file with what is secret, and what that is.
    pub(super) fn secret(&self) -> (&std::path::Path, &'static str) {
        match self {
            Self::TokenFile(path) => (path, "token"),
            Self::AppRole { secret_id_file, .. } => (secret_id_file, "secret id"),
            Self::Kubernetes { token_file, .. } => (token_file, "service account's token"),
        }
    }

    /// Reads what is secret.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, VaultRootError> {
        let (path, what) = self.secret();
        file::read_secret(path, what)
    }
}

#[derive(Serialize)]
struct AppRoleBody<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct KubernetesBody<'a> {
    role: &'a str,
    jwt: &'a str,
}

/// Logs in as `auth` says. A token from a file is taken as it is.
pub(super) async fn log_in(auth: &VaultAuth, transport: &Transport) -> Result<Login, Failure> {
    let secret = auth.read().map_err(|error| Failure::unavailable(error_chain(&error)))?;
    let text = secret.as_str();
    let (mount, answer) = match auth {
        VaultAuth::TokenFile(_) => return Ok(Login { token: secret, lease: None }),
        VaultAuth::AppRole { mount, role_id, .. } => {
            // What is secret is in the body, which is written here: the endpoint says where it goes.
            let endpoint = LoginWithApproleRequest {
                mount: mount.clone(),
                role_id: String::new(),
                secret_id: String::new(),
            };
            let body = AppRoleBody { role_id, secret_id: text };
            (mount, transport.call(&endpoint, Some(&body), None, &[text, role_id]).await)
        }
        VaultAuth::Kubernetes { mount, role, .. } => {
            let endpoint = LoginWithKubernetesRequest {
                mount: mount.clone(),
                role: String::new(),
                jwt: String::new(),
            };
            let body = KubernetesBody { role, jwt: text };
            (mount, transport.call(&endpoint, Some(&body), None, &[text]).await)
        }
    };
    let answer = answer.map_err(|error| refused(error, auth, mount))?;
    let given =
        answer.auth.ok_or_else(|| Failure::unavailable("a login was answered without a token"))?;
    let lease = Some(lease(&given));
    Ok(Login { token: Zeroizing::new(given.client_token), lease })
}

fn lease(given: &AuthInfo) -> Lease {
    Lease { duration: Duration::from_secs(given.lease_duration), renewable: given.renewable }
}

fn refused(error: CallError, auth: &VaultAuth, mount: &str) -> Failure {
    let Refusal { status, said } = match error {
        CallError::Failed(failure) => return failure,
        CallError::Refused(refusal) => refusal,
    };
    let (path, what) = auth.secret();
    let path = path.display();
    // Some versions answer a wrong secret with 500, as they do a failure of theirs.
    let is_wrong = ["invalid secret id", "invalid role", "jwt not valid", "account unauthorized"]
        .iter()
        .any(|wrong| said.contains(wrong));
    match status {
        500 if !is_wrong => {
            Failure::unavailable(format!("the login at auth/{mount} was answered 500: {said}"))
        }
        404 | 405 => Failure::Unusable {
            reason: format!(
                "there is no such auth method at auth/{mount} ({said}): run vault auth enable, or set its mount"
            ),
        },
        // Vault answers the same when it cannot ask Kubernetes: an outage there must not end keys here.
        403 if matches!(auth, VaultAuth::Kubernetes { .. }) => Failure::unavailable(format!(
            "the login at auth/{mount} was refused, or Vault could not ask Kubernetes ({status}: {said}): check that the method is enabled there, its role, the {what} in {path}, and that Vault reaches the API server"
        )),
        _ => Failure::Denied {
            reason: format!(
                "the login at auth/{mount} was refused ({status}: {said}): check that the method is enabled there, its role, and the {what} in {path}"
            ),
        },
    }
}

/// Makes `token` live longer.
pub(super) async fn renew(transport: &Transport, token: &str) -> Result<Lease, CallError> {
    let endpoint = RenewTokenSelfRequest { increment: None };
    let answer = transport.call(&endpoint, None::<&()>, Some(token), &[]).await?;
    let given = answer.auth.as_ref().map(lease);
    given.ok_or_else(|| CallError::Failed(Failure::unavailable("a renewal without a lease")))
}

/// How long `token` still lives; an error of status 403 if it is not valid, or may not ask.
pub(super) async fn look_up(transport: &Transport, token: &str) -> Result<Lease, CallError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        data: Data,
    }
    #[derive(serde::Deserialize)]
    struct Data {
        ttl: u64,
        #[serde(default)]
        renewable: bool,
    }
    let endpoint = LookupTokenSelfRequest {};
    let answer: Answer = transport.call_for(&endpoint, None::<&()>, Some(token), &[]).await?;
    let Data { ttl, renewable } = answer.data;
    Ok(Lease { duration: Duration::from_secs(ttl), renewable })
}
