//! Builds the sidecar, starts it in order, and drains it. Its `parts.rs` is the only file that names concrete roots
//! and stores.
//!
//! Order of a start: metrics, health listener, protected memory, roots, callers, store, a proof that the roots
//! open the store, the audit log, preloaded keys, keys of issuers, data listeners; only then is it ready. Order of a
//! stop: not ready, no new connections, what is in flight ends within its bound, the audit log is closed, its sinks take the rest, unused
//! reservations go back, keys are wiped, the store is closed.

mod audit;
mod check;
mod error;
mod parts;
mod policies;
mod roots;
mod stores;
mod witnesses;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

pub use crate::store::copy::Copied;
pub use check::{Checked, Finding, check};
pub use error::StartError;
use parts::{open_roots_and_authorities, open_store};
use policies::PolicySource;
pub use policies::load_policies;
pub use roots::{RootReport, change_roots, survey_roots};
pub use stores::{Migrator, POSTGRES_ROLES, copy_store, migrate_store};
use witnesses::Witnesses;

use crate::audit::Outcome;
use crate::clock::{Clock, Now, SystemClock};
use crate::config::{CallerSettings, Config, Credential, LogFormat};
use crate::emergency::Emergencies;
use crate::envelope::{SEGMENT_BYTES, TAG_BYTES};
use crate::error_chain::error_chain;
use crate::http::{
    Api, Callers, CallersError, Health, HttpSettings, Listeners, Proof, Served, serve_health,
};
use crate::identity::Issuers;
use crate::keyring::{Keyring, KeyringSettings, MAINTAIN_EVERY, Probed};
use crate::limits::{LimitSizes, Limits};
use crate::names::KeyName;
use crate::root::RootError;
use crate::secret::Arena;
use crate::service::Service;
use crate::sinks::{self, Sinks};
use crate::store::KeyStore;
use crate::telemetry::{self, Format};

/// The store is asked whether it can be written this often.
const WATCH_STORE_EVERY: Duration = Duration::from_secs(5);

/// Whether issuers are to be asked again, or a file with keys has changed, is looked at this often.
const KEEP_ISSUERS_FRESH_EVERY: Duration = Duration::from_secs(1);

/// A started sidecar that does not serve yet.
#[derive(Debug)]
pub struct Sidecar {
    api: Arc<Api>,
    store: Arc<dyn KeyStore>,
    sinks: Sinks,
    witnesses: Arc<Witnesses>,
    health: Arc<Health>,
    health_address: Option<SocketAddr>,
    listeners: Listeners,
    stop_health: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    drain_max: Duration,
}

/// Starts the log as the configuration says.
///
/// # Errors
/// [`StartError::Telemetry`].
pub fn start_log(config: &Config) -> Result<(), StartError> {
    let format = match config.log.format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Pretty => Format::Pretty,
        LogFormat::Json => Format::Json,
    };
    Ok(telemetry::start_log(format, &config.log.filter)?)
}

impl Sidecar {
    /// Starts everything in order. When this returns, clients can connect and preloaded keys are warm.
    ///
    /// # Errors
    /// [`StartError`]: the first part that did not start; what had started is closed.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let metrics = telemetry::start_metrics()?;
        let health = Arc::new(Health::new(config.cache.preload.clone(), metrics.clone()));
        let (stop_health, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        let mut health_address = None;
        if let Some(address) = config.listen.health {
            let (address, served) = serve_health(address, Arc::clone(&health), stopped).await?;
            health_address = Some(address);
            tasks.push(tokio::spawn(served));
        }
        let arena = Arena::new(config.memory_require)?;
        tracing::info!(protection = arena.protection().as_str(), "memory for keys");
        let clock = Arc::new(SystemClock);
        let (roots, authorities) = open_roots_and_authorities(config, &arena).await?;
        let issuers = Issuers::open(&config.identity)?;
        let callers = load_callers(&config.callers)?.with_issuers(issuers);
        let source = PolicySource::new(config);
        let policies = policies::first(&source)?;
        let sinks = sinks::open(&config.audit.sinks, Arc::clone(&clock) as _)?;
        let witnesses = Witnesses::new(&config.audit.witnesses, &config.audit.log.folder)?;
        let witnesses = Arc::new(witnesses);
        let store = open_store(&config.store).await?;
        let keyring = Keyring::new(keyring_settings(config), roots, Arc::clone(&store), arena);
        let started = async {
            prove_roots(&keyring, &*store, &config.cache.preload).await?;
            audit::open(config, authorities, &keyring, Arc::clone(&clock)).await
        };
        let audit = match started.await {
            Ok(audit) => audit,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        // Before anything is appended: copies begin with the first entry.
        let sinks = sinks.start(&audit);
        let started = async {
            witnesses.begin(audit.log()).await?;
            warm_up(config, &keyring, &callers, clock.now()).await?;
            listen(config).await
        };
        let listeners = match started.await {
            Ok(listeners) => listeners,
            Err(error) => {
                audit::close(&audit, &witnesses, sinks).await;
                store.close().await;
                return Err(error);
            }
        };
        let limits = Limits::new(limit_sizes(config));
        let emergencies = Emergencies::new(config.emergency.max_minutes);
        let service = Service::new(policies, limits, emergencies, keyring, audit, clock);
        let api = Arc::new(Api::new(service, callers, http_settings(config)));
        tasks.extend(spawn_upkeep(&api, source, metrics));
        let (every, watching) = (config.audit.witness_every, Arc::clone(&witnesses));
        tasks.push(tokio::spawn(witnesses::keep(Arc::clone(&api), watching, every)));
        health.serving(Arc::clone(&api));
        Ok(Self {
            api,
            store,
            sinks,
            witnesses,
            health,
            health_address,
            listeners,
            stop_health,
            tasks,
            drain_max: config.limits.drain_timeout,
        })
    }

    /// The service, for what `keypod dev` sets up.
    #[must_use]
    pub fn service(&self) -> &Service {
        self.api.service()
    }

    /// Where the data plane listens on TCP.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.listeners.tcp_address()
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_address
    }

    /// Serves until `stop`, then drains and closes everything.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Served {
        let Self { api, store, health, listeners, stop_health, tasks, drain_max, .. } = self;
        let (sinks, witnesses) = (self.sinks, self.witnesses);
        let (tell, stopped) = watch::channel(false);
        let draining = Arc::clone(&health);
        let waits = tokio::spawn(async move {
            stop.await;
            draining.draining();
            tracing::info!("draining");
            let _ = tell.send(true);
            // Held until the process ends: a sender that is gone would stop the listeners too.
            tell.closed().await;
        });
        let served = listeners.serve(Arc::clone(&api), stopped, drain_max).await;
        if served == Served::Cut {
            tracing::warn!("requests in flight were cut: limits.drain_timeout has passed");
        }
        let _ = stop_health.send(true);
        for task in tasks {
            task.abort();
        }
        waits.abort();
        api.service().emergencies().end_all();
        audit::record_ended(&api).await;
        audit::close(api.service().audit(), &witnesses, sinks).await;
        api.service().keyring().close().await;
        store.close().await;
        tracing::info!("closed");
        served
    }
}

/// Starts all that is done by itself, on timers or on news.
fn spawn_upkeep(
    api: &Arc<Api>,
    policies: PolicySource,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
) -> [JoinHandle<()>; 9] {
    let parts = || Arc::clone(api);
    [
        tokio::spawn(maintain(parts(), async |keyring, now| keyring.refresh(now).await)),
        tokio::spawn(maintain(parts(), async |keyring, now| keyring.recheck(now).await)),
        tokio::spawn(maintain(parts(), async |keyring, now| keyring.do_due(now).await)),
        tokio::spawn(watch_store(parts())),
        tokio::spawn(follow_store(parts())),
        tokio::spawn(keep_issuers_fresh(parts())),
        tokio::spawn(audit::record(parts())),
        tokio::spawn(audit::tend(parts())),
        tokio::spawn(housekeep(parts(), policies, metrics)),
    ]
}

/// Ticks at once, and then so long after each other; one that comes late puts off those behind it.
fn timer(every: Duration) -> tokio::time::Interval {
    let mut timer = tokio::time::interval(every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

/// Calls a part of the keyring's maintenance on a timer.
async fn maintain(api: Arc<Api>, part: impl AsyncFn(&Keyring, Now)) {
    let mut timer = timer(MAINTAIN_EVERY);
    loop {
        timer.tick().await;
        part(api.service().keyring(), api.service().now()).await;
    }
}

/// Asks on a timer whether the store can be written, so that a probe need not. Apart from the maintenance: a
/// store that hangs holds up nothing else.
async fn watch_store(api: Arc<Api>) {
    let mut timer = timer(WATCH_STORE_EVERY);
    loop {
        timer.tick().await;
        let _ = api.service().keyring().check_store().await;
    }
}

/// Heeds what other sidecars change in the store, for as long as it tells.
async fn follow_store(api: Arc<Api>) {
    api.service().keyring().follow(&SystemClock).await;
}

/// Looks on a timer whether it is time to fetch the keys of issuers again.
async fn keep_issuers_fresh(api: Arc<Api>) {
    let Some(issuers) = api.callers().issuers() else { return };
    let mut timer = timer(KEEP_ISSUERS_FRESH_EVERY);
    loop {
        timer.tick().await;
        issuers.keep_fresh(api.service().now()).await;
    }
}

/// Has the preloaded keys in memory, and the keys of issuers as far as those answer.
async fn warm_up(
    config: &Config,
    keyring: &Keyring,
    callers: &Callers,
    now: Now,
) -> Result<(), StartError> {
    let warm = keyring.preload(&config.cache.preload, now).await;
    warm.map_err(|(name, source)| StartError::Preload { name, source })?;
    if let Some(issuers) = callers.issuers() {
        // One that is away is logged, and asked again: its callers wait, and no others.
        issuers.keep_fresh(now).await;
    }
    Ok(())
}

/// Opens what the data plane listens on.
async fn listen(config: &Config) -> Result<Listeners, StartError> {
    let unix = config.listen.unix.as_ref();
    let unix = unix.map(|unix| (unix.path.as_path(), unix.mode, unix.group.as_deref()));
    Ok(Listeners::open(config.listen.tcp, unix).await?)
}

/// Finds out whether the roots open the store, and says what is wrong with those that do not serve. One that serves
/// is enough.
async fn prove_roots(
    keyring: &Keyring,
    store: &dyn KeyStore,
    preload: &[KeyName],
) -> Result<(), StartError> {
    let (checked, probed) = tokio::join!(keyring.check_roots(), keyring.probe_root(preload));
    let mut refusal = None;
    let mut serves = false;
    for (root, checked) in checked {
        let (name, kind, place) = (root.name, root.kind, root.place);
        tracing::info!(root = %name, kind, place, "root");
        if let Some(note) = root.note {
            tracing::warn!(root = %name, kind, "{note}");
        }
        match checked {
            Ok(notes) => {
                serves = true;
                notes.iter().for_each(|note| tracing::warn!(root = %name, kind, "{note}"));
            }
            // It would wrap every new version, and must not.
            Err(error @ RootError::Exposed { .. }) => return Err(StartError::Root(error)),
            Err(error) => {
                tracing::error!(root = %name, error = error_chain(&error), "a root cannot be used");
                refusal = refusal.or(Some(error));
            }
        }
    }
    match (probed, refusal) {
        (Err(error), _) => Err(StartError::of_probe(error, store)),
        (Ok(Probed::Empty), Some(refusal)) if !serves => Err(StartError::Root(refusal)),
        (Ok(_), _) => Ok(()),
    }
}

/// Reads changed policies and token files, says which emergencies have ended, and folds histograms on a timer.
async fn housekeep(
    api: Arc<Api>,
    policies: PolicySource,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
) {
    let mut timer = timer(telemetry::UPKEEP_EVERY);
    loop {
        timer.tick().await;
        metrics.run_upkeep();
        policies.reload_if_changed(api.service()).await;
        api.service().emergencies().end_due(api.service().now());
        let Some(errors) = api.callers().reload_if_changed() else { continue };
        tracing::info!("token files were read again");
        let detail = serde_json::json!({ "problems": errors.len() });
        if let Err(error) =
            api.service().audit().record_what_was("tokens", Outcome::Ok, detail).await
        {
            tracing::error!(
                error = error_chain(&error),
                "that token files were read is not recorded"
            );
        }
        for error in errors {
            tracing::error!(
                error = error_chain(&error),
                "a token is revoked: its file is not valid"
            );
        }
    }
}

fn load_callers(callers: &[CallerSettings]) -> Result<Callers, CallersError> {
    let proof = |caller: &CallerSettings| {
        let proof = match &caller.credential {
            Credential::TokenFile(path) => Proof::TokenFile(path.clone()),
            Credential::Peer { uid, gid } => Proof::Peer { uid: *uid, gid: *gid },
        };
        (caller.grant.caller.clone(), proof)
    };
    Callers::load(callers.iter().map(proof).collect())
}

fn keyring_settings(config: &Config) -> KeyringSettings {
    KeyringSettings {
        domain: config.root.domain.clone(),
        refresh_after: config.cache.refresh_after,
        root_recheck: config.cache.root_recheck,
        encrypt_stale_max: config.cache.encrypt_stale_max,
        decrypt_stale_max: config.cache.decrypt_stale_max,
        idle_evict: config.cache.idle_evict,
        retry_interval: config.root.retry_interval,
        messages_max: config.keys.messages_max,
        bytes_max: config.keys.bytes_max,
        destroy_delay: config.keys.destroy_delay,
        approval_expiry: config.keys.approval_expiry,
    }
}

fn limit_sizes(config: &Config) -> LimitSizes {
    let limits = &config.limits;
    LimitSizes {
        batch_items_max: limits.batch_items_max,
        taken_bytes_max: limits.json_body_bytes_max.max(SEGMENT_BYTES + TAG_BYTES),
        in_flight_max: limits.in_flight_max,
        body_memory_bytes_max: limits.body_memory_bytes_max,
        caller: limits.caller,
        callers: limits.callers.clone().into_iter().collect(),
        key: limits.key,
        keys: limits.keys.clone().into_iter().collect(),
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        json_body_bytes_max: config.limits.json_body_bytes_max,
        header_timeout: config.limits.header_timeout,
        body_timeout: config.limits.body_timeout,
        answer_timeout: config.limits.answer_timeout,
        connections_max: config.limits.connections_max,
        user_connections_max: config.limits.user_connections_max,
    }
}
