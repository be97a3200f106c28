//! The command line: what can be asked of `keypod`, and which module answers.
//!
//! Depends on [`crate::config`] for where the sidecar is, on [`crate::names`], and on the running sidecar's HTTP
//! API for everything else: a client command never opens a store, a root or a key. Only `serve` and `dev` run a
//! sidecar; only they, `root` and `store` open roots or stores. Only [`output`] writes to the terminal, and a token comes out of a file, never out of an argument.

mod audit;
mod bench;
mod client;
mod context;
mod dev;
mod emergency;
mod failure;
mod files;
mod healthcheck;
mod keys;
mod output;
mod policy;
mod root;
mod runtime;
mod serve;
mod status;
mod store;
mod table;
#[cfg(test)]
mod testing;
mod witness;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

const AFTER_HELP: &str = "\
Finding the sidecar: --socket or --addr, else KEYPOD_SOCKET or KEYPOD_ADDR, else
/run/keypod/keypod.sock, else the socket of `keypod dev` in ./keypod-dev.
The token: --token-file, else KEYPOD_TOKEN_FILE.

Exit codes: 0 well; 1 the operation failed; 2 wrong usage; 78 the configuration is wrong.

Examples:
  keypod dev
  echo -n secret | keypod encrypt --key demo --text
  keypod encrypt --key demo --context tenant=clinic-7 records/
  keypod keys list";

/// Key management and encryption sidecar.
#[derive(Debug, Parser)]
#[command(name = "keypod", version, about, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar
    Serve(ServeArgs),
    /// Run a sidecar to try things out: its root, store, token and one demo key in a folder
    Dev(DevArgs),
    /// Encrypt files, folders or standard input
    Encrypt(files::EncryptArgs),
    /// Decrypt files, folders or standard input
    Decrypt(files::DecryptArgs),
    /// Move ciphertexts to their key's newest version, or to another context, without seeing the plaintext
    Rewrap(files::RewrapArgs),
    /// Make, look at, rotate, restrict and destroy keys
    Keys(keys::KeysArgs),
    /// Show which roots wrap the key versions, and move them from root to root
    Root(root::RootArgs),
    /// Prepare key stores: make the tables, copy from one to another
    Store(store::StoreArgs),
    /// Look at policies: check them, run their cases, explain a decision
    Policy(policy::PolicyArgs),
    /// Break the glass: do for a while what policy keeps for an emergency
    Emergency(emergency::EmergencyArgs),
    /// Look into the audit log: verify it, prove what is in it, find entries, make a report
    Audit(audit::AuditArgs),
    /// Run a witness: remember how far audit logs were, so that one that was rolled back is seen
    Witness(witness::WitnessArgs),
    /// Show how the sidecar is
    Status(status::StatusArgs),
    /// Ask the health listener, as a probe: exit code 0 or 1
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Measure throughput and latency with a closed loop of requests
    Bench(bench::BenchArgs),
    /// Print the completions for a shell
    #[command(after_help = "Example:\n  keypod completions bash > /etc/bash_completion.d/keypod")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// What `keypod serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// Check the configuration, say what can be reached and what cannot, and exit
    #[arg(long)]
    pub(crate) check: bool,
    /// With --check: print what was found as JSON
    #[arg(long, requires = "check")]
    pub(crate) json: bool,
}

/// What `keypod dev` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// The folder of the root, the store, the socket and the token; made if it is not there
    #[arg(long, value_name = "FOLDER", default_value = client::DEV_FOLDER)]
    pub(crate) dir: PathBuf,
    /// The port on 127.0.0.1, and the next one for health  [default: 7480]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
}

/// Runs the command that the process's arguments name, and returns its exit code. It writes everything that is
/// to be seen, errors included.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" too, with code 0. A closed terminal is nothing to report.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(args) => serve::run(&args),
            Self::Dev(args) => dev::run(&args),
            Self::Encrypt(args) => files::encrypt(args),
            Self::Decrypt(args) => files::decrypt(args),
            Self::Rewrap(args) => files::rewrap(args),
            Self::Keys(args) => keys::run(args),
            Self::Root(args) => root::run(args),
            Self::Store(args) => store::run(args),
            Self::Policy(args) => policy::run(args),
            Self::Emergency(args) => emergency::run(args),
            Self::Audit(args) => audit::run(args),
            Self::Witness(args) => witness::run(args),
            Self::Status(args) => status::run(args),
            Self::Healthcheck(args) => healthcheck::run(&args),
            Self::Bench(args) => bench::run(args),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "keypod", &mut script);
                output::write(&script)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_token_is_never_an_argument() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            let token = |argument: &clap::Arg| {
                argument
                    .get_long()
                    .is_some_and(|name| name.contains("token") && name != "token-file")
            };
            assert!(!command.get_arguments().any(token), "{}", command.get_name());
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn wrong_names_are_wrong_usage() {
        for bad in [
            &["keypod", "encrypt", "--key", "Not A Name"][..],
            &["keypod", "encrypt"],
            &["keypod", "keys", "state", "demo", "0", "enabled"],
            &["keypod", "keys", "state", "demo", "1", "destroyed"],
            &["keypod", "status", "--socket", "s", "--addr", "127.0.0.1:1"],
            &["keypod", "serve", "--socket", "s"],
        ] {
            assert!(Cli::try_parse_from(bad).is_err_and(|error| error.use_stderr()), "{bad:?}");
        }
        let good = ["keypod", "keys", "list", "--socket", "s", "--json"];
        assert!(Cli::try_parse_from(good).is_ok());
    }
}
