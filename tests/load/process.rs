//! The measured processes: started, found, looked at from outside, killed on drop.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use crate::{bare, now};

/// The key that `keypod dev` makes.
pub(crate) const KEY: &str = "demo";

/// Where a server is reached.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// As `HOST:PORT`.
    pub(crate) tcp: String,
    pub(crate) socket: PathBuf,
}

/// What the kernel says about a process's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident_bytes: u64,
    /// The most that was ever resident.
    pub(crate) peak_bytes: u64,
}

/// The bare handler.
#[derive(Debug)]
pub(crate) struct Bare {
    child: Child,
    pub(crate) address: Address,
}

/// A ready sidecar.
#[derive(Debug)]
pub(crate) struct Sidecar {
    child: Child,
    pub(crate) address: Address,
    /// From before it was started until it said that it is ready.
    pub(crate) ready_after: Duration,
    pub(crate) token_file: PathBuf,
}

/// Makes root, store, key and token in `folder`, as `keypod dev` does.
pub(crate) async fn prepare(keypod: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut child = command(keypod)
        .args(["dev", "--port", "0", "--dir"])
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run keypod")?;
    let mut lines = lines_of(child.stdout.take())?;
    while let Some(line) = lines.next_line().await? {
        if line.contains("Paste") {
            return Ok(child.kill().await?);
        }
    }
    anyhow::bail!("keypod dev ended before it was ready")
}

impl Bare {
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut child = command(&std::env::current_exe()?)
            .arg("--bare")
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = lines_of(child.stdout.take())?;
        let tcp = lines.next_line().await?.context("the bare server ended")?;
        Ok(Self { child, address: Address { tcp, socket: folder.join(bare::SOCKET) } })
    }

    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(&self.child)
    }
}

impl Sidecar {
    /// Starts it on what [`prepare`] made, with this folder of policies, its key warm before it is ready.
    pub(crate) async fn start(
        keypod: &Path,
        folder: &Path,
        policies: Option<&Path>,
        durability: &str,
    ) -> anyhow::Result<Self> {
        let mut command = command(keypod);
        command
            .args(["serve", "--config"])
            .arg(folder.join("keypod.toml"))
            .env("KEYPOD_CACHE__PRELOAD", format!("[\"{KEY}\"]"))
            .env("KEYPOD_AUDIT__DURABILITY", durability)
            .stderr(Stdio::piped());
        if let Some(policies) = policies {
            command.env("KEYPOD_POLICY__FOLDER", policies);
        }
        let begun = now();
        let mut child = command.spawn().context("cannot run keypod")?;
        let mut lines = lines_of(child.stderr.take())?;
        while let Some(line) = lines.next_line().await? {
            let ready_after = begun.elapsed();
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if event.get("message").and_then(serde_json::Value::as_str) != Some("ready") {
                continue;
            }
            let tcp = event.get("tcp").and_then(serde_json::Value::as_str);
            let tcp = tcp.context("the sidecar does not say where it listens")?.to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            let address = Address { tcp, socket: folder.join("keypod.sock") };
            return Ok(Self { child, address, ready_after, token_file: folder.join("token") });
        }
        anyhow::bail!("keypod serve ended before it was ready: {:?}", child.wait().await?)
    }

    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(&self.child)
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid(&self.child)?))?;
        let bytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let kibibytes: u64 = line?.trim_end_matches("kB").trim().parse().ok()?;
            Some(kibibytes << 10)
        };
        let resident_bytes = bytes("VmRSS:").context("the kernel gives no VmRSS")?;
        let peak_bytes = bytes("VmHWM:").context("the kernel gives no VmHWM")?;
        Ok(Memory { resident_bytes, peak_bytes })
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn lines_of<R: AsyncRead + Unpin>(output: Option<R>) -> anyhow::Result<Lines<BufReader<R>>> {
    Ok(BufReader::new(output.context("the output is piped")?).lines())
}

fn pid(child: &Child) -> anyhow::Result<u32> {
    child.id().context("the server has ended")
}

/// User and system time so far.
fn cpu_seconds(child: &Child) -> anyhow::Result<f64> {
    /// The unit of `/proc/PID/stat` on every Linux that Rust runs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid(child)?))?;
    // After the name, which may hold anything: state is the third field, the times are 14 and 15.
    let (_, fields) = stat.rsplit_once(')').context("a line of /proc/PID/stat")?;
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}
