//! The interleaved rounds: each part of each round is one run of `keypod bench`.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::process::Command;

use crate::process::{Address, Bare, KEY, Sidecar};
use crate::{Args, bare, median, policies};

/// Plaintext bytes of a request.
pub(crate) const PLAINTEXT_BYTES: usize = 1024;

/// How the servers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// Loopback TCP
    Tcp,
    /// A Unix socket
    Unix,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subject {
    /// The bare handler, with the body of an encryption.
    Bare,
    /// As it is by default: entries of the audit log are flushed in groups.
    Encrypt,
    Decrypt,
    /// With the audit log in the kernel's hands.
    #[serde(rename = "encrypt_async")]
    EncryptAsync,
    /// With a flush of its own for each entry of the audit log.
    #[serde(rename = "encrypt_sync")]
    EncryptSync,
}

impl Subject {
    /// In the order of a round.
    pub(crate) const ALL: [Self; 5] =
        [Self::Bare, Self::Encrypt, Self::Decrypt, Self::EncryptAsync, Self::EncryptSync];
    /// Those that the picture shows.
    pub(crate) const SHOWN: [Self; 3] = [Self::Bare, Self::Encrypt, Self::Decrypt];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::EncryptAsync => "encrypt, async audit",
            Self::EncryptSync => "encrypt, sync audit",
        }
    }

    /// What is asked of the server; nothing of the bare handler.
    const fn operation(self) -> Option<&'static str> {
        match self {
            Self::Bare => None,
            Self::Encrypt | Self::EncryptAsync | Self::EncryptSync => Some("encrypt"),
            Self::Decrypt => Some("decrypt"),
        }
    }
}

/// The sidecars that are measured, by how their audit logs are written.
#[derive(Debug)]
pub(crate) struct Sidecars {
    pub(crate) group: Sidecar,
    pub(crate) in_kernel: Sidecar,
    pub(crate) one_by_one: Sidecar,
}

impl Sidecars {
    fn of(&self, subject: Subject) -> &Sidecar {
        match subject {
            Subject::Bare | Subject::Encrypt | Subject::Decrypt => &self.group,
            Subject::EncryptAsync => &self.in_kernel,
            Subject::EncryptSync => &self.one_by_one,
        }
    }
}

/// Medians over all rounds of one subject at one number of connections.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Measured {
    pub(crate) subject: Subject,
    pub(crate) connections: u16,
    pub(crate) requests_per_second: f64,
    /// Of each round's throughput to that of the bare handler in the same round.
    pub(crate) ratio_to_bare: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// User and system time of the server for one request.
    pub(crate) server_cpu_us: f64,
    /// The bare handler's time in the same round, as a part of it: what the throughput would be in proportion if
    /// the client cost nothing.
    pub(crate) cpu_ratio_to_bare: f64,
}

/// One part of a round.
struct Sample {
    subject: Subject,
    connections: u16,
    per_second: f64,
    ratio: f64,
    cpu_ratio: f64,
    quantiles: [f64; 3],
    cpu_us: f64,
}

/// The part of what `keypod bench --json` writes that is of interest.
#[derive(Deserialize)]
struct Bench {
    runs: Vec<BenchRun>,
}

#[derive(Deserialize)]
struct BenchRun {
    requests: u64,
    requests_per_second: f64,
    latency_us: serde_json::Map<String, serde_json::Value>,
}

/// All rounds.
pub(crate) async fn measure(
    args: &Args,
    keypod: &Path,
    bare: &Bare,
    sidecars: &Sidecars,
) -> anyhow::Result<Vec<Measured>> {
    let mut samples = Vec::new();
    // The first round warms both servers up and does not count.
    for round in 0..=args.rounds {
        for &connections in &args.connections {
            let (mut bare_per_second, mut bare_cpu_us) = (f64::NAN, f64::NAN);
            for subject in Subject::ALL {
                let mut sample =
                    part(args, keypod, bare, sidecars.of(subject), subject, connections).await?;
                if subject == Subject::Bare {
                    (bare_per_second, bare_cpu_us) = (sample.per_second, sample.cpu_us);
                }
                sample.ratio = sample.per_second / bare_per_second;
                sample.cpu_ratio = bare_cpu_us / sample.cpu_us;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
    }
    let all = args.connections.iter();
    let all = all.flat_map(|count| Subject::ALL.map(|subject| (subject, *count)));
    Ok(all.map(|(subject, connections)| medians(&samples, subject, connections)).collect())
}

async fn part(
    args: &Args,
    keypod: &Path,
    bare: &Bare,
    sidecar: &Sidecar,
    subject: Subject,
    connections: u16,
) -> anyhow::Result<Sample> {
    let cpu_seconds = || match subject {
        Subject::Bare => bare.cpu_seconds(),
        _ => sidecar.cpu_seconds(),
    };
    let (address, choice): (&Address, [&str; 2]) = match subject.operation() {
        None => (&bare.address, ["--raw-path", bare::PATH]),
        Some(operation) => (&sidecar.address, ["--operation", operation]),
    };
    let mut command = Command::new(keypod);
    command.args(["bench", "--key", KEY, "--warm-up", "0", "--json", "-", "--token-file"]);
    command.arg(&sidecar.token_file).args(choice).args(policies::CONTEXT);
    command.args(["--connections", &connections.to_string()]);
    command.args(["--seconds", &args.seconds.to_string()]);
    command.args(["--size", &PLAINTEXT_BYTES.to_string()]);
    match args.transport {
        Transport::Tcp => command.args(["--addr", &address.tcp]),
        Transport::Unix => command.arg("--socket").arg(&address.socket),
    };
    let before = cpu_seconds()?;
    let output = command.kill_on_drop(true).output().await?;
    let used = cpu_seconds()? - before;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "keypod bench failed: {errors}");
    let bench: Bench = serde_json::from_slice(&output.stdout)?;
    let run = bench.runs.into_iter().next().context("keypod bench measured nothing")?;
    let quantile = |name: &str| run.latency_us.get(name).and_then(serde_json::Value::as_f64);
    let quantiles = ["p50", "p99", "p99.9"].map(|name| quantile(name).unwrap_or(f64::NAN));
    #[allow(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
    let cpu_us = used * 1e6 / run.requests as f64;
    let per_second = run.requests_per_second;
    Ok(Sample {
        subject,
        connections,
        per_second,
        ratio: f64::NAN,
        cpu_ratio: f64::NAN,
        quantiles,
        cpu_us,
    })
}

fn medians(samples: &[Sample], subject: Subject, connections: u16) -> Measured {
    let of_this =
        || samples.iter().filter(|one| one.subject == subject && one.connections == connections);
    let [p50_us, p99_us, p999_us] = [0, 1, 2]
        .map(|index| median(of_this().filter_map(|sample| sample.quantiles.get(index).copied())));
    Measured {
        subject,
        connections,
        requests_per_second: median(of_this().map(|sample| sample.per_second)),
        ratio_to_bare: median(of_this().map(|sample| sample.ratio)),
        p50_us,
        p99_us,
        p999_us,
        server_cpu_us: median(of_this().map(|sample| sample.cpu_us)),
        cpu_ratio_to_bare: median(of_this().map(|sample| sample.cpu_ratio)),
    }
}
