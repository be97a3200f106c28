//! What Vault answered, as one of the kinds of [`RootError`].
//!
//! Only an answer in Vault's own form ends the use of a key. Whatever a proxy on the way says, or a server that is
//! ill, passes by itself. Nothing secret is repeated: what the server says is quoted without the secrets that were
//! sent to it. Tests: `what_is_not_vaults_answer_passes_by_itself`,
//! `no_token_secret_or_jwt_is_in_an_error_or_in_debug`.

use std::time::Duration;

use crate::names::RootName;
use crate::root::RootError;

/// A [`RootError`] that does not know yet of which root it is; of one login, for all who wait for it.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Unavailable {
        reason: String,
        retry_after: Option<Duration>,
    },
    Throttled {
        retry_after: Option<Duration>,
    },
    Denied {
        reason: String,
    },
    KeyGone {
        reason: String,
    },
    Unusable {
        reason: String,
    },
    /// Its key can leave Vault.
    Exposed {
        reason: String,
    },
    Corrupt,
}

impl Failure {
    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: None }
    }

    /// What to tell an operator.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Unavailable { reason, .. }
            | Self::Denied { reason }
            | Self::KeyGone { reason }
            | Self::Unusable { reason }
            | Self::Exposed { reason } => reason,
            Self::Throttled { .. } => "Vault asks for fewer calls",
            Self::Corrupt => "it does not unwrap",
        }
    }

    /// The error of `root`.
    pub(super) fn of(self, root: &RootName) -> RootError {
        let root = root.clone();
        match self {
            Self::Unavailable { reason, retry_after } => {
                RootError::Unavailable { root, reason, retry_after }
            }
            Self::Throttled { retry_after } => RootError::Throttled { root, retry_after },
            Self::Denied { reason } => RootError::Denied { root, reason },
            Self::KeyGone { reason } => RootError::KeyGone { root, reason },
            Self::Unusable { reason } => RootError::Unusable { root, reason },
            Self::Exposed { reason } => RootError::Exposed { root, reason },
            Self::Corrupt => RootError::Corrupt { root },
        }
    }
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// For a reason that is the same for every call.
    Failed(Failure),
    /// Vault itself refused it: what that means, the caller knows.
    Refused(Refusal),
}

/// An error in Vault's own form.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// What it said, in one line, without what is secret.
    pub(super) said: String,
}

/// What is the same for every call, of a status and of what Vault said with it (`None`: not in Vault's form).
pub(super) fn judge(status: u16, said: Option<String>, retry_after: Option<Duration>) -> CallError {
    let unavailable =
        |reason: String| CallError::Failed(Failure::Unavailable { reason, retry_after });
    match (status, said) {
        (429, _) => CallError::Failed(Failure::Throttled { retry_after }),
        (300..=399, _) => unavailable(format!(
            "it answered with a redirect ({status}), which is not followed, because the token would go along: set address to the active server, or to a load balancer in front of it"
        )),
        (503, Some(said)) if said.contains("not yet initialized") => {
            unavailable("Vault is not initialised: run vault operator init".to_owned())
        }
        (503, Some(said)) if said.contains("sealed") => {
            unavailable("Vault is sealed: unseal it (vault operator unseal)".to_owned())
        }
        (412 | 472 | 473, _) => unavailable(format!(
            "a standby answered ({status}): set address to the active server, or wait until it takes over"
        )),
        (400 | 403 | 404 | 405 | 500, Some(said)) => CallError::Refused(Refusal { status, said }),
        (_, Some(said)) => unavailable(format!("it answered {status}: {said}")),
        (_, None) => unavailable(format!(
            "{status} was answered, and not by Vault: look at what stands between, and at address"
        )),
    }
}

/// What a key is for: each takes other keys, and other rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It wraps key versions.
    Wraps,
    /// It signs the certificates of audit logs.
    Signs,
}

/// Where the key is: for what is said to an operator.
#[derive(Clone, Debug)]
pub(super) struct KeyPlace {
    pub(super) mount: String,
    pub(super) key: String,
    pub(super) purpose: Purpose,
}

impl KeyPlace {
    /// What a policy has to allow.
    pub(super) fn policy(&self) -> String {
        let Self { mount, key, .. } = self;
        match self.purpose {
            Purpose::Wraps => {
                format!("`update` on {mount}/encrypt/{key} and on {mount}/decrypt/{key}")
            }
            Purpose::Signs => {
                format!("`update` on {mount}/sign/{key} and `read` on {mount}/keys/{key}")
            }
        }
    }

    /// What a refusal of encrypt, decrypt or sign means. Status 403 is judged before, by who knows the token.
    pub(super) fn judge(&self, refusal: Refusal) -> Failure {
        let Self { mount, key, purpose } = self;
        let Refusal { status, said } = refusal;
        let any = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
        if any(&["too old", "no such key version"]) {
            let reason = format!(
                "{key} of {mount}/ no longer decrypts this version of it ({said}): lower its min_decryption_version, or run keypod root rewrap while another root opens it"
            );
            return Failure::KeyGone { reason };
        }
        if any(&["key not found", "soft deleted", "soft-deleted"]) {
            let (write, kind) = match purpose {
                Purpose::Wraps => ("vault write -f", ""),
                Purpose::Signs => ("vault write", " type=ed25519"),
            };
            let reason = format!(
                "there is no key {key} in {mount}/ ({said}): bring it back from Vault's backup; for a new installation: {write} {mount}/keys/{key}{kind}"
            );
            return Failure::KeyGone { reason };
        }
        if any(&["context' for key derivation"]) {
            return Failure::Unusable { reason: self.new_key("is derived") };
        }
        let of_the_kind = ["associated_data", "not supported for key type", "unsupported key type"];
        let does_not_sign = ["does not support signing", "signing not supported"];
        if any(&of_the_kind) || *purpose == Purpose::Signs && any(&does_not_sign) {
            return Failure::Unusable { reason: self.new_key(self.unfit()) };
        }
        if any(&["invalid ciphertext", "message authentication failed", "version is too new"]) {
            return Failure::Corrupt;
        }
        match status {
            404 | 405 => Failure::Unusable {
                reason: format!(
                    "there is no transit engine at {mount}/ ({said}): run vault secrets enable -path={mount} transit, or set mount"
                ),
            },
            500 => Failure::unavailable(format!("it answered 500: {said}")),
            _ => Failure::Unusable { reason: format!("it refused {key} of {mount}/: {said}") },
        }
    }

    /// That the key `is` something it must not be, and how to get away from it.
    pub(super) fn new_key(&self, is: &str) -> String {
        let Self { mount, key, .. } = self;
        match self.purpose {
            Purpose::Wraps => format!(
                "{key} of {mount}/ {is}: make another one (vault write {mount}/keys/NAME type=aes256-gcm96), set key to it, and run keypod root rewrap"
            ),
            Purpose::Signs => format!(
                "{key} of {mount}/ {is}: make another one (vault write {mount}/keys/NAME type=ed25519), and set audit_key to it"
            ),
        }
    }

    /// What a key of a kind that is not for this is said to be.
    pub(super) fn unfit(&self) -> &'static str {
        match self.purpose {
            Purpose::Wraps => "takes no associated data",
            Purpose::Signs => "does not sign with Ed25519, nor with ECDSA over P-256",
        }
    }
}

/// What a server said, in one line of bounded length, without `secrets`.
pub(super) fn quoted(said: &[String], secrets: &[&str]) -> String {
    const CHARS_MAX: usize = 300;
    let mut text = said.join("; ");
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[hidden]");
    }
    let line: Vec<_> = text.split_whitespace().collect();
    let printable = line.join(" ");
    let printable = printable.chars().filter(|char| !char.is_control()).take(CHARS_MAX);
    match printable.collect::<String>() {
        text if text.is_empty() => "nothing more".to_owned(),
        text => text,
    }
}
