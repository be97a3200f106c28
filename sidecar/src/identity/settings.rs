//! What the configuration says of issuers of signed tokens, checked.

use std::path::PathBuf;
use std::time::Duration;

pub use jsonwebtoken::Algorithm;

/// Every issuer whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    /// An issuer's keys are fetched again after this long.
    pub refresh_after: Duration,
    /// They are used for this long while the issuer cannot be reached.
    pub stale_max: Duration,
    /// The cluster's own issuer.
    pub kubernetes: Option<KubernetesSettings>,
    /// Issuers of people's tokens; their names and issuers differ.
    pub oidc: Vec<OidcSettings>,
}

/// `[identity.kubernetes]`: service accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// As tokens name it.
    pub issuer: String,
    /// What tokens must be for.
    pub audience: String,
    /// What signs them.
    pub algorithms: Vec<Algorithm>,
    /// How a token is checked.
    pub check: KubernetesCheck,
    /// The only pod whose tokens are taken.
    pub pod_uid: Option<PodUid>,
}

/// How a service account's token is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesCheck {
    /// By the cluster's keys, here.
    Keys(KeyPlace),
    /// By the API server, each anew.
    TokenReview(Endpoint),
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// At this address.
    Address(Endpoint),
    /// Where the issuer's discovery document says, which is below the issuer's address.
    Discovery(Endpoint),
    /// In this file, read again when it changes.
    File(PathBuf),
}

/// Who is asked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://...`, or `http://...` on this machine.
    pub address: String,
    /// Whose certificates are believed; the system's authorities without.
    pub ca_file: Option<PathBuf>,
    /// The bearer token to send, read anew each time.
    pub token_file: Option<PathBuf>,
}

/// Where it is said which pod this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodUid {
    /// In the configuration.
    Is(String),
    /// In this file.
    File(PathBuf),
}

/// `[[identity.oidc]]`: people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcSettings {
    /// What stands before the colon in its callers' names and roles.
    pub name: String,
    /// The address that its discovery document is below, as tokens name it.
    pub issuer: String,
    /// What tokens must be for.
    pub audience: String,
    /// What signs them.
    pub algorithms: Vec<Algorithm>,
    /// Whose certificates are believed; the system's authorities without.
    pub ca_file: Option<PathBuf>,
    /// The claim with the groups.
    pub groups_claim: String,
    /// Values of `amr` (RFC 8176) that mean a second factor.
    pub mfa_amr: Vec<String>,
    /// Values of `acr` that mean one.
    pub mfa_acr: Vec<String>,
}
