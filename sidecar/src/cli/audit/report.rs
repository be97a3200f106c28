//! `keypod audit report`
//!
//! Depends on [`crate::audit::report`].

use std::path::PathBuf;

use clap::Args;

use super::prove::new_file;
use super::trust::{self, TrustArgs};
use super::verify::Bar;
use crate::audit::report::report;
use crate::audit::verify::Verdict;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::clock::{Clock as _, SystemClock};

pub(super) const AFTER_HELP: &str = "\
The page needs no network and no script, and prints on A4. A log that was
tampered with gets a page too, which says so; the exit code is 1 then.

Example:
  keypod audit report audit --authority authorities.txt --out november.html";

/// What `keypod audit report` takes.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The folder of logs
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where the page goes; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

/// `keypod audit report`
pub(super) fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let trust = args.trust.read()?;
    let bar = Bar::new();
    let made = report(&args.folder, &trust, &mut |progress| bar.show(progress));
    bar.finish();
    let made = made.map_err(trust::unreadable)?;
    new_file(&args.out, made.to_html(SystemClock.now().wall, &trust).as_bytes())?;
    let verification = made.verification();
    if verification.trusts_itself {
        trust::warn_of_own_authorities();
    }
    let (verdict, path) = (verification.verdict, args.out.display());
    output::line(&format!("{verdict}: {} entries, {path}", verification.entries))?;
    match verdict {
        Verdict::Tampered => Err(Failure::Reported.into()),
        Verdict::Clean | Verdict::Open | Verdict::UncleanEnd => Ok(()),
    }
}
