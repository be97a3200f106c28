//! `[identity]` as written: whose signed tokens are taken, and what makes that valid.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::root::{ADDRESS_WANTED, is_safe_address, not_empty};
use super::{Problem, check_times};
use crate::identity::{
    ALGORITHMS, Algorithm, Endpoint, IdentitySettings, KUBERNETES, KeyPlace, KubernetesCheck,
    KubernetesSettings, OidcSettings, PodUid,
};
use crate::names::CallerName;

/// The API server, as every pod finds it.
const IN_CLUSTER: &str = "https://kubernetes.default.svc";
const IN_CLUSTER_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
const IN_CLUSTER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Keys that nobody could confirm are used for no longer.
const STALE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const PROVIDERS_MAX: usize = 16;
/// The longest issuer or audience.
const TEXT_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIdentity {
    #[serde(with = "humantime_serde")]
    refresh_after: Duration,
    #[serde(with = "humantime_serde")]
    stale_max: Duration,
    kubernetes: Option<RawKubernetes>,
    oidc: Vec<RawOidc>,
}

impl Default for RawIdentity {
    fn default() -> Self {
        let refresh_after = Duration::from_secs(15 * 60);
        Self { refresh_after, stale_max: STALE_MAX, kubernetes: None, oidc: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKubernetes {
    #[serde(default = "default_issuer")]
    issuer: String,
    audience: String,
    #[serde(default = "default_algorithms")]
    algorithms: Vec<String>,
    #[serde(default)]
    check: RawCheck,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    api_server: Option<String>,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    pod_uid: Option<String>,
    pod_uid_file: Option<PathBuf>,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum RawCheck {
    #[default]
    Jwks,
    TokenReview,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOidc {
    name: String,
    issuer: String,
    audience: String,
    #[serde(default = "default_algorithms")]
    algorithms: Vec<String>,
    ca_file: Option<PathBuf>,
    #[serde(default = "default_groups_claim")]
    groups_claim: String,
    #[serde(default = "default_mfa_amr")]
    mfa_amr: Vec<String>,
    #[serde(default)]
    mfa_acr: Vec<String>,
}

fn default_issuer() -> String {
    "https://kubernetes.default.svc.cluster.local".to_owned()
}

fn default_algorithms() -> Vec<String> {
    ["RS256", "ES256", "PS256", "EdDSA"].map(str::to_owned).to_vec()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

/// Of RFC 8176, the one value that means more than one factor by itself.
fn default_mfa_amr() -> Vec<String> {
    vec!["mfa".to_owned()]
}

impl RawIdentity {
    pub(super) fn check(self) -> Result<IdentitySettings, Problem> {
        check_times(&[
            ("identity.refresh_after", self.refresh_after),
            ("identity.stale_max", self.stale_max),
        ])?;
        if self.refresh_after < Duration::from_secs(1) {
            return Err(Problem::new("identity.refresh_after", "at least one second"));
        }
        if self.stale_max > STALE_MAX || self.stale_max <= self.refresh_after {
            let problem = "longer than identity.refresh_after, and at most one day";
            return Err(Problem::new("identity.stale_max", problem));
        }
        if self.oidc.len() > PROVIDERS_MAX {
            let problem = format!("at most {PROVIDERS_MAX} providers");
            return Err(Problem::new("identity.oidc", problem));
        }
        let kubernetes = self.kubernetes.map(RawKubernetes::check).transpose()?;
        let mut oidc: Vec<OidcSettings> = Vec::new();
        for (index, provider) in self.oidc.into_iter().enumerate() {
            let provider = provider.check(index)?;
            let at = |name: &str| format!("identity.oidc.{index}.{name}");
            if oidc.iter().any(|other| other.name == provider.name) {
                return Err(Problem::new(at("name"), "two providers have it: give each its own"));
            }
            let of_the_cluster =
                kubernetes.as_ref().is_some_and(|cluster| cluster.issuer == provider.issuer);
            if of_the_cluster || oidc.iter().any(|other| other.issuer == provider.issuer) {
                let problem = "its tokens are taken by another entry already";
                return Err(Problem::new(at("issuer"), problem));
            }
            oidc.push(provider);
        }
        let (refresh_after, stale_max) = (self.refresh_after, self.stale_max);
        Ok(IdentitySettings { refresh_after, stale_max, kubernetes, oidc })
    }
}

impl RawKubernetes {
    fn check(self) -> Result<KubernetesSettings, Problem> {
        let at = |name: &str| format!("identity.kubernetes.{name}");
        let check = match (self.check, self.jwks_url, self.jwks_file, self.api_server) {
            (RawCheck::Jwks, url, None, None) => {
                let place = "/openid/v1/jwks";
                let endpoint = endpoint(at("jwks_url"), url, place, self.ca_file, self.token_file)?;
                KubernetesCheck::Keys(KeyPlace::Address(endpoint))
            }
            (RawCheck::Jwks, None, Some(path), None)
                if self.ca_file.is_none() && self.token_file.is_none() =>
            {
                KubernetesCheck::Keys(KeyPlace::File(path))
            }
            (RawCheck::TokenReview, None, None, server) => {
                let endpoint =
                    endpoint(at("api_server"), server, "", self.ca_file, self.token_file)?;
                KubernetesCheck::TokenReview(endpoint)
            }
            _ => {
                let problem = "\"jwks\" goes with jwks_url, or with jwks_file alone; \"token_review\" with api_server";
                return Err(Problem::new(at("check"), problem));
            }
        };
        let pod_uid = match (self.pod_uid, self.pod_uid_file) {
            (None, None) => None,
            (Some(uid), None) => Some(PodUid::Is(not_empty(at("pod_uid"), uid)?)),
            (None, Some(path)) => Some(PodUid::File(path)),
            _ => return Err(Problem::new(at("pod_uid"), "either pod_uid or pod_uid_file")),
        };
        Ok(KubernetesSettings {
            issuer: text(at("issuer"), self.issuer)?,
            audience: text(at("audience"), self.audience)?,
            algorithms: algorithms(at("algorithms"), &self.algorithms)?,
            check,
            pod_uid,
        })
    }
}

/// Where to ask. The cluster's own authority and this pod's token go with the cluster's own address alone: a token is
/// sent nowhere else unless the configuration says so.
fn endpoint(
    setting: String,
    address: Option<String>,
    place: &str,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
) -> Result<Endpoint, Problem> {
    let Some(address) = address else {
        return Ok(Endpoint {
            address: format!("{IN_CLUSTER}{place}"),
            ca_file: Some(ca_file.unwrap_or_else(|| IN_CLUSTER_CA.into())),
            token_file: Some(token_file.unwrap_or_else(|| IN_CLUSTER_TOKEN.into())),
        });
    };
    match is_safe_address(&address) {
        true => Ok(Endpoint { address, ca_file, token_file }),
        false => Err(Problem::new(setting, ADDRESS_WANTED)),
    }
}

impl RawOidc {
    fn check(self, index: usize) -> Result<OidcSettings, Problem> {
        let at = |name: &str| format!("identity.oidc.{index}.{name}");
        let is_name = self.name.parse::<CallerName>().is_ok() && self.name.len() <= 64;
        if !is_name || self.name.contains(':') || [KUBERNETES, "system"].contains(&&*self.name) {
            let problem =
                "1 to 64 of A-Z a-z 0-9 . _ - / @ | + = ~, and neither `kubernetes` nor `system`";
            return Err(Problem::new(at("name"), problem));
        }
        if !is_safe_address(&self.issuer) {
            return Err(Problem::new(at("issuer"), ADDRESS_WANTED));
        }
        Ok(OidcSettings {
            name: self.name,
            issuer: text(at("issuer"), self.issuer)?,
            audience: text(at("audience"), self.audience)?,
            algorithms: algorithms(at("algorithms"), &self.algorithms)?,
            ca_file: self.ca_file,
            groups_claim: text(at("groups_claim"), self.groups_claim)?,
            mfa_amr: self.mfa_amr,
            mfa_acr: self.mfa_acr,
        })
    }
}

fn text(setting: String, text: String) -> Result<String, Problem> {
    match text.len() {
        1..=TEXT_BYTES_MAX => Ok(text),
        _ => Err(Problem::new(setting, format!("1 to {TEXT_BYTES_MAX} bytes"))),
    }
}

fn algorithms(setting: String, names: &[String]) -> Result<Vec<Algorithm>, Problem> {
    let of_name = |name: &String| {
        let found = ALGORITHMS.iter().find(|(known, _)| known == name);
        found.map(|(_, algorithm)| *algorithm)
    };
    let found: Option<Vec<_>> = names.iter().map(of_name).collect();
    found.filter(|listed| !listed.is_empty()).ok_or_else(|| {
        let known = ALGORITHMS.map(|(name, _)| name).join(", ");
        Problem::new(setting, format!("at least one of {known}"))
    })
}
