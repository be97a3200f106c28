//! What a signed token adds to a request: remembered and seen for the first time, beside SHA-256 of 1 KiB as a measure
//! of this machine.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "criterion's macros make items without documentation; a benchmark may stop"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use jsonwebtoken::{EncodingKey, Header, encode};
use keypod::clock::{Clock as _, Now, SystemClock};
use keypod::identity::{
    Algorithm, IdentitySettings, Issuers, KeyPlace, KubernetesCheck, KubernetesSettings,
};
use keypod::secret::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The cluster's issuer, its keys from a file.
fn issuers(key: &KeyPair, now: Now) -> Issuers {
    use base64::Engine as _;
    let (x, y) = key.public_key_raw()[1..].split_at(32);
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": part(x), "y": part(y)});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, json!({"keys": [jwk]}).to_string()).unwrap();
    let kubernetes = KubernetesSettings {
        issuer: ISSUER.to_owned(),
        audience: "keypod".to_owned(),
        algorithms: vec![Algorithm::ES256],
        check: KubernetesCheck::Keys(KeyPlace::File(path)),
        pod_uid: None,
    };
    let settings = IdentitySettings {
        refresh_after: Duration::from_secs(900),
        stale_max: Duration::from_secs(86_400),
        kubernetes: Some(kubernetes),
        oidc: Vec::new(),
    };
    let issuers = Issuers::open(&settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(issuers.keep_fresh(now));
    issuers
}

fn token(key: &KeyPair, now: Now, number: u64) -> String {
    let claims = json!({
        "iss": ISSUER,
        "aud": ["keypod"],
        "sub": "system:serviceaccount:clinic:intake",
        "iat": now.wall.0,
        "exp": now.wall.0 + 3600,
        "jti": number.to_string(),
        "kubernetes.io": {
            "namespace": "clinic",
            "serviceaccount": {"name": "intake", "uid": "b3c1c0a6-7f0e-4c0e-9b0a-6f1f4b9c6a11"},
            "pod": {"name": "intake-0", "uid": "0d5f2c6e-2b60-4c5e-8f4e-0c8d7f1f3f0e"},
        },
    });
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::ES256) };
    encode(&header, &claims, &EncodingKey::from_ec_der(key.serialized_der())).unwrap()
}

fn identity(criterion: &mut Criterion) {
    let now = SystemClock.now();
    let key = KeyPair::generate().unwrap();
    let issuers = issuers(&key, now);
    // As `http::caller` asks: nothing is waited for, because the key is known.
    let ask = |token: &str| {
        let digest = Sha256::digest(token).into();
        let asked = issuers.authenticate(token, digest, now).now_or_never();
        asked.flatten().is_some()
    };
    let known = token(&key, now, 0);
    assert!(ask(&known) && issuers.could_be_a_token(known.as_bytes()));
    let mut group = criterion.benchmark_group("identity");
    group.bench_function("measure/sha256-1KiB", |bencher| {
        bencher.iter(|| Sha256::digest(black_box([7; 1024])));
    });
    group.bench_function("remembered", |bencher| bencher.iter(|| ask(black_box(&known))));
    let (mut number, mut refused) = (0, 0_u64);
    group.bench_function("first/es256", |bencher| {
        bencher.iter_batched(
            || {
                number += 1;
                token(&key, now, number)
            },
            |token| refused += u64::from(!ask(&token)),
            criterion::BatchSize::SmallInput,
        );
    });
    assert_eq!(refused, 0);
    group.finish();
}

criterion_group!(benches, identity);
criterion_main!(benches);
