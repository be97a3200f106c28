//! `keypod audit`: reads the audit log: verifies it, proves what is in it, finds entries, and makes a report of it.
//!
//! Depends on [`crate::audit`]. It needs no sidecar, no root and no configuration: a folder, and keys to check it with.

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
}

/// `keypod audit`
pub(super) fn run(args: AuditArgs) -> anyhow::Result<()> {
    match args.command {
        AuditCommand::Verify(args) => verify::run(&args),
    }
}
