//! The load test: Keypod beside a bare handler on the same cores, and what a sidecar takes of its pod.
//!
//! Depends on the programs `keypod` and this one, each in a process of its own, and on `keypod bench` for the load:
//! a closed loop, the same client and the same bytes for both servers. Rounds are interleaved (bare, encrypt,
//! decrypt, bare, ...), so that what else runs on the machine falls on all of them, and medians are taken. No
//! figure here fails a test: it prints a table and leaves `results.json` and `throughput.svg`.

mod bare;
mod footprint;
mod plot;
mod policies;
mod process;
mod report;
mod rounds;
mod stream;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;

use crate::process::Sidecar;
use crate::rounds::{Sidecars, Transport};

#[derive(Debug, Parser)]
#[command(about = "Measures Keypod beside a bare handler on the same cores")]
struct Args {
    /// The program `keypod`, built in release
    #[arg(long, value_name = "FILE", required_unless_present = "bare")]
    keypod: Option<PathBuf>,
    /// Where results.json and throughput.svg go
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// Connections at once; each number is measured
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,16,64")]
    connections: Vec<u16>,
    /// Rounds, of which the median is taken
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// How long each part of a round is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    seconds: u64,
    /// How both servers are reached
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    transport: Transport,
    /// Leave out start, memory and stream
    #[arg(long)]
    only_rounds: bool,
    /// Run as the bare server in this folder
    #[arg(long, value_name = "FOLDER", hide = true)]
    bare: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(folder) = &args.bare {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(bare::serve(folder));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let keypod = args.keypod.clone().unwrap_or_default();
    let folder = tempfile::tempdir()?;
    process::prepare(&keypod, folder.path()).await?;
    let footprint = match args.only_rounds {
        true => None,
        false => Some(footprint::measure(&keypod, folder.path()).await?),
    };
    let stream = match args.only_rounds {
        true => None,
        false => Some(stream::measure(&keypod, folder.path()).await?),
    };
    let bare = process::Bare::start(folder.path()).await?;
    let policies = policies::write(folder.path())?;
    let sidecars = start_sidecars(&keypod, folder.path(), &policies).await?;
    let measured = rounds::measure(args, &keypod, &bare, &sidecars).await?;
    let loaded = sidecars.group.memory()?.peak_bytes;
    let report = report::Report { measured, footprint, stream, loaded_peak_bytes: loaded };
    say(&report.table())?;
    if !args.only_rounds {
        std::fs::write(args.out.join("results.json"), format!("{:#}\n", report.to_json(args)))?;
        std::fs::write(args.out.join("throughput.svg"), plot::throughput(&report.measured)?)?;
    }
    Ok(())
}

/// One for each way to write an audit log, each in a folder of its own.
async fn start_sidecars(keypod: &Path, folder: &Path, policies: &Path) -> anyhow::Result<Sidecars> {
    let start = async |durability: &str| {
        let own = folder.join(durability);
        process::prepare(keypod, &own).await?;
        Sidecar::start(keypod, &own, Some(policies), durability).await
    };
    Ok(Sidecars {
        group: start("group").await?,
        in_kernel: start("async").await?,
        one_by_one: start("sync").await?,
    })
}

/// Writes lines to standard output.
fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

#[allow(clippy::disallowed_methods, reason = "a measurement is what this program is for")]
fn now() -> Instant {
    Instant::now()
}

/// Cores that all processes share.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// The value in the middle; of two in the middle, the upper one.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
