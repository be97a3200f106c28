//! Shows what a load found, as a table and as JSON.

use serde_json::{Map, Value, json};

use super::BenchArgs;
use super::load::Tally;
use crate::cli::table::Table;

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// One run and what it found.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) operation: &'static str,
    pub(super) connections: u16,
    pub(super) tally: Tally,
}

impl Run {
    /// Successful requests in a second.
    #[allow(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
    fn per_second(&self) -> f64 {
        self.tally.latencies.len() as f64 / self.tally.measured.as_secs_f64()
    }

    /// The latency in microseconds that this part of the requests did not exceed.
    #[allow(clippy::cast_precision_loss, reason = "a minute in nanoseconds is far below 2^52")]
    fn microseconds(&self, quantile: f64) -> f64 {
        self.tally.latencies.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// A table: latencies in microseconds.
pub(super) fn table(runs: &[Run]) -> String {
    let mut table = Table::of_numbers(&[
        "operation",
        "connections",
        "requests/s",
        "p50 us",
        "p90 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "errors",
    ]);
    for run in runs {
        let mut cells = vec![
            run.operation.to_owned(),
            run.connections.to_string(),
            format!("{:.0}", run.per_second()),
        ];
        cells.extend(QUANTILES.map(|(_, quantile)| format!("{:.1}", run.microseconds(quantile))));
        cells.push(run.tally.errors.to_string());
        table.row(cells);
    }
    table.render()
}

/// The same as JSON, with what was asked for.
pub(super) fn to_json(args: &BenchArgs, runs: &[Run]) -> Value {
    let run = |run: &Run| {
        let latency = QUANTILES
            .map(|(name, quantile)| (name.to_owned(), Value::from(run.microseconds(quantile))));
        json!({
            "operation": run.operation,
            "connections": run.connections,
            "requests": run.tally.latencies.len(),
            "requests_per_second": run.per_second(),
            "errors": run.tally.errors,
            "first_error": run.tally.first_error,
            "latency_us": Map::from_iter(latency),
        })
    };
    json!({
        "client_version": env!("CARGO_PKG_VERSION"),
        "size_bytes": args.size,
        "seconds": args.seconds,
        "binary": args.binary,
        "runs": runs.iter().map(run).collect::<Vec<_>>(),
    })
}
