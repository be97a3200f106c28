//! `[root]` as written: every root, and what makes it valid.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Problem, check_times};
use crate::config::settings::{CacheSettings, LocalRootSettings, RootKind, RootSettings};
use crate::names::RootName;
use crate::root::aws_kms::AwsKmsSettings;
use crate::root::is_this_machine;
use crate::root::vault::{ClientIdentity, VaultAuth, VaultSettings};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoot {
    #[serde(default = "default_domain")]
    domain: String,
    #[serde(default)]
    prefer: Vec<String>,
    #[serde(default = "default_attempt_timeout", with = "humantime_serde")]
    attempt_timeout: Duration,
    #[serde(default = "default_call_timeout", with = "humantime_serde")]
    call_timeout: Duration,
    #[serde(default = "default_retry_interval", with = "humantime_serde")]
    retry_interval: Duration,
    #[serde(default)]
    aws_kms: Vec<RawAwsKms>,
    #[serde(default)]
    vault: Vec<RawVault>,
    local: Option<RawLocalRoot>,
}

fn default_domain() -> String {
    "default".to_owned()
}

fn default_attempt_timeout() -> Duration {
    Duration::from_secs(2)
}

fn default_call_timeout() -> Duration {
    Duration::from_secs(6)
}

fn default_retry_interval() -> Duration {
    Duration::from_secs(5)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocalRoot {
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    salt_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAwsKms {
    #[serde(default = "default_aws_kms_name")]
    name: String,
    key: String,
    region: Option<String>,
    endpoint: Option<String>,
    #[serde(default)]
    fips: bool,
    #[serde(default)]
    dual_stack: bool,
    audit_key: Option<String>,
}

fn default_aws_kms_name() -> String {
    "aws_kms".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVault {
    #[serde(default = "default_vault_name")]
    name: String,
    address: String,
    namespace: Option<String>,
    #[serde(default = "default_mount")]
    mount: String,
    key: String,
    audit_key: Option<String>,
    token_file: Option<PathBuf>,
    approle: Option<RawAppRole>,
    kubernetes: Option<RawKubernetes>,
    ca_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
}

fn default_vault_name() -> String {
    "vault".to_owned()
}

fn default_mount() -> String {
    "transit".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAppRole {
    #[serde(default = "default_approle_mount")]
    mount: String,
    role_id: String,
    secret_id_file: PathBuf,
}

fn default_approle_mount() -> String {
    "approle".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKubernetes {
    #[serde(default = "default_kubernetes_mount")]
    mount: String,
    role: String,
    #[serde(default = "default_kubernetes_token")]
    token_file: PathBuf,
}

fn default_kubernetes_mount() -> String {
    "kubernetes".to_owned()
}

fn default_kubernetes_token() -> PathBuf {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
}

impl RawRoot {
    pub(super) fn check(self, cache: &CacheSettings) -> Result<RootSettings, Problem> {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !(1..=128).contains(&self.domain.len()) || !plain(&self.domain) {
            return Err(Problem::new("root.domain", "1 to 128 printable ASCII characters"));
        }
        check_times(&[
            ("root.attempt_timeout", self.attempt_timeout),
            ("root.call_timeout", self.call_timeout),
            ("root.retry_interval", self.retry_interval),
        ])?;
        if self.call_timeout < self.attempt_timeout {
            let problem = "at least root.attempt_timeout";
            return Err(Problem::new("root.call_timeout", problem));
        }
        let aws_kms = self.aws_kms.into_iter().enumerate();
        let vault = self.vault.into_iter().enumerate();
        let mut roots = Vec::new();
        for root in aws_kms.map(|(index, root)| root.check(index)) {
            roots.push(RootKind::AwsKms(root?));
        }
        for root in vault.map(|(index, root)| root.check(index)) {
            roots.push(RootKind::Vault(root?));
        }
        if let Some(local) = self.local {
            roots.push(RootKind::Local(local.check()?));
        }
        Ok(RootSettings {
            domain: self.domain,
            attempt_timeout: self.attempt_timeout,
            call_timeout: self.call_timeout,
            // What failed is tried again at least as often as what did not: a revoked key goes on for no longer.
            retry_interval: self.retry_interval.min(cache.refresh_after).min(cache.root_recheck),
            roots: in_order(roots, &self.prefer)?,
        })
    }
}

/// The roots that `prefer` names first, in its order; then the others in theirs.
fn in_order(mut roots: Vec<RootKind>, prefer: &[String]) -> Result<Vec<RootKind>, Problem> {
    if roots.is_empty() {
        let problem = "no root is configured: add [[root.aws_kms]], [[root.vault]] or [root.local]";
        return Err(Problem::new("root", problem));
    }
    for (index, root) in roots.iter().enumerate() {
        if roots.iter().take(index).any(|other| other.name() == root.name()) {
            let problem = format!("two roots have the name {}: give each its own", root.name());
            return Err(Problem::new("root", problem));
        }
    }
    let mut ordered = Vec::new();
    for name in prefer {
        let Some(place) = roots.iter().position(|root| root.name().as_str() == name) else {
            let problem = format!("{name} is named twice, or is not the name of a root");
            return Err(Problem::new("root.prefer", problem));
        };
        ordered.push(roots.remove(place));
    }
    ordered.append(&mut roots);
    Ok(ordered)
}

fn name(setting: String, text: &str) -> Result<RootName, Problem> {
    if text == RootName::local().as_str() {
        return Err(Problem::new(setting, "`local` is the name of the embedded root"));
    }
    text.parse().map_err(|error| Problem::new(setting, format!("{error}")))
}

/// Whether this is an address that secrets may be sent to: over TLS, or to this machine itself.
pub(super) fn is_safe_address(text: &str) -> bool {
    let Ok(address) = text.parse::<http::Uri>() else { return false };
    let loopback = address.host().is_some_and(is_this_machine);
    let bare = address.query().is_none() && address.authority().is_some_and(no_credentials);
    bare && match address.scheme_str() {
        Some("https") => address.host().is_some(),
        Some("http") => loopback,
        _ => false,
    }
}

fn no_credentials(authority: &http::uri::Authority) -> bool {
    !authority.as_str().contains('@')
}

pub(super) const ADDRESS_WANTED: &str =
    "an address such as https://HOST:PORT, without a user; http:// only to this machine itself";

pub(super) fn not_empty(setting: impl Into<String>, text: String) -> Result<String, Problem> {
    match text.is_empty() {
        true => Err(Problem::new(setting, "it is empty")),
        false => Ok(text),
    }
}

impl RawAwsKms {
    fn check(self, index: usize) -> Result<AwsKmsSettings, Problem> {
        let at = |name: &str| format!("root.aws_kms.{index}.{name}");
        if self.endpoint.as_deref().is_some_and(|address| !is_safe_address(address)) {
            return Err(Problem::new(at("endpoint"), ADDRESS_WANTED));
        }
        Ok(AwsKmsSettings {
            name: name(at("name"), &self.name)?,
            key: not_empty(at("key"), self.key)?,
            region: self.region.map(|region| not_empty(at("region"), region)).transpose()?,
            endpoint: self.endpoint,
            fips: self.fips,
            dual_stack: self.dual_stack,
            audit_key: self.audit_key.map(|key| not_empty(at("audit_key"), key)).transpose()?,
        })
    }
}

impl RawVault {
    fn check(self, index: usize) -> Result<VaultSettings, Problem> {
        let at = |name: &str| format!("root.vault.{index}.{name}");
        if !is_safe_address(&self.address) {
            return Err(Problem::new(at("address"), ADDRESS_WANTED));
        }
        let auth = match (self.token_file, self.approle, self.kubernetes) {
            (Some(path), None, None) => VaultAuth::TokenFile(path),
            (None, Some(RawAppRole { mount, role_id, secret_id_file }), None) => {
                VaultAuth::AppRole { mount, role_id, secret_id_file }
            }
            (None, None, Some(RawKubernetes { mount, role, token_file })) => {
                VaultAuth::Kubernetes { mount, role, token_file }
            }
            _ => {
                let problem = "exactly one of token_file, approle and kubernetes";
                return Err(Problem::new(at("token_file"), problem));
            }
        };
        let client_identity = match (self.client_cert_file, self.client_key_file) {
            (None, None) => None,
            (Some(cert_file), Some(key_file)) => Some(ClientIdentity { cert_file, key_file }),
            _ => {
                let problem = "client_cert_file and client_key_file go together";
                return Err(Problem::new(at("client_cert_file"), problem));
            }
        };
        let mount = self.mount.trim_matches('/').to_owned();
        Ok(VaultSettings {
            name: name(at("name"), &self.name)?,
            address: self.address.trim_end_matches('/').to_owned(),
            namespace: self.namespace,
            mount: not_empty(at("mount"), mount)?,
            key: not_empty(at("key"), self.key)?,
            audit_key: self.audit_key.map(|key| not_empty(at("audit_key"), key)).transpose()?,
            auth,
            ca_file: self.ca_file,
            client_identity,
        })
    }
}

impl RawLocalRoot {
    fn check(self) -> Result<LocalRootSettings, Problem> {
        match (self.key_file, self.passphrase_file, self.salt_file) {
            (Some(key_file), None, None) => Ok(LocalRootSettings::KeyFile(key_file)),
            (None, Some(passphrase_file), Some(salt_file)) => {
                Ok(LocalRootSettings::Passphrase { passphrase_file, salt_file })
            }
            _ => Err(Problem::new(
                "root.local",
                "either key_file, or passphrase_file together with salt_file",
            )),
        }
    }
}
