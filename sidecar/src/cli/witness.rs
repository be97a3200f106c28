//! Runs a witness, and makes its key.
//!
//! Depends on [`crate::witness`], [`crate::process`], [`crate::telemetry`] and [`crate::clock`]. It opens no store, no
//! root and no log: what it knows of logs is what it was shown.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::failure::Failure;
use super::{output, serve};
use crate::clock::SystemClock;
use crate::process;
use crate::telemetry::{self, Format};
use crate::witness::server::{self, Address, Witness, WitnessSettings};
use crate::witness::{AuthorityKey, CosigningKey, LogKey};

const AFTER_HELP: &str = "\
A witness remembers how far each audit log was, and cosigns what leads on from there. A log
that was rolled back, cut or forked finds no cosignature, and its sidecar says so.

It speaks plain HTTP, on loopback or a Unix socket: put what speaks TLS in front of it. Give
it a machine of its own, or another node: beside its sidecar it is rolled back with it.

Examples:
  keypod witness keygen --name witness.example/w1 --key-file witness.key
  keypod witness --listen 127.0.0.1:7482 --key-file witness.key --state /var/lib/witness \\
      --authority authorities";

/// What `keypod witness` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
pub(super) struct WitnessArgs {
    #[command(subcommand)]
    command: Option<WitnessCommand>,
    /// Where to listen: 127.0.0.1:PORT, another loopback address, or unix:PATH
    #[arg(long, value_name = "ADDRESS", required = true)]
    listen: Option<Address>,
    /// The file with the witness's key
    #[arg(long, value_name = "FILE", required = true)]
    key_file: Option<PathBuf>,
    /// The folder of what it remembers, which must exist
    #[arg(long, value_name = "FOLDER", required = true)]
    state: Option<PathBuf>,
    /// A file with the verification keys of authorities whose certificates are believed, one a line
    #[arg(long, value_name = "FILE")]
    authority: Vec<PathBuf>,
    /// The verification key of a log that has no certificates
    #[arg(long, value_name = "VKEY")]
    log: Vec<String>,
    /// Take up chains whose first logs were never seen here; leave it out once they are known
    #[arg(long)]
    adopt: bool,
    /// Chains that are remembered at most
    #[arg(long, value_name = "N", default_value_t = 4096)]
    logs_max: usize,
}

#[derive(Debug, clap::Subcommand)]
enum WitnessCommand {
    /// Make a witness's key, and print its verification key for those who ask it
    Keygen {
        /// The witness's name, such as witness.example/w1: without spaces and +
        #[arg(long, value_name = "NAME")]
        name: String,
        /// The file to make, of mode 0600; never overwritten
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
    },
}

/// `keypod witness`
pub(super) fn run(args: WitnessArgs) -> anyhow::Result<()> {
    process::harden()?;
    if let Some(WitnessCommand::Keygen { name, key_file }) = &args.command {
        let key = CosigningKey::create(key_file, name)?;
        return output::line(&key.to_string());
    }
    let (Some(listen), Some(key_file), Some(state)) = (args.listen, args.key_file, args.state)
    else {
        return Err(Failure::usage("--listen, --key-file and --state are needed"));
    };
    let mut authorities = Vec::new();
    for path in &args.authority {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| path.display().to_string())?;
        let keys = AuthorityKey::parse_all(&text);
        authorities.extend(keys.with_context(|| path.display().to_string())?);
    }
    let logs = args.log.iter().map(|key| LogKey::parse(key));
    let logs = logs.collect::<Result<Vec<_>, _>>().context("--log")?;
    let (adopt, logs_max) = (args.adopt, args.logs_max);
    let settings = WitnessSettings { key_file, state, authorities, logs, adopt, logs_max };
    telemetry::start_log(Format::Auto, "info")?;
    let witness = Witness::open(settings, Arc::new(SystemClock));
    serve(Arc::new(witness.map_err(Failure::of_configuration)?), listen)
}

fn serve(witness: Arc<Witness>, listen: Address) -> anyhow::Result<()> {
    serve::runtime()?.block_on(async {
        let mut stop = serve::Signals::catch()?;
        let (key, chains) = (witness.verification_key(), witness.chains());
        let stopped = async move { stop.next().await };
        let (address, served) = server::serve(witness, listen, stopped).await?;
        tracing::info!(%address, key, chains, "ready");
        served.await;
        tracing::info!("closed");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: WitnessArgs,
    }

    fn parse(arguments: &str) -> Result<WitnessArgs, clap::Error> {
        let line = ["witness"].into_iter().chain(arguments.split_whitespace());
        Line::try_parse_from(line).map(|line| line.args)
    }

    #[test]
    fn it_listens_on_this_machine_and_nowhere_else() {
        Line::command().debug_assert();
        for good in ["127.0.0.1:0", "[::1]:7482", "unix:/run/witness.sock"] {
            assert!(parse(&format!("--listen {good} --key-file k --state s")).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:7482", "10.0.0.1:1", "witness.example:1", "7482", "unix:", "[::]:1"] {
            assert!(parse(&format!("--listen {bad} --key-file k --state s")).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_it_needs_is_asked_for_and_a_key_is_made_without_it() {
        assert!(parse("--listen 127.0.0.1:0 --key-file k").is_err());
        assert!(parse("").is_err());
        assert!(parse("keygen --name w --key-file k").unwrap().command.is_some());
        assert!(parse("keygen --name w").is_err());
    }
}
