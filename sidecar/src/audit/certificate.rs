//! The certificate of a log: who may sign it, and what came before it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tlog_tiles::Hash;

use super::error::LogError;
use super::note::{NoteError, certified};
use crate::clock::UnixSeconds;
use crate::error_chain::error_chain;
use crate::root::authority::Authority;

const TITLE: &str = "keypod-audit-certificate/v1";

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) log: String,
    pub(super) key: String,
    pub(super) time: UnixSeconds,
    pub(super) number: u64,
    pub(super) previous: Option<Before>,
}

/// The log before, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) origin: String,
    pub(super) size: u64,
    pub(super) root: [u8; 32],
}

/// A certificate, signed.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) note: Vec<u8>,
    /// The verification key of the authority.
    pub(super) authority: String,
    pub(super) sha256: [u8; 32],
}

impl Statement {
    pub(super) fn text(&self) -> String {
        let previous = match &self.previous {
            None => "none".to_owned(),
            Some(Before { origin, size, root }) => {
                format!("{origin} {size} {}", STANDARD.encode(root))
            }
        };
        let Self { log, key, time, number, .. } = self;
        format!(
            "{TITLE}\nlog {log}\nkey {key}\ntime {time}\nnumber {number}\nprevious {previous}\n"
        )
    }

    /// What the note of a certificate says. Who signed it is not looked at: that is for whoever audits.
    pub(super) fn read(note: &[u8]) -> Result<Self, NoteError> {
        let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed)?;
        let (text, _) = note.split_once("\n\n").ok_or(NoteError::Malformed)?;
        let mut lines = text.lines();
        let mut field = |name: &str| {
            lines.next().and_then(|line| line.strip_prefix(name)).ok_or(NoteError::Malformed)
        };
        field(TITLE)?;
        let (log, key) = (field("log ")?.to_owned(), field("key ")?.to_owned());
        let time = UnixSeconds::parse(field("time ")?).ok_or(NoteError::Malformed)?;
        let number = field("number ")?.parse().map_err(|_| NoteError::Malformed)?;
        let previous = match field("previous ")? {
            "none" => None,
            said => Some(before(said).ok_or(NoteError::Malformed)?),
        };
        Ok(Self { log, key, time, number, previous })
    }

    /// Has it signed by the first authority that does.
    pub(super) async fn certify(
        &self,
        authorities: &[Arc<dyn Authority>],
    ) -> Result<Certificate, LogError> {
        let text = self.text();
        let mut reasons = Vec::new();
        for authority in authorities {
            let signed = match authority.sign(text.as_bytes()).await {
                Ok(signature) => certified(&text, &signature)
                    .map_err(|error| format!("{}: {error}", signature.name.escape_default())),
                Err(error) => Err(error_chain(&error)),
            };
            match signed {
                Ok((note, authority)) => {
                    let sha256 = Sha256::digest(&note).into();
                    return Ok(Certificate { note, authority, sha256 });
                }
                Err(reason) => reasons.push(reason),
            }
        }
        if authorities.is_empty() {
            reasons.push("none is configured that can sign".to_owned());
        }
        Err(LogError::NotCertified { reasons: reasons.join("; ") })
    }
}

fn before(said: &str) -> Option<Before> {
    let mut words = said.split(' ');
    let (origin, size, root) = (words.next()?, words.next()?, words.next()?);
    let root = Hash::parse_hash(root).ok()?.0;
    Some(Before { origin: origin.to_owned(), size: size.parse().ok()?, root })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(previous: Option<Before>) -> Statement {
        Statement {
            log: "keypod.test/8f3a5c0d9e21b764".to_owned(),
            key: "keypod.test/8f3a5c0d9e21b764+00000000+AQ==".to_owned(),
            time: UnixSeconds(1_795_500_000),
            number: 2,
            previous,
        }
    }

    #[test]
    fn the_text_is_that_of_the_format_and_is_read_back() {
        let first = statement(None);
        let text = "keypod-audit-certificate/v1\n\
            log keypod.test/8f3a5c0d9e21b764\n\
            key keypod.test/8f3a5c0d9e21b764+00000000+AQ==\n\
            time 2026-11-24T06:00:00Z\n\
            number 2\n\
            previous none\n";
        assert_eq!(first.text(), text);
        let origin = "keypod.test/0000000000000001".to_owned();
        let next = statement(Some(Before { origin, size: 17, root: [0; 32] }));
        let zeros = STANDARD.encode([0; 32]);
        assert!(
            next.text().ends_with(&format!("previous keypod.test/0000000000000001 17 {zeros}\n"))
        );
        for said in [first, next] {
            let note = format!("{}\n\u{2014} a AAAAAAA=\n", said.text());
            assert_eq!(Statement::read(note.as_bytes()).unwrap(), said);
            for cut in 0..said.text().len() {
                assert!(Statement::read(&note.as_bytes()[..cut]).is_err(), "{cut}");
            }
        }
    }
}
