//! Tells what other writers did, as triggers in the database announce it.
//!
//! Depends on the settings alone; has one connection of its own, outside of the pool. The triggers
//! (`migrations/postgres/0001_keys.sql`) see every writer, an operator's psql as well, and never usage
//! (`usage_makes_no_event`). An announcement is not kept for who does not listen, so every beginning says
//! [`StoreEvent::Resumed`], after it listens (`a_watch_resumes_after_a_restart_and_sees_what_comes_then`). A
//! connection that a network has swallowed says nothing and does not end: after some silence it is asked whether it
//! still works.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use sha2::{Digest, Sha256};
use sqlx::Executor;
use sqlx::pool::CloseEvent;
use sqlx::postgres::{PgListener, PgNotification};

use super::connect;
use super::{PostgresSettings, error};
use crate::names::KeyId;
use crate::store::StoreEvent;
use crate::store::fault::Fault;

/// After how much silence the connection is tried.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The wait before the connection is made again is drawn from zero up to a bound that doubles between these.
const PAUSE_MS_FIRST: u32 = 100;
const PAUSE_MS_MAX: u32 = 10_000;

/// What happens from now on, until `closing`.
pub(super) fn events(
    settings: PostgresSettings,
    closing: CloseEvent,
) -> BoxStream<'static, StoreEvent> {
    let watch = Watch { settings, listener: None, failures: 0 };
    stream::unfold((watch, closing), |(mut watch, mut closing)| async move {
        let event = closing.do_until(watch.next()).await.ok()?;
        Some((event, (watch, closing)))
    })
    .boxed()
}

struct Watch {
    settings: PostgresSettings,
    listener: Option<PgListener>,
    /// In a row, of making the connection.
    failures: u32,
}

impl Watch {
    async fn next(&mut self) -> StoreEvent {
        loop {
            let Some(listener) = &mut self.listener else {
                self.listen().await;
                if self.listener.is_some() {
                    return StoreEvent::Resumed;
                }
                continue;
            };
            match tokio::time::timeout(SILENCE_MAX, listener.try_recv()).await {
                Ok(Ok(Some(told))) => return event(&told),
                Ok(Ok(None)) => self.lose("the connection ended"),
                Ok(Err(error)) => {
                    let error = Fault::from(error).about(&self.settings);
                    self.lose(&error.to_string());
                }
                Err(_) => {
                    let asked = listener.execute("SELECT 1");
                    let answer = tokio::time::timeout(self.settings.timeout, asked).await;
                    if !matches!(answer, Ok(Ok(_))) {
                        self.lose("the connection does not answer");
                    }
                }
            }
        }
    }

    fn lose(&mut self, why: &str) {
        tracing::warn!(why, "no longer told of other sidecars' changes: connecting again");
        self.listener = None;
    }

    /// Makes the connection, or waits a while after a failure.
    async fn listen(&mut self) {
        let limit = self.settings.timeout.saturating_mul(2);
        let made = tokio::time::timeout(limit, listener(&self.settings)).await;
        match made.unwrap_or_else(|_| Err(error::silent())) {
            Ok(listener) => {
                if self.failures > 0 {
                    tracing::info!("told of other sidecars' changes again");
                }
                self.failures = 0;
                self.listener = Some(listener);
            }
            Err(fault) => {
                let error = fault.about(&self.settings);
                if self.failures == 0 {
                    tracing::warn!(%error, "not told of other sidecars' changes: trying again and again");
                }
                self.failures = self.failures.saturating_add(1);
                tokio::time::sleep(pause(self.failures, random())).await;
            }
        }
    }
}

/// A connection that listens; password and certificates are read anew.
async fn listener(settings: &PostgresSettings) -> Result<PgListener, Fault> {
    let options = connect::options(settings, connect::Patience::Usual).await?;
    let pool = connect::pool(settings, 1).idle_timeout(None).max_lifetime(None);
    let mut listener = PgListener::connect_with(&pool.connect_lazy_with(options)).await?;
    listener.eager_reconnect(false);
    listener.listen(&channel(&settings.schema)).await?;
    Ok(listener)
}

/// As the function `tell_of_change` of the migrations spells it.
fn channel(schema: &str) -> String {
    use std::fmt::Write as _;
    let mut name = "keypod_".to_owned();
    for byte in Sha256::digest(schema.as_bytes()).iter().take(16) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Whoever may connect to the database may announce anything: what is no key's id makes nobody believe anything but
/// that everything is to be looked at.
fn event(told: &PgNotification) -> StoreEvent {
    match told.payload().parse::<KeyId>() {
        Ok(key) => StoreEvent::Changed(key),
        Err(_) => {
            tracing::warn!("told of a change without a key's id: every key is looked at again");
            StoreEvent::Resumed
        }
    }
}

/// Full jitter: anything up to a bound that doubles with each failure, so that many sidecars do not come at once.
fn pause(failures: u32, random: u32) -> Duration {
    let doubled = PAUSE_MS_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10));
    let most = u64::from(doubled.min(PAUSE_MS_MAX));
    Duration::from_millis((u64::from(random) * (most + 1)) >> 32)
}

/// Nothing secret hangs on it: without randomness all wait the longest.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_spread_from_zero() {
        let longest = |failures| pause(failures, u32::MAX).as_millis();
        assert_eq!([1, 2, 3, 8, 1000].map(longest), [100, 200, 400, 10_000, 10_000]);
        for failures in [1, 5, u32::MAX] {
            assert_eq!(pause(failures, 0), Duration::ZERO);
        }
        assert_eq!(pause(1, 1 << 31).as_millis(), 50);
    }

    #[test]
    fn two_schemas_have_two_channels_that_a_name_can_hold() {
        let long = "a".repeat(63);
        assert_ne!(channel(&long), channel(&long[..62]));
        assert!(channel(&long).len() <= 63);
        assert_eq!(channel("keypod").len(), 39);
    }
}
