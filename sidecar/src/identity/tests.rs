//! Good tokens, forged tokens, and issuers that answer as they are told.

mod accounts;
mod forged;
mod freshness;
mod people;
mod reviews;
mod signer;
mod stand_in;

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::clock::{Clock, SystemClock, UnixSeconds};
use signer::Signer;
use stand_in::StandIn;

const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn now() -> Now {
    Now { wall: UnixSeconds(1_800_000_000), ..SystemClock.now() }
}

/// The claims of a service account's token, from a minute ago and for ten minutes.
fn account(now: Now) -> Value {
    json!({
        "iss": CLUSTER,
        "aud": ["keypod"],
        "sub": "system:serviceaccount:clinic:intake",
        "iat": now.wall.0 - 60,
        "nbf": now.wall.0 - 60,
        "exp": now.wall.0 + 600,
        "jti": "3c1f",
        "kubernetes.io": {
            "namespace": "clinic",
            "serviceaccount": {"name": "intake", "uid": "account-uid"},
            "pod": {"name": "intake-0", "uid": "pod-uid"},
        },
    })
}

fn settings() -> IdentitySettings {
    IdentitySettings {
        refresh_after: 15 * MINUTE,
        stale_max: 24 * HOUR,
        kubernetes: None,
        oidc: Vec::new(),
    }
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256, Algorithm::ES256, Algorithm::PS256, Algorithm::EdDSA]
}

fn at(address: &str) -> Endpoint {
    Endpoint { address: address.to_owned(), ca_file: None, token_file: None }
}

fn cluster(check: KubernetesCheck) -> IdentitySettings {
    let kubernetes = KubernetesSettings {
        issuer: CLUSTER.to_owned(),
        audience: "keypod".to_owned(),
        algorithms: default_algorithms(),
        check,
        pod_uid: None,
    };
    IdentitySettings { kubernetes: Some(kubernetes), ..settings() }
}

/// The cluster's issuer, with its keys where `issuer` answers.
fn keys_at(issuer: &StandIn) -> IdentitySettings {
    cluster(KubernetesCheck::Keys(KeyPlace::Address(at(&issuer.address))))
}

async fn opened(settings: &IdentitySettings, now: Now) -> Issuers {
    let issuers = Issuers::open(settings).unwrap();
    issuers.keep_fresh(now).await;
    issuers
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// As a request asks: who it is, if anybody.
async fn ask(issuers: &Issuers, token: &str, now: Now) -> Option<Proven> {
    if !issuers.could_be_a_token(token.as_bytes()) {
        return None;
    }
    issuers.authenticate(token, digest(token), now).await
}

async fn name(issuers: &Issuers, token: &str, now: Now) -> Option<String> {
    ask(issuers, token, now).await.map(|proven| proven.identity.name().to_string())
}

/// Why `token` is refused, past what is remembered.
async fn refusal(issuers: &Issuers, token: &str, now: Now) -> Option<Refusal> {
    issuers.judge(token, digest(token), now).await.err().map(|(_, refusal)| refusal)
}
