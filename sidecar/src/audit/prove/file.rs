//! Proofs as text: what `docs/audit-log.md` says of them, written and read.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tlog_tiles::Hash;

use crate::audit::verify::{SIZE_MAX, TreeHead, decimal, root_hash};

/// What the first line of a proof of inclusion is: C2SP tlog-proof.
const INCLUSION: &str = "c2sp.org/tlog-proof@v1";
/// What the first line of a proof of consistency is.
const CONSISTENCY: &str = "keypod-audit-consistency/v1";
/// What the extra data of a proof of inclusion begins with.
const EXTRA: &[u8] = b"keypod-audit-proof/v1\n";
/// A tree of 2 to the 52nd entries has no proof of more hashes.
const HASHES_MAX: usize = 64;
/// An entry and two notes, in base64, and hashes.
const PROOF_BYTES_MAX: usize = 1 << 20;

/// Why a file is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Too long, or no text.
    #[error("the file is no proof of an audit log")]
    NoText,
    /// Its first line is another file's.
    #[error("the first line of a proof is `{INCLUSION}` or `{CONSISTENCY}`")]
    FirstLine,
    /// A line is not what stands there in a proof.
    #[error("the proof is not of its form: line {0}")]
    Line(usize),
}

/// A proof.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// That an entry is in a log.
    Inclusion {
        /// The log's certificate, as it is.
        certificate: Vec<u8>,
        /// The entry, as it is.
        entry: Vec<u8>,
        /// Its number.
        index: u64,
        /// From its neighbour up.
        hashes: Vec<Hash>,
        /// A checkpoint of the log, as it is.
        checkpoint: Vec<u8>,
    },
    /// That a state of a log is the beginning of a later one, and both of that of a checkpoint.
    Consistency {
        /// The log's certificate, as it is.
        certificate: Vec<u8>,
        /// The older state.
        from: TreeHead,
        /// The newer one.
        to: TreeHead,
        /// From the older to the newer, and from that to the checkpoint.
        steps: [Vec<Hash>; 2],
        /// A checkpoint of the log, as it is.
        checkpoint: Vec<u8>,
    },
}

impl Proof {
    /// The certificate in it.
    pub(super) fn certificate(&self) -> &[u8] {
        let (Self::Inclusion { certificate, .. } | Self::Consistency { certificate, .. }) = self;
        certificate
    }

    /// The checkpoint in it.
    pub(super) fn checkpoint(&self) -> &[u8] {
        let (Self::Inclusion { checkpoint, .. } | Self::Consistency { checkpoint, .. }) = self;
        checkpoint
    }

    /// The proof as a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let lines = |hashes: &[Hash]| -> String {
            hashes.iter().map(|hash| format!("{}\n", BASE64_STANDARD.encode(hash.0))).collect()
        };
        let head = match self {
            Self::Inclusion { certificate, entry, index, hashes, .. } => {
                let extra = [EXTRA, &**certificate, b"\n", &**entry].concat();
                let extra = BASE64_STANDARD.encode(extra);
                format!("{INCLUSION}\nextra {extra}\nindex {index}\n{}", lines(hashes))
            }
            Self::Consistency { certificate, from, to, steps: [first, second], .. } => {
                let certificate = BASE64_STANDARD.encode(certificate);
                let state = |name: &str, head: &TreeHead| {
                    format!("{name} {} {}\n", head.size, BASE64_STANDARD.encode(head.root.0))
                };
                let (from, to) = (state("from", from), state("to", to));
                let (first, second) = (lines(first), lines(second));
                format!("{CONSISTENCY}\ncertificate {certificate}\n{from}{first}{to}{second}")
            }
        };
        [head.as_bytes(), b"\n", self.checkpoint()].concat()
    }

    /// Reads a proof.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::NoText);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofError::NoText)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofError::NoText)?;
        let mut lines = Lines { lines: head.split('\n').peekable(), number: 0 };
        let checkpoint = checkpoint.as_bytes().to_vec();
        match lines.next() {
            Some(INCLUSION) => lines.inclusion(checkpoint),
            Some(CONSISTENCY) => lines.consistency(checkpoint),
            _ => Err(ProofError::FirstLine),
        }
    }
}

/// The lines before the checkpoint.
struct Lines<'a> {
    lines: std::iter::Peekable<std::str::Split<'a, char>>,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.number = self.number.saturating_add(1);
        self.lines.next()
    }

    /// What stands in the next line after `name` and a space.
    fn field(&mut self, name: &str) -> Result<&'a str, ProofError> {
        let field = self.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        field.ok_or(ProofError::Line(self.number))
    }

    fn base64(&mut self, name: &str) -> Result<Vec<u8>, ProofError> {
        let field = self.field(name)?;
        BASE64_STANDARD.decode(field).map_err(|_| ProofError::Line(self.number))
    }

    fn state(&mut self, name: &str) -> Result<TreeHead, ProofError> {
        let field = self.field(name)?;
        let parts = field.split_once(' ');
        let head = parts.and_then(|(size, root)| {
            let size = decimal(size).filter(|&size| size <= SIZE_MAX)?;
            Some(TreeHead { size, root: root_hash(root)? })
        });
        head.ok_or(ProofError::Line(self.number))
    }

    /// Hashes, a line each, up to a line that begins with `until` or to the end.
    fn hashes(&mut self, until: Option<&str>) -> Result<Vec<Hash>, ProofError> {
        let mut hashes = Vec::new();
        while let Some(line) = self.lines.peek()
            && until.is_none_or(|until| !line.starts_with(until))
        {
            let hash = self.next().and_then(root_hash);
            hashes.push(hash.ok_or(ProofError::Line(self.number))?);
            if hashes.len() > HASHES_MAX {
                return Err(ProofError::Line(self.number));
            }
        }
        Ok(hashes)
    }

    fn inclusion(mut self, checkpoint: Vec<u8>) -> Result<Proof, ProofError> {
        let extra = self.base64("extra")?;
        let parts = extra.strip_prefix(EXTRA).and_then(certificate_and_entry);
        let (certificate, entry) = parts.ok_or(ProofError::Line(self.number))?;
        let index = decimal(self.field("index")?).filter(|&index| index < SIZE_MAX);
        let index = index.ok_or(ProofError::Line(self.number))?;
        let hashes = self.hashes(None)?;
        Ok(Proof::Inclusion { certificate, entry, index, hashes, checkpoint })
    }

    fn consistency(mut self, checkpoint: Vec<u8>) -> Result<Proof, ProofError> {
        let certificate = self.base64("certificate")?;
        let from = self.state("from")?;
        let first = self.hashes(Some("to "))?;
        let to = self.state("to")?;
        let steps = [first, self.hashes(None)?];
        Ok(Proof::Consistency { certificate, from, to, steps, checkpoint })
    }
}

/// A certificate, an empty line, and an entry. No line ends in an entry, so the last empty line is the one between them.
fn certificate_and_entry(extra: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let end = extra.windows(2).rposition(|pair| pair == b"\n\n")?;
    let (certificate, entry) = extra.split_at_checked(end.saturating_add(1))?;
    Some((certificate.to_vec(), entry.strip_prefix(b"\n")?.to_vec()))
}
