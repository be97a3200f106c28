//! The options that say what a log is held against, the same for every command that reads one.
//!
//! Depends on [`crate::audit::verify`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::audit::verify::{Kept, Trust, VerifyError, VerifyingKey};
use crate::cli::failure::Failure;
use crate::cli::output;

/// Longest file of keys, or checkpoint, that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Whom to trust, and what is known of the log already.
#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    /// The keys of the authorities that may certify a log, a line each  [default: the folder's own, which proves less]
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// The keys of witnesses, a line each
    #[arg(long, value_name = "FILE")]
    witness_key: Option<PathBuf>,
    /// How many of those witnesses must have cosigned each checkpoint  [default: 1, with --witness-key]
    #[arg(long, value_name = "N", requires = "witness_key")]
    witnessed: Option<usize>,
    /// The origin that the logs must have, without their ids
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// A checkpoint of this log that was kept elsewhere: the log must contain it; can be given again
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The same in words, with the root hash in base64; can be given again
    #[arg(long, value_name = "ORIGIN:SIZE:ROOT")]
    expect: Vec<String>,
    /// How long each log that was deleted had to be kept, at least, such as 2190days
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    retention_min: Option<Duration>,
}

impl TrustArgs {
    /// Reads the files that are named.
    pub(super) fn read(&self) -> anyhow::Result<Trust> {
        let mut trust = Trust {
            origin: self.origin.clone(),
            retention_min: self.retention_min.unwrap_or_default(),
            ..Trust::default()
        };
        if let Some(path) = &self.authority {
            trust.authorities = Some(keys(path, Trust::parse_authorities)?);
        }
        if let Some(path) = &self.witness_key {
            trust.witnesses = keys(path, Trust::parse_witnesses)?;
            trust.witnessed = self.witnessed.unwrap_or(1);
            if trust.witnessed > trust.witnesses.len() {
                let count = trust.witnesses.len();
                let text =
                    format!("--witnessed asks for more witnesses than the {count} in the file");
                return Err(Failure::usage(text));
            }
        }
        for path in &self.checkpoint {
            let kept = Kept::from_checkpoint(&file(path)?)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            trust.kept.push(kept);
        }
        for text in &self.expect {
            let kept = Kept::parse(text).map_err(|error| Failure::usage(error.to_string()))?;
            trust.kept.push(kept);
        }
        Ok(trust)
    }
}

fn keys(
    path: &Path,
    parse: fn(&str) -> Result<Vec<VerifyingKey>, crate::audit::verify::KeyError>,
) -> anyhow::Result<Vec<VerifyingKey>> {
    let text = String::from_utf8(file(path)?)
        .map_err(|_| Failure::usage(format!("{} is no text", path.display())))?;
    parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// A small file that the command line names.
pub(super) fn file(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = read()
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{} is longer than 1 MiB", path.display())));
    }
    Ok(bytes)
}

/// A folder that cannot be read at all is wrong usage.
pub(super) fn unreadable(error: VerifyError) -> anyhow::Error {
    Failure::usage(format!("{:#}", anyhow::Error::from(error)))
}

/// Says what the trust of a verification is worth.
pub(super) fn warn_of_own_authorities() {
    output::note(
        "keypod: warning: the keys of the authorities came with the folder: this shows only that the folder agrees with\n\
         itself. Whoever could write to it could have replaced both. Name the keys that you were given: --authority FILE",
    );
}
