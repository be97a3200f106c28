//! The figures of the outage contract and of keys that many sidecars share, each as a run against real servers.
//!
//! Depends on `keypod-test-servers` for the servers, on the harness of `keypod-tests` for sidecars in processes of
//! their own, and on nothing that must run already. A figure is what was asked, what was measured, and whether it
//! holds; the program fails if one does not. It leaves `results.json`, and from that `REPORT.md` and the plots.

mod database;
mod figure;
mod figures;
mod load;
mod machine;
mod plot;
mod pods;
mod report;
mod wire;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::figure::{Figure, Results};
use crate::figures::Name;

#[derive(Debug, Parser)]
#[command(about = "Measures what an outage of the root does, and how sidecars share keys")]
struct Args {
    /// Measure this figure alone; what is known of the others stays
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Name>,
    /// Smaller numbers and shorter bounds, for a check
    #[arg(long)]
    quick: bool,
    /// Where results.json, REPORT.md and the plots go; default: nowhere
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write the results to standard output as JSON
    #[arg(long)]
    json: bool,
    /// Measure nothing; write report and plots anew from results.json
    #[arg(long, requires = "out")]
    redraw: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    machine::allow_many_connections();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&args))
}

async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut results = match &args.out {
        Some(folder) if args.redraw || !args.only.is_empty() => report::read(folder)?,
        _ => Results::default(),
    };
    let wanted = match args.only.is_empty() {
        true => Name::ALL.to_vec(),
        false => args.only.clone(),
    };
    for name in wanted {
        if args.redraw {
            break;
        }
        say(&format!("{}: measuring", name.text()));
        let figure = figures::measure(name, args.quick).await?;
        say(&report::lines(&figure));
        results.put(figure);
    }
    if let Some(folder) = &args.out {
        report::write(folder, &results)?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&results)?;
        writeln!(std::io::stdout().lock(), "{text}")?;
    }
    let holds = results.figures.iter().all(Figure::holds);
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says how it goes, on standard error.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[allow(clippy::disallowed_methods, reason = "a measurement is what this program is for")]
fn now() -> Instant {
    Instant::now()
}
