//! `/livez`, `/readyz`, `/startupz` and `/metrics`, on a listener of their own with no keys behind it.
//!
//! Liveness is the process. Readiness begins when the preloaded keys are warm and ends when the sidecar drains
//! or when a preloaded key is not in memory or past its bound. A store or root that cannot be reached shows in
//! `/readyz?verbose` and the metrics long before that.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::{StatusCode, Uri};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;

use super::{Api, plain};
use crate::audit::LogStatus;
use crate::clock::Now;
use crate::emergency::EmergencyCounts;
use crate::identity::Issuers;
use crate::keyring::KeyringStatus;
use crate::names::KeyName;
use crate::policy::Policies;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It reads, opens and warms up.
    Starting = 0,
    /// It serves.
    Serving = 1,
    /// It finishes what is in flight.
    Draining = 2,
}

/// What the health listener knows.
#[derive(Debug)]
pub struct Health {
    phase: AtomicU8,
    api: OnceLock<Arc<Api>>,
    preload: Vec<KeyName>,
    metrics: MetricsHandle,
}

struct MetricsHandle(PrometheusHandle);

impl std::fmt::Debug for MetricsHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MetricsHandle")
    }
}

impl Health {
    /// A process that starts and will preload these keys.
    #[must_use]
    pub fn new(preload: Vec<KeyName>, metrics: PrometheusHandle) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Starting as u8),
            api: OnceLock::new(),
            preload,
            metrics: MetricsHandle(metrics),
        }
    }

    /// The sidecar is warm: it serves.
    pub fn serving(&self, api: Arc<Api>) {
        let _ = self.api.set(api);
        self.phase.store(Phase::Serving as u8, Ordering::Release);
    }

    /// The sidecar drains.
    pub fn draining(&self) {
        self.phase.store(Phase::Draining as u8, Ordering::Release);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// The routes of the health listener.
    pub(super) fn router(self: Arc<Self>) -> Router {
        let (ready, started, metrics) = (Arc::clone(&self), Arc::clone(&self), self);
        Router::new()
            .route("/livez", get(async || plain(StatusCode::OK, "ok\n".to_owned())))
            .route("/startupz", get(async move || started.startup()))
            .route("/readyz", get(async move |uri: Uri| ready.readiness(asks_verbose(&uri))))
            .route("/metrics", get(async move || metrics.render().await))
    }

    fn startup(&self) -> Response {
        match self.phase() {
            Phase::Starting => plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
            Phase::Serving | Phase::Draining => plain(StatusCode::OK, "ok\n".to_owned()),
        }
    }

    fn readiness(&self, verbose: bool) -> Response {
        let (ready, report) = self.report();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if verbose {
            return plain(status, report);
        }
        plain(status, if ready { "ok\n" } else { "not ready: see /readyz?verbose\n" }.to_owned())
    }

    /// Whether the sidecar can serve, and why, a line each.
    fn report(&self) -> (bool, String) {
        let phase = self.phase();
        let mut report = format!("phase: {phase:?}\n");
        let (Phase::Serving, Some(api)) = (phase, self.api.get()) else { return (false, report) };
        let keyring = api.service().keyring();
        let status = keyring.status(api.service().now());
        let mut ready = true;
        let problem = keyring.store_problem();
        let store = if problem.is_none() { "ok" } else { "cannot be used" };
        let _ = writeln!(report, "store: {store}");
        let audit = api.service().audit().log().status();
        let fails = api.service().audit().fails_operations();
        ready &= !fails;
        let written = if fails || audit.failing.is_some() { "cannot be written" } else { "ok" };
        let _ = writeln!(report, "audit log: {written}; {} entries", audit.size);
        for name in &self.preload {
            let newest = status.cached.iter().rfind(|cached| cached.name == *name);
            if newest.is_none_or(|cached| cached.encrypts_for.is_zero()) {
                ready = false;
                let _ = writeln!(report, "preloaded key {name}: not in memory, or past its bound");
            }
        }
        for cached in &status.cached {
            let _ = writeln!(
                report,
                "key {}/{}: row {} s old, unwrapped {} s ago, encrypts for {} s, decrypts for {} s",
                cached.name,
                cached.version,
                cached.row_age.as_secs(),
                cached.unwrap_age.as_secs(),
                cached.encrypts_for.as_secs(),
                cached.decrypts_for.as_secs(),
            );
        }
        for root in &status.roots {
            let name = &root.root.name;
            // What exactly is for who has a credential: this listener may be reached by anybody.
            let problem = if root.problem.is_none() { "ok" } else { "does not serve" };
            let (unwraps, failed) = (root.unwraps, root.unwrap_failures);
            let _ = writeln!(report, "root {name}: {problem}; {unwraps} unwraps, {failed} failed");
        }
        (ready, report)
    }

    async fn render(&self) -> Response {
        if let Some(api) = self.api.get() {
            show(api);
        }
        plain(StatusCode::OK, self.metrics.0.render())
    }
}

fn asks_verbose(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|part| part == "verbose"))
}

/// Sets the gauges that are read when they are asked for.
fn show(api: &Api) {
    let service = api.service();
    let now = service.now();
    let status = service.keyring().status(now);
    show_keyring(&status);
    show_policies(&service.policies());
    show_emergencies(service.emergencies().counts(now));
    show_audit(&service.audit().log().status());
    if let Some(issuers) = api.callers().issuers() {
        show_issuers(issuers, now);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
    gauge!("keypod_requests_in_flight").set(service.limits().in_flight() as f64);
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn show_audit(log: &LogStatus) {
    gauge!("keypod_audit_log_entries").set(log.size as f64);
    gauge!("keypod_audit_log_bytes").set(log.bytes as f64);
    gauge!("keypod_audit_signed_entries").set(log.checkpoint_size as f64);
    gauge!("keypod_audit_waiting").set(log.queued as f64);
    gauge!("keypod_audit_failing").set(if log.failing.is_some() { 1.0 } else { 0.0 });
    metrics::counter!("keypod_audit_lost_total").absolute(log.lost);
}

#[expect(clippy::cast_precision_loss, reason = "at most 1,024 of them")]
fn show_emergencies(counts: EmergencyCounts) {
    gauge!("keypod_emergencies_active").set(counts.active as f64);
    metrics::counter!("keypod_emergencies_total").absolute(counts.begun);
    metrics::counter!("keypod_emergency_decisions_total").absolute(counts.decisions);
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn show_policies(policies: &Policies) {
    let (remembered, bytes) = policies.remembered();
    gauge!("keypod_policies").set(policies.count() as f64);
    gauge!("keypod_policy_remembered_decisions").set(remembered as f64);
    gauge!("keypod_policy_remembered_bytes").set(bytes as f64);
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn show_issuers(issuers: &Issuers, now: Now) {
    use metrics::counter;
    let tokens = |provider: &str, outcome: &'static str, count: u64| {
        let labels = [("provider", provider.to_owned()), ("outcome", outcome.to_owned())];
        counter!("keypod_tokens_total", &labels).absolute(count);
    };
    tokens("none", "refused", issuers.strangers());
    for issuer in issuers.status(now) {
        let counts = issuer.tokens;
        tokens(&issuer.name, "checked", counts.checked);
        tokens(&issuer.name, "remembered", counts.remembered);
        tokens(&issuer.name, "refused", counts.refused);
        let label = [("provider", issuer.name)];
        counter!("keypod_issuer_asked_total", &label).absolute(issuer.asked);
        counter!("keypod_issuer_failures_total", &label).absolute(issuer.failures);
        if let Some(keys) = issuer.keys {
            gauge!("keypod_issuer_keys", &label).set(keys.keys as f64);
            if let Some(age) = keys.age {
                gauge!("keypod_issuer_keys_age_seconds", &label).set(age.as_secs_f64());
            }
        }
    }
    let (remembered, bytes) = issuers.remembered();
    gauge!("keypod_tokens_remembered").set(remembered as f64);
    gauge!("keypod_tokens_remembered_bytes").set(bytes as f64);
}

fn show_keyring(status: &KeyringStatus) {
    use metrics::counter;
    counter!("keypod_cache_hits_total").absolute(status.hits);
    counter!("keypod_cache_misses_total").absolute(status.misses);
    counter!("keypod_cache_evictions_total").absolute(status.evictions);
    counter!("keypod_root_unwraps_total").absolute(status.unwraps);
    counter!("keypod_root_unwrap_failures_total").absolute(status.unwrap_failures);
    counter!("keypod_store_lookups_total").absolute(status.lookups);
    counter!("keypod_store_lookup_failures_total").absolute(status.lookup_failures);
    for root in &status.roots {
        let label = [("root", root.root.name.to_string())];
        counter!("keypod_root_asked_total", &label).absolute(root.unwraps);
        counter!("keypod_root_refused_total", &label).absolute(root.unwrap_failures);
        gauge!("keypod_root_serves", &label).set(if root.problem.is_none() { 1.0 } else { 0.0 });
    }
    gauge!("keypod_memory_protection", "kind" => status.protection.as_str()).set(1.0);
    for cached in &status.cached {
        let (key, version) = (cached.name.to_string(), cached.version.to_string());
        let labels = [("key", key), ("version", version)];
        gauge!("keypod_key_row_age_seconds", &labels).set(cached.row_age.as_secs_f64());
        gauge!("keypod_key_unwrap_age_seconds", &labels).set(cached.unwrap_age.as_secs_f64());
        gauge!("keypod_key_encrypts_for_seconds", &labels).set(cached.encrypts_for.as_secs_f64());
        gauge!("keypod_key_decrypts_for_seconds", &labels).set(cached.decrypts_for.as_secs_f64());
    }
}
