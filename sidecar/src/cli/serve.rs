//! `keypod serve`: reads the configuration, runs the sidecar until it is told to stop.
//!
//! Depends on [`crate::process`], [`crate::config`] and [`crate::app`].

use std::path::Path;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ServeArgs;
use super::failure::Failure;
use super::output;
use crate::app::{self, Sidecar, StartError};
use crate::config::Config;
use crate::http::Served;
use crate::process::{self, Hardening};

/// How long work on a thread of its own may go on once everything is closed.
const SHUTDOWN_MAX: std::time::Duration = std::time::Duration::from_secs(1);

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let (config, hardening) = load_hardened(&args.config)?;
    if args.check {
        return check(&config, args.json);
    }
    app::start_log(&config).map_err(failed_start)?;
    tracing::debug!(?hardening, "process hardened");
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let stop = Signals::catch()?;
        let sidecar = Sidecar::start(&config).await.map_err(failed_start)?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            tcp = sidecar.tcp_address().map(tracing::field::display),
            unix = config
                .listen
                .unix
                .as_ref()
                .map(|unix| tracing::field::display(unix.path.display())),
            health = sidecar.health_address().map(tracing::field::display),
            "ready"
        );
        anyhow::Ok(until_cut(sidecar, stop).await)
    });
    // What reads or compresses old logs meanwhile, perhaps on a disk that hangs, must not keep the process.
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    let served = served?;
    finish(served)
}

/// Hardens this process, and then reads its configuration: first of all, before a thread is started or a secret read.
pub(super) fn load_hardened(path: &Path) -> anyhow::Result<(Config, Hardening)> {
    let hardening = process::harden()?;
    Ok((Config::load(path).map_err(Failure::of_configuration)?, hardening))
}

/// Runs the sidecar until it has drained, or until a second signal cuts that short.
pub(super) async fn until_cut(sidecar: Sidecar, mut stop: Signals) -> Served {
    let (first, told) = tokio::sync::oneshot::channel();
    let cut = async {
        stop.next().await;
        let _ = first.send(());
        stop.next().await;
    };
    let told = async {
        let _ = told.await;
    };
    tokio::select! {
        served = sidecar.run(told) => served,
        () = cut => Served::Cut,
    }
}

fn check(config: &Config, json: bool) -> anyhow::Result<()> {
    let checked = runtime()?.block_on(app::check(config)).map_err(failed_start)?;
    if json {
        output::json(&serde_json::to_value(&checked)?)?;
    } else {
        for finding in &checked.findings {
            let mark = if finding.well { "ok   " } else { "WRONG" };
            output::line(&format!("{mark}  {}: {}", finding.part, finding.text))?;
        }
    }
    match (checked.is_well(), json) {
        (true, true) => Ok(()),
        (true, false) => output::line("the configuration is valid"),
        (false, _) => Err(Failure::configuration(
            "a part of the configuration cannot be used: see above".to_owned(),
        )),
    }
}

/// The runtime of a sidecar: one worker a core.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")
}

/// SIGTERM and SIGINT, caught from the time that this is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// A file that may not grow is an error to be answered (`audit_unavailable`), and must not end the process.
    _file_too_large: Signal,
}

impl Signals {
    pub(super) fn catch() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let _file_too_large = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
        Ok(Self { terminate, interrupt, _file_too_large })
    }

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How a run that ended counts: cut requests are a failed operation.
pub(super) fn finish(served: Served) -> anyhow::Result<()> {
    match served {
        Served::Drained => Ok(()),
        Served::Cut => Err(Failure::Reported.into()),
    }
}

/// A start that failed: what an operator can mend in the configuration has an exit code of its own.
pub(super) fn failed_start(error: StartError) -> anyhow::Error {
    match error.is_configuration() {
        true => Failure::of_configuration(error),
        false => error.into(),
    }
}
