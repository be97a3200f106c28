//! `keypod audit`: reads the audit log: verifies it, proves what is in it, finds entries, and makes a report of it.
//!
//! Depends on [`crate::audit`]. It needs no sidecar, no root and no configuration: a folder, and keys to check
//! it with. `hash` alone asks a sidecar, which has the key.

mod hash;
mod prove;
mod query;
mod report;
mod trust;
mod verify;

use clap::{Args, Subcommand};

/// What `keypod audit` takes.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Say whether a folder of logs is clean, open, ended uncleanly, or was tampered with, and where
    #[command(after_help = verify::AFTER_HELP)]
    Verify(verify::VerifyArgs),
    /// Write a proof that an entry is in a log, or that a log grew from an earlier state; check one
    #[command(after_help = prove::AFTER_HELP)]
    Prove(prove::ProveArgs),
    /// Find entries: by caller, key, operation, outcome, time, or the hash of a subject
    #[command(after_help = query::AFTER_HELP)]
    Query(Box<query::QueryArgs>),
    /// Write one HTML page about who did what, for an auditor
    #[command(after_help = report::AFTER_HELP)]
    Report(report::ReportArgs),
    /// Print how the log hashes a subject, a context or a ciphertext, to search it for one
    Hash(hash::AuditHashArgs),
}

/// `keypod audit`
pub(super) fn run(args: AuditArgs) -> anyhow::Result<()> {
    match args.command {
        AuditCommand::Verify(args) => verify::run(&args),
        AuditCommand::Prove(args) => prove::run(args),
        AuditCommand::Query(args) => query::run(*args),
        AuditCommand::Report(args) => report::run(&args),
        AuditCommand::Hash(args) => hash::run(args),
    }
}
