//! Looks credentials up for longer than one call waits for them.
//!
//! A call is given up after `root.attempt_timeout`, two seconds by default, and with it goes what it waits for. Some
//! credentials take longer: a process, an SSO portal, an instance's metadata behind a slow hop. So a look-up runs by
//! itself, is bounded by itself, and the next call finds what it brought. Test:
//! `credentials_that_take_longer_than_a_call_are_there_for_the_next`.

use std::fmt;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::LOOKUP_MAX;

/// A provider whose look-ups outlive the calls that began them. The SDK's cache is in front of it.
#[derive(Clone)]
pub(super) struct PatientCredentials {
    inner: Option<SharedCredentialsProvider>,
    lookup: Arc<Mutex<Option<JoinHandle<provider::Result>>>>,
}

impl PatientCredentials {
    pub(super) fn new(inner: Option<SharedCredentialsProvider>) -> Self {
        Self { inner, lookup: Arc::default() }
    }

    /// Whether a look-up runs now.
    pub(super) fn are_being_looked_up(&self) -> bool {
        let lookup = self.lookup.try_lock();
        lookup.is_ok_and(|lookup| lookup.as_ref().is_some_and(|task| !task.is_finished()))
    }

    async fn look_up(&self) -> provider::Result {
        let mut lookup = self.lookup.lock().await;
        let ended = lookup.as_ref().is_some_and(JoinHandle::is_finished);
        if ended && let Some(task) = lookup.as_mut() {
            let result = task.await;
            *lookup = None;
            // What failed for an earlier call is tried again for this one.
            if let Ok(Ok(credentials)) = result {
                return Ok(credentials);
            }
        }
        let task = lookup.get_or_insert_with(|| tokio::spawn(bounded(self.inner.clone())));
        let result = task.await;
        *lookup = None;
        result.unwrap_or_else(|_| Err(CredentialsError::unhandled("the look-up broke off")))
    }
}

async fn bounded(inner: Option<SharedCredentialsProvider>) -> provider::Result {
    let inner = inner.ok_or_else(CredentialsError::not_loaded_no_source)?;
    match tokio::time::timeout(LOOKUP_MAX, inner.provide_credentials()).await {
        Ok(result) => result,
        // Credentials of an instance stay in use while its metadata cannot be reached.
        Err(_) => inner
            .fallback_on_interrupt()
            .ok_or_else(|| CredentialsError::provider_timed_out(LOOKUP_MAX)),
    }
}

impl ProvideCredentials for PatientCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.look_up())
    }
}

impl fmt::Debug for PatientCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PatientCredentials").finish_non_exhaustive()
    }
}
