//! `keypod audit verify`
//!
//! Depends on [`crate::audit::verify`].

use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::trust::{self, TrustArgs};
use crate::audit::verify::{LogReport, LogState, Progress, Verdict, Verification, rfc3339, verify};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::table::Table;

pub(super) const AFTER_HELP: &str = "\
The verdict:
  clean        every log ended in order, and everything is as it was signed
  open         the same, and a sidecar is writing the last one
  unclean end  a sidecar was killed, or its machine failed; what only the next
               log's certificate vouches for, and what nothing does, is counted
  tampered     something contradicts a signature, is missing, or was deleted
               before its time: each place is named

Nothing in a folder shows that its end was cut off, or that an older copy of the
whole was put back. A checkpoint that was kept elsewhere does, and so do
witnesses: copy the file `checkpoint` of the newest log away from time to time.

Exit codes: 0 clean, open or unclean end; 1 tampered, and with --strict unclean
end; 2 wrong usage, or no log there.

Examples:
  keypod audit verify /var/lib/keypod/audit --authority authorities.txt
  keypod audit verify audit --authority authorities.txt --checkpoint last-week
  keypod audit verify audit --authority authorities.txt --witness-key witnesses.txt --witnessed 2
  keypod audit verify audit --authority authorities.txt --retention-min 2192days";

/// What `keypod audit verify` takes.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The folder of logs
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// Fail on an unclean end too
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A bar over the entries, if standard error is a terminal.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let template = "{bar:40} {percent:>3}% {human_pos} entries {per_sec} {eta}";
        match ProgressStyle::with_template(template) {
            Ok(style) if stderr().is_terminal() => Self(ProgressBar::no_length().with_style(style)),
            _ => Self(ProgressBar::hidden()),
        }
    }

    pub(super) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    pub(super) fn show(&self, progress: Progress) {
        self.0.set_length(progress.total.max(progress.done));
        self.0.set_position(progress.done);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// `keypod audit verify`
pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let trust = args.trust.read()?;
    let bar = Bar::new();
    let verified = verify(&args.folder, &trust, &mut (), &mut |progress| bar.show(progress));
    bar.finish();
    let verification = verified.map_err(trust::unreadable)?;
    if args.json {
        output::json(&serde_json::to_value(&verification)?)?;
    } else {
        say(&verification)?;
    }
    if verification.trusts_itself {
        trust::warn_of_own_authorities();
    }
    match verification.verdict {
        Verdict::Tampered => Err(Failure::Reported.into()),
        Verdict::UncleanEnd if args.strict => Err(Failure::Reported.into()),
        Verdict::Clean | Verdict::Open | Verdict::UncleanEnd => Ok(()),
    }
}

fn say(verification: &Verification) -> anyhow::Result<()> {
    output::line(&format!("{}", verification.verdict))?;
    output::line(&summary(verification))?;
    for problem in &verification.problems {
        output::line(&format!("WRONG  {problem}"))?;
    }
    if verification.more_problems > 0 {
        output::line(&format!("WRONG  and {} more", verification.more_problems))?;
    }
    let unclean = verification.logs.iter().filter(|log| log.state == LogState::UncleanEnd);
    for log in unclean {
        output::line(&format!("ended  {}", unclean_end(log)))?;
    }
    for remark in &verification.remarks {
        output::line(&format!("note   {remark}"))?;
    }
    if verification.logs.len() <= SHOWN_LOGS {
        output::line(&table(&verification.logs).render())?;
    }
    Ok(())
}

/// More logs than this are not shown one by one.
const SHOWN_LOGS: usize = 50;

fn summary(verification: &Verification) -> String {
    let count = verification.log_count();
    let range = verification.times_ms.map_or(String::new(), |[first, last]| {
        format!(", from {} to {}", rfc3339(first), rfc3339(last))
    });
    format!("{} entries in {count} logs{range}", verification.entries)
}

pub(super) fn unclean_end(log: &LogReport) -> String {
    let LogReport { number, signed, vouched_by_next, vouched_by_nothing, .. } = log;
    let mut parts =
        vec![format!("log {number} ended uncleanly: its checkpoint vouches for {signed} entries")];
    if *vouched_by_next > 0 {
        parts.push(format!("the next log's certificate for {vouched_by_next} more"));
    }
    if *vouched_by_nothing > 0 {
        parts.push(format!("nothing for {vouched_by_nothing}"));
    }
    parts.join(", ")
}

fn table(logs: &[LogReport]) -> Table {
    let mut table = Table::of_text(&["LOG", "STATE", "ENTRIES", "SIGNED", "FROM", "TO"]);
    for log in logs {
        let time = |at: usize| {
            log.times_ms.and_then(|times| times.get(at).copied()).map_or("-".to_owned(), rfc3339)
        };
        let state = match log.state {
            LogState::Closed => "closed",
            LogState::Open => "open",
            LogState::UncleanEnd => "unclean end",
            LogState::Pruned => "pruned",
            LogState::Tampered => "tampered",
        };
        table.row(vec![
            log.number.to_string(),
            state.to_owned(),
            log.entries.to_string(),
            log.signed.to_string(),
            time(0),
            time(1),
        ]);
    }
    table
}
