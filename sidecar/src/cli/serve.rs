//! `keypod serve`: reads the configuration, runs the sidecar until it is told to stop.
//!
//! Depends on [`crate::process`], [`crate::config`] and [`crate::app`].

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::ServeArgs;
use super::failure::Failure;
use super::output;
use crate::app::{self, Sidecar, StartError};
use crate::config::Config;
use crate::http::{ListenError, Served};
use crate::process;

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    // First of all, before a thread is started or a secret read.
    let hardening = process::harden()?;
    let config = Config::load(&args.config).map_err(configuration)?;
    if args.check {
        return check(&config);
    }
    app::start_log(&config).map_err(failed_start)?;
    tracing::debug!(?hardening, "process hardened");
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let stop = told_to_stop()?;
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
        anyhow::Ok(sidecar.run(stop).await)
    })?;
    finish(served)
}

fn check(config: &Config) -> anyhow::Result<()> {
    let checked = runtime()?.block_on(app::check(config)).map_err(failed_start)?;
    for line in checked.lines {
        output::line(&line)?;
    }
    output::line("the configuration is valid")
}

/// The runtime of a sidecar: one worker a core.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")
}

/// Ends when SIGTERM or SIGINT comes. The handlers are in place when this returns, not when it is awaited.
pub(super) fn told_to_stop() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
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
    match error {
        StartError::Telemetry(_)
        | StartError::Memory(_)
        | StartError::LocalRoot(_)
        | StartError::Callers(_)
        | StartError::Listen(ListenError::NotLoopback { .. } | ListenError::NoGroup { .. }) => {
            configuration(error)
        }
        other => other.into(),
    }
}

fn configuration(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    Failure::configuration(format!("{:#}", anyhow::Error::from(error)))
}
