use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use tokio::sync::Semaphore;

use super::*;

/// Gives credentials when it is let, and counts how often it was asked.
#[derive(Clone, Debug)]
struct Gated {
    gate: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
}

impl ProvideCredentials for Gated {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let _open = self.gate.acquire().await;
            Ok(credentials())
        })
    }
}

#[tokio::test]
async fn credentials_that_take_longer_than_a_call_are_there_for_the_next() {
    let moto = MotoServer::shared();
    let gated = Gated { gate: Arc::new(Semaphore::new(0)), asked: Arc::default() };
    let settings = settings(&moto.create_key(REGION), &moto.endpoint());
    let soon = Duration::from_millis(250);
    let root = AwsKmsRoot::with_chain(&settings, &chain(gated.clone()), soon, &arena()).unwrap();
    for _ in 0..2 {
        let refused = root.wrap(&secret(), binding()).await.unwrap_err();
        assert!(matches!(refused, RootError::Unavailable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("still looked up"), "{refused}");
    }
    gated.gate.add_permits(1);
    let mut attempts = 0;
    while let Err(refused) = root.wrap(&secret(), binding()).await {
        attempts += 1;
        assert!(attempts < 100, "{refused}");
    }
    assert_eq!(gated.asked.load(Ordering::Relaxed), 1);
}

/// Fails as it is told.
#[derive(Debug)]
struct Failing(fn() -> CredentialsError);

impl ProvideCredentials for Failing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err((self.0)()))
    }
}

async fn without(failure: fn() -> CredentialsError) -> String {
    let settings = settings("alias/keypod", "http://127.0.0.1:1");
    let chain = chain(Failing(failure));
    let root = AwsKmsRoot::with_chain(&settings, &chain, PATIENT, &arena()).unwrap();
    let refused = root.wrap(&secret(), binding()).await.unwrap_err();
    assert!(matches!(refused, RootError::Unavailable { .. }), "{refused:?}");
    refused.to_string()
}

#[tokio::test]
async fn a_process_without_credentials_is_told_how_to_get_some() {
    let said = without(CredentialsError::not_loaded_no_source).await;
    assert!(said.contains("no credentials for alias/keypod in eu-central-1"), "{said}");
    assert!(said.contains("give this process a role"), "{said}");
    let said = without(|| {
        CredentialsError::provider_error(
            "AccessDenied: not authorized to perform sts:AssumeRoleWithWebIdentity",
        )
    })
    .await;
    assert!(said.contains("sts:AssumeRoleWithWebIdentity"), "{said}");

    let settings = settings("alias/keypod", "http://127.0.0.1:1");
    let bare = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .build();
    let root = AwsKmsRoot::with_chain(&settings, &bare, PATIENT, &arena()).unwrap();
    let said = root.wrap(&secret(), binding()).await.unwrap_err().to_string();
    assert!(said.contains("no credentials for alias/keypod"), "{said}");
}

#[tokio::test]
async fn what_a_process_for_credentials_writes_to_its_standard_error_is_not_shown() {
    let said = without(|| {
        CredentialsError::provider_error(
            "Error retrieving credentials: external process exited with code 1. Stderr: pw hunter2",
        )
    })
    .await;
    assert!(said.contains("exited with code 1") && !said.contains("hunter2"), "{said}");
}
