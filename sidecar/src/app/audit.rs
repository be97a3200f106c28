//! Opens the audit log and keeps it: counts that are recorded now and then, rotation, retention, and the key of its
//! hashes.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::witnesses::Witnesses;
use super::{StartError, timer};
use crate::audit::{Audit, Ended, Log, LogStart, OldLog, Outcome, origin_in, own_entry};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error_chain::error_chain;
use crate::http::Api;
use crate::keyring::Keyring;
use crate::root::authority::Authority;
use crate::sinks::Sinks;

/// What was counted is recorded this often, at most.
const RECORD_COUNTS_EVERY: Duration = Duration::from_secs(1);
/// Whether a log is full or old is looked at this often.
const TEND_EVERY: Duration = Duration::from_secs(10);

/// How long the end of the log may take: a disk that hangs must not keep the process.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// How long sinks may take to take the rest, once the log is closed.
const DRAIN_SINKS_MAX: Duration = Duration::from_secs(2);

/// Opens the log that the configuration names, begun for this start and certified by one of `authorities`.
pub(super) async fn open(
    config: &Config,
    authorities: Vec<Arc<dyn Authority>>,
    keyring: &Keyring,
    clock: Arc<SystemClock>,
) -> Result<Audit, StartError> {
    let key = keyring.audit_hash_key(clock.now()).await;
    let key = key.map_err(|source| StartError::AuditHashKey { source })?;
    let first = {
        let (clock, configuration) = (Arc::clone(&clock), fingerprint(config));
        move |start: &LogStart| start_entry(&*clock, "boot", start, Some(&configuration))
    };
    let mut settings = config.audit.log.clone();
    // A chain keeps its name: a pod is recreated under another one, and its logs are still its logs.
    match origin_in(&settings.folder) {
        Some(before) if !config.audit.says_origin => settings.origin = before,
        Some(before) if before != settings.origin => {
            let (before, said) = (before.to_string(), settings.origin.to_string());
            return Err(StartError::AuditOrigin { before, said });
        }
        _ => {}
    }
    let log = Log::open(settings, authorities, Arc::clone(&clock) as _, first).await?;
    let status = log.status();
    tracing::info!(log = %status.origin, number = status.number, "audit log");
    let audit = Audit::new(log, key, config.audit.on_failure, clock);
    keyring.record_in(audit.clone());
    Ok(audit)
}

/// SHA-256 of the configuration in force, in hexadecimal: it tells whether two starts had the same.
fn fingerprint(config: &Config) -> String {
    hexadecimal(&Sha256::digest(format!("{config:?}")))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first entry of a log.
fn start_entry(
    clock: &dyn Clock,
    reason: &str,
    start: &LogStart,
    configuration: Option<&str>,
) -> Vec<u8> {
    let previous = start.previous.as_ref().map(|previous| {
        let (ended, entries) = match &previous.ended {
            Ended::Clean => ("clean", 0),
            Ended::Unclean { vouched_for } => ("unclean", *vouched_for),
            _ => ("damaged", 0),
        };
        json!({
            "log": previous.origin,
            "entries": previous.found_size,
            "ended": ended,
            "unsigned": entries,
        })
    });
    let mut detail = json!({
        "reason": reason,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "number": start.number,
        "certificate": hexadecimal(&start.certificate_sha256),
        "configuration": configuration,
        "previous": previous,
    });
    if let Some(fields) = detail.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    own_entry(clock, "start", Outcome::Ok, &detail)
}

/// Ends the log in order, and then its sinks.
pub(super) async fn close(audit: &Audit, witnesses: &Witnesses, sinks: Sinks) {
    sinks.record_lost(audit).await;
    if let Err(error) = audit.record_counts().await {
        tracing::error!(error = error_chain(&error), "counts are missing from the audit log");
    }
    let last = audit.own_entry("close", Outcome::Ok, &json!({ "reason": "stop" }));
    match tokio::time::timeout(CLOSE_MAX, audit.log().close(last)).await {
        Ok(Ok(())) => witnesses.end(audit.log()).await,
        Ok(Err(error)) => tracing::error!(
            error = error_chain(&error),
            "the audit log ends without its last entry"
        ),
        Err(_) => tracing::error!("the audit log is not closed: its disk hangs"),
    }
    sinks.drain(DRAIN_SINKS_MAX).await;
}

/// Records what was counted since the last time, and what ended by itself.
pub(super) async fn record(api: Arc<Api>) {
    let mut timer = timer(RECORD_COUNTS_EVERY);
    let mut waited_at = None;
    loop {
        timer.tick().await;
        waited_at = watch(api.service().audit(), waited_at).await;
        record_ended(&api).await;
        if let Err(error) = api.service().audit().record_counts().await {
            tracing::error!(error = error_chain(&error), "counts wait for the audit log");
        }
    }
}

/// Notes whether entries wait for a disk that hangs, and tries one that has refused: without requests, as a pod has none that
/// is not ready, nothing else would find out that it is back. `waited_at` and what is given back is the size at which
/// entries waited.
async fn watch(audit: &Audit, waited_at: Option<u64>) -> Option<u64> {
    let status = audit.log().status();
    let waits_at = (status.queued > 0).then_some(status.size);
    audit.set_hangs(waits_at.is_some() && waits_at == waited_at);
    if let Some(reason) = status.failing.filter(|_| status.refuses) {
        let detail = json!({ "after": &*reason });
        let entry = audit.own_entry("recovered", Outcome::Ok, &detail);
        // Refused again: it says so itself.
        let _ = audit.log().append(entry).await;
    }
    waits_at
}

/// Records the emergencies that nobody's request has ended.
pub(super) async fn record_ended(api: &Api) {
    let service = api.service();
    for ended in service.emergencies().take_ended() {
        let detail = json!({ "caller": ended.caller.as_str(), "reason": ended.reason.as_str() });
        if let Err(error) =
            service.audit().record_what_was("emergency_end", Outcome::Ok, detail).await
        {
            tracing::error!(error = error_chain(&error), "the end of an emergency is not recorded");
        }
    }
}

/// Rotates and prunes the log, compresses what is closed, and follows the key of its hashes.
pub(super) async fn tend(api: Arc<Api>) {
    let mut timer = timer(TEND_EVERY);
    loop {
        timer.tick().await;
        let audit = api.service().audit();
        follow_hash_key(&api, audit).await;
        rotate(&api, audit).await;
        prune(&api, audit).await;
        if let Err(error) = audit.log().compress().await {
            tracing::warn!(error = error_chain(&error), "closed audit logs are not compressed");
        }
    }
}

async fn rotate(api: &Api, audit: &Audit) {
    let now = api.service().now();
    let last = audit.own_entry("close", Outcome::Ok, &json!({ "reason": "rotation" }));
    let first = |start: &LogStart| start_entry(&SystemClock, "rotation", start, None);
    match audit.log().rotate_if_due(now, last, first).await {
        Ok(None) => {}
        Ok(Some(rotated)) => {
            tracing::info!(log = %rotated.begun.origin, "the audit log was rotated")
        }
        Err(error) => tracing::error!(
            error = error_chain(&error),
            "the audit log is due for rotation, and goes on as it is"
        ),
    }
}

/// Deletes old logs, each after an entry that says so.
async fn prune(api: &Api, audit: &Audit) {
    let due = match audit.log().due_for_pruning(api.service().now()).await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(error = error_chain(&error), "old audit logs stay");
            return;
        }
    };
    for old in due {
        if let Err(error) = record_pruning(audit, &old).await {
            tracing::error!(error = error_chain(&*error), "an old audit log stays");
            return;
        }
        let origin = old.origin.clone();
        match audit.log().delete(old).await {
            Ok(()) => tracing::info!(log = %origin, "an old audit log was deleted"),
            Err(error) => tracing::error!(
                log = %origin,
                error = error_chain(&error),
                "an old audit log was not deleted"
            ),
        }
    }
}

/// Has an entry and a checkpoint say that `old` is to be deleted: a deletion that nothing signed has announced is none of
/// ours.
async fn record_pruning(
    audit: &Audit,
    old: &OldLog,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let entry = audit.own_entry("prune", Outcome::Ok, &described(old));
    audit.log().append(entry).await?;
    Ok(audit.log().checkpoint().await?)
}

fn described(old: &OldLog) -> Value {
    json!({
        "number": old.number,
        "origin": old.origin,
        "size": old.size,
        "root": STANDARD.encode(old.root),
        "ended": old.ended.to_string(),
        "retention_s": old.retention.as_secs(),
    })
}

/// Hashes with the newest version of the key from now on. While the key cannot be had, the one in memory goes on.
async fn follow_hash_key(api: &Api, audit: &Audit) {
    match api.service().keyring().audit_hash_key(api.service().now()).await {
        Ok(key) => audit.set_hash_key(key),
        Err(error) => tracing::warn!(
            error = error_chain(&error),
            "the audit log's hashes go on with the key in memory"
        ),
    }
}
