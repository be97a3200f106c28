//! What was found, beside what is aimed at, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::footprint::Footprint;
use crate::rounds::{Measured, PLAINTEXT_BYTES, Subject};
use crate::stream::Streamed;
use crate::{Args, policies};

/// Of the bare handler's throughput, at [`AIM_CONNECTIONS`].
const AIM_RATIO: f64 = 0.8;
const AIM_CONNECTIONS: u16 = 16;
const AIM_READY_MS: f64 = 50.0;
const AIM_IDLE_MIB: f64 = 20.0;
const AIM_STREAM_GROWTH_MIB: f64 = 16.0;
const AIM_BINARY_MIB: f64 = 30.0;

/// One run of the load test.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) measured: Vec<Measured>,
    pub(crate) footprint: Option<Footprint>,
    pub(crate) stream: Option<Streamed>,
    /// The most that the loaded sidecar ever had resident.
    pub(crate) loaded_peak_bytes: u64,
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:<21}{:>12}{:>12}{:>9}{:>9}{:>10}{:>15}{:>11}{:>15}\n",
            "",
            "connections",
            "requests/s",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "server CPU us",
            "CPU ratio",
            "ratio to bare"
        );
        for row in &self.measured {
            let aim = match (row.subject, row.connections) {
                (Subject::Bare, _) => "",
                (_, AIM_CONNECTIONS) => verdict(row.ratio_to_bare >= AIM_RATIO),
                _ => "",
            };
            let _ = writeln!(
                text,
                "{:<21}{:>12}{:>12.0}{:>9.0}{:>9.0}{:>10.0}{:>15.1}{:>11.2}{:>15.2}{aim}",
                row.subject.name(),
                row.connections,
                row.requests_per_second,
                row.p50_us,
                row.p99_us,
                row.p999_us,
                row.server_cpu_us,
                row.cpu_ratio_to_bare,
                row.ratio_to_bare,
            );
        }
        let _ = writeln!(
            text,
            "\nwith {} policies and {} roles\nresident at most, under this load  {:>8.1} MiB",
            policies::POLICIES,
            policies::ROLES,
            mib(self.loaded_peak_bytes)
        );
        for (name, value, unit, aim) in self.single_figures() {
            let _ = writeln!(text, "{name:<35}{value:>8.1} {unit}{}", verdict(value <= aim));
        }
        if let Some(stream) = self.stream {
            let rate = mib(stream.bytes) / stream.seconds;
            let _ = writeln!(text, "stream through both                {rate:>8.1} MiB/s");
        }
        text
    }

    fn single_figures(&self) -> Vec<(&'static str, f64, &'static str, f64)> {
        let mut figures = Vec::new();
        if let Some(footprint) = self.footprint {
            let (idle, binary) = (footprint.idle_resident_bytes, footprint.binary_bytes);
            figures.push(("exec to ready, warm store", footprint.ready_ms, "ms", AIM_READY_MS));
            figures.push(("resident, idle", mib(idle), "MiB", AIM_IDLE_MIB));
            figures.push(("binary, stripped", mib(binary), "MiB", AIM_BINARY_MIB));
        }
        if let Some(stream) = self.stream {
            let growth = mib(stream.growth_bytes);
            figures.push(("growth under a stream of 2 GiB", growth, "MiB", AIM_STREAM_GROWTH_MIB));
        }
        figures
    }

    pub(crate) fn to_json(&self, args: &Args) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": crate::cores(),
            "transport": args.transport,
            "rounds": args.rounds,
            "seconds": args.seconds,
            "plaintext_bytes": PLAINTEXT_BYTES,
            "policies": policies::POLICIES,
            "roles": policies::ROLES,
            "load": self.measured,
            "loaded_peak_bytes": self.loaded_peak_bytes,
            "footprint": self.footprint,
            "stream": self.stream,
        })
    }
}

fn verdict(reached: bool) -> &'static str {
    if reached { "" } else { "  missed" }
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
