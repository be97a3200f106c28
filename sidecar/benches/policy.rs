//! What policy adds to a request: a remembered decision and a first one, with 5 and with 50 policies and 200 roles,
//! beside SHA-256 of 1 KiB as a measure of this machine.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make items without documentation; a benchmark may stop"
)]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use keypod::clock::UnixSeconds;
use keypod::envelope::Context;
use keypod::names::KeyName;
use keypod::policy::{
    AccessRequest, Action, Caller, CallerKind, Document, ENTITIES_FILE, Identity, Policies,
    Resource, Transport, decide,
};
use sha2::{Digest as _, Sha256};

/// `policies` policies over 200 roles, the last of which permits what is asked.
fn set(policies: usize) -> Policies {
    let mut text = String::new();
    for number in 0..policies {
        writeln!(
            text,
            "permit (principal in Role::\"role-{number}\", action == Action::\"encrypt\", resource in KeyGroup::\"keys\")
             when {{ context has request.tenant && context.request.tenant == \"{number}\" }};"
        )
        .unwrap();
    }
    let mut entities = "[key_groups.keys]\nkeys = [\"*\"]\n".to_owned();
    for number in 0..200 {
        writeln!(entities, "[roles.role-{number}]\nmembers = [\"orders\"]").unwrap();
    }
    let document = |name: &str, text: String| Document { name: name.to_owned(), text };
    Policies::load(&[document("a.cedar", text), document(ENTITIES_FILE, entities)], &[], &[])
        .unwrap()
}

fn policy(criterion: &mut Criterion) {
    let identity = Identity::new("orders".parse().unwrap(), CallerKind::Peer, Vec::new());
    let caller = Caller { identity: identity.into(), transport: Transport::Unix, mfa: false };
    let key: KeyName = "cards".parse().unwrap();
    let mut group = criterion.benchmark_group("policy");
    group.bench_function("measure/sha256-1KiB", |bencher| {
        bencher.iter(|| Sha256::digest(black_box([7; 1024])));
    });
    for policies in [5, 50] {
        let set = set(policies);
        let ask = |tenant: &str| {
            let pairs = [("tenant", tenant), ("record", "r-1")];
            let context =
                Context::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
                    .unwrap();
            let (resource, now) = (Resource::Key(&key), UnixSeconds(0));
            let request = AccessRequest {
                caller: &caller,
                action: Action::Encrypt,
                resource,
                context: Some(&context),
                approved: false,
                emergency: false,
                now,
            };
            decide(&set, &request).is_ok()
        };
        let last = (policies - 1).to_string();
        assert!(ask(&last) && !ask("x"));
        group.bench_function(format!("remembered/{policies}-policies"), |bencher| {
            bencher.iter(|| ask(black_box(&last)));
        });
        let mut number = 0_u64;
        group.bench_function(format!("first/{policies}-policies"), |bencher| {
            bencher.iter(|| {
                number += 1;
                ask(&number.to_string())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, policy);
criterion_main!(benches);
