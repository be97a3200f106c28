//! Sets up logs and metrics.
//!
//! Logs go to standard error: for people on a terminal, as one JSON object a line otherwise. Metrics are kept
//! for `/metrics`. Neither ever holds a secret, a plaintext or a context value (test `no_canary_leaves_in_logs_or_metrics_or_errors_or_files`).

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt as _, FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, filter};

/// Upper bounds of the duration buckets, in seconds: from 25 µs, doubling, to beyond 10 s.
const DURATION_BUCKETS: [f64; 20] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003_2, 0.006_4, 0.012_8,
    0.025_6, 0.051_2, 0.102_4, 0.204_8, 0.409_6, 0.819_2, 1.638_4, 3.276_8, 6.553_6, 13.107_2,
];

/// Histograms are folded this often, so that they do not grow while nobody asks for them.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(2);

/// A gauge that is not set for this long is no longer shown.
const GAUGE_IDLE_MAX: Duration = Duration::from_secs(60);

/// Libraries that carry tokens, credentials or bodies, by the beginning of their targets. What they say below `info` is
/// for their authors: it is never shown, whatever `log.filter` says.
const QUIET: [&str; 9] =
    ["h2", "hyper", "log", "reqwest", "rustify", "rustls", "sqlx", "tower", "vaultrs"];
/// The AWS SDK warns of its own accord with what a credential process wrote and with what AWS repeats of a refused
/// request: nothing of it is shown. The root's own error tells what is to be mended.
const SILENT: &str = "aws_";
/// Who has broken the glass, and what they were permitted: always shown at `info` and above, whatever `log.filter` says. An
/// alarm that a configuration turns off is none.
const ALWAYS: &str = "keypod::emergency";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log.filter is not a filter: write `info`, or `warn,keypod=debug`")]
    Filter(#[source] filter::ParseError),
    /// There is a log already.
    #[error("the log is set up already")]
    Log(#[source] TryInitError),
    /// There are metrics already.
    #[error("the metrics are set up already")]
    Metrics(#[source] BuildError),
}

/// Sends log lines that pass `filter`, and those about emergencies, to standard error.
///
/// # Errors
/// [`TelemetryError`].
pub fn start_log(format: Format, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(TelemetryError::Filter)?;
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let pretty = match format {
        Format::Auto => terminal,
        Format::Pretty => true,
        Format::Json => false,
    };
    let log = if pretty {
        log.with_ansi(terminal).with_target(false).boxed()
    } else {
        log.json().flatten_event(true).boxed()
    };
    let shown = filter.and(quiet_libraries()).or(emergencies());
    let log = tracing_subscriber::registry().with(log.with_filter(shown));
    log.try_init().map_err(TelemetryError::Log)
}

fn quiet_libraries() -> FilterFn<impl Fn(&tracing::Metadata<'_>) -> bool> {
    filter_fn(|metadata| is_shown(metadata.target(), *metadata.level()))
        .with_max_level_hint(LevelFilter::TRACE)
}

fn emergencies() -> FilterFn<impl Fn(&tracing::Metadata<'_>) -> bool> {
    filter_fn(|metadata| metadata.target() == ALWAYS && *metadata.level() <= tracing::Level::INFO)
        .with_max_level_hint(LevelFilter::INFO)
}

fn is_shown(target: &str, level: tracing::Level) -> bool {
    let is_quiet = || QUIET.iter().any(|quiet| target.starts_with(quiet));
    !target.starts_with(SILENT) && (level <= tracing::Level::INFO || !is_quiet())
}

/// Keeps metrics for this process.
///
/// # Errors
/// [`TelemetryError::Metrics`].
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let suffix = Matcher::Suffix("_duration_seconds".to_owned());
    let builder = PrometheusBuilder::new()
        // A gauge of a key that has left memory goes with it.
        .idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_IDLE_MAX))
        .set_buckets_for_metric(suffix, &DURATION_BUCKETS);
    builder.and_then(PrometheusBuilder::install_recorder).map_err(TelemetryError::Metrics)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;
    use crate::alone;

    #[test]
    fn libraries_that_carry_secrets_never_show_more_than_what_is_for_operators() {
        for target in ["rustify::client", "hyper_util::client", "sqlx::query"] {
            assert!(!is_shown(target, Level::TRACE) && !is_shown(target, Level::DEBUG), "{target}");
            assert!(is_shown(target, Level::INFO) && is_shown(target, Level::ERROR), "{target}");
        }
        assert!(!is_shown("aws_config::meta::credentials::chain", Level::ERROR));
        assert!(is_shown("keypod::keyring::load", Level::TRACE));
    }

    #[test]
    #[ignore = "the test below runs it: a process has one log"]
    fn child() {
        start_log(Format::Json, "off").unwrap();
        tracing::error!(target: "keypod::emergency", "the first");
        tracing::info!(target: "keypod::emergency", "the second");
        tracing::debug!(target: "keypod::emergency", "NOT SHOWN");
        tracing::error!(target: "keypod::emergency_not", "NOT SHOWN");
        tracing::error!("NOT SHOWN");
    }

    #[test]
    fn emergencies_are_in_the_log_even_when_it_is_off() {
        assert_eq!(ALWAYS, format!("{}::emergency", env!("CARGO_PKG_NAME")));
        let said = alone::text(&alone::run("telemetry::tests::child").stderr);
        assert!(said.contains("the first") && said.contains("the second"), "{said}");
        assert!(!said.contains("NOT SHOWN"), "{said}");
    }
}
