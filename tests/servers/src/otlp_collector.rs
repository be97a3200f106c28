//! A collector of OpenTelemetry's logs, over the types that the OpenTelemetry project publishes for Python.
//!
//! Installs them once into `target/otlp-VERSION`. The records that came are read from its log.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::moto::fail;
use crate::{Leash, python};

const VERSION: &str = "1.45.2";
/// How often a start is looked at, and how many looks it has: 60 seconds together.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS_MAX: usize = 1200;

/// A running collector.
#[derive(Debug)]
pub struct OtlpCollector {
    port: u64,
    folder: TempDir,
    _leash: Leash,
}

impl OtlpCollector {
    /// Starts one. It wants the header `X-Scope: keypod-test`.
    ///
    /// # Panics
    /// When it cannot be installed or does not start within a minute.
    #[must_use]
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|problem| fail(&problem.to_string()))
    }

    fn try_start() -> io::Result<Self> {
        let programs = python::programs("otlp", "opentelemetry-proto", VERSION)?;
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/otlp_collector/collector.py");
        let mut command = Command::new(programs.join("python3"));
        command.arg(script);
        let leash = Leash::start(&command, &log)?;
        for _ in 0..LOOKS_MAX {
            let port = lines(&log).first().and_then(|first| first["port"].as_u64());
            if let Some(port) = port {
                return Ok(Self { port, folder, _leash: leash });
            }
            thread::sleep(LOOK_EVERY);
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        Err(io::Error::other(format!("the collector does not start: {said}")))
    }

    /// Where logs are posted.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/v1/logs", self.port)
    }

    /// The records that came so far.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        lines(&self.folder.path().join("log")).split_off(1)
    }
}

fn lines(path: &Path) -> Vec<Value> {
    crate::json_lines(path)
}
