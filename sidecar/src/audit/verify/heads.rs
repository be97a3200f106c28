//! The small files of a folder: the certificate and the checkpoint of each log, and whether they make one chain.
//!
//! Depends on [`super::notes`], [`super::key`] and [`crate::audit::reader`].

use std::collections::BTreeMap;

use super::key::VerifyingKey;
use super::notes::{Certificate, Checkpoint, Previous, Signed, SignedText, TreeHead};
use super::trust::Trust;
use super::verdict::{Findings, Problem, Wrong};
use crate::audit::reader::{Folder, LogFolder, LogName, Unread};

/// What is known of a log before its entries are read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) name: LogName,
    pub(super) certificate: Option<Certificate>,
    /// What its checkpoint says, if that can be read and is its own.
    pub(super) signed: Option<TreeHead>,
    /// There is no file `checkpoint`: a sidecar may have been killed before it wrote the first.
    pub(super) never_signed: bool,
    pub(super) findings: Findings,
}

impl Head {
    pub(super) fn origin(&self) -> Option<&str> {
        self.certificate.as_ref().map(|certificate| &*certificate.origin)
    }

    fn problem(&mut self, kind: Wrong, file: &str, what: impl Into<String>) {
        let problem = Problem::of_log(self.name.number, kind, what);
        self.findings.problem(if file.is_empty() { problem } else { problem.in_file(file) });
    }

    /// Reads the two files of the log `name`.
    fn read(folder: &Folder, name: &LogName, trust: &Trust, authorities: &[VerifyingKey]) -> Self {
        let mut head = Self {
            name: name.clone(),
            certificate: None,
            signed: None,
            never_signed: false,
            findings: Findings::default(),
        };
        match folder.log(name) {
            Ok(log) => {
                head.read_certificate(&log, authorities);
                head.read_checkpoint(&log, trust);
            }
            Err(why) => head.problem(Wrong::File, "", format!("its folder {why}")),
        }
        head
    }

    fn read_certificate(&mut self, log: &LogFolder, authorities: &[VerifyingKey]) {
        let file = "certificate";
        let bytes = match log.certificate() {
            Ok(bytes) => bytes,
            Err(why) => return self.problem(Wrong::File, file, format!("the certificate {why}")),
        };
        let note = SignedText::parse(&bytes);
        let read = note.and_then(|note| Ok((Certificate::parse(&note, &bytes)?, note)));
        let (certificate, note) = match read {
            Ok(read) => read,
            Err(why) => {
                return self.problem(Wrong::Certificate, file, format!("the certificate {why}"));
            }
        };
        match note.signed(authorities) {
            Signed::By(0) => self.problem(
                Wrong::Authority,
                file,
                "no trusted authority signed the certificate: a key of nobody's, or of an authority that is not in the list",
            ),
            Signed::By(_) => {}
            Signed::Wrongly => self.problem(
                Wrong::Authority,
                file,
                "the certificate is not what the authority under it signed",
            ),
        }
        if certificate.number != self.name.number || certificate.id() != self.name.id {
            let what = format!(
                "the certificate is that of log {} with the id {}: another log's, or put in another's place",
                certificate.number,
                certificate.id(),
            );
            self.problem(Wrong::Certificate, file, what);
        }
        if certificate.key.name() != certificate.origin {
            self.problem(
                Wrong::Certificate,
                file,
                "the key in the certificate has not the log's name",
            );
        }
        self.certificate = Some(certificate);
    }

    fn read_checkpoint(&mut self, log: &LogFolder, trust: &Trust) {
        let file = "checkpoint";
        let bytes = match log.checkpoint() {
            Ok(bytes) => bytes,
            Err(Unread::Missing) => {
                self.never_signed = true;
                return;
            }
            Err(why) => return self.problem(Wrong::File, file, format!("the checkpoint {why}")),
        };
        let note = SignedText::parse(&bytes);
        let (checkpoint, note) = match note.and_then(|note| Ok((Checkpoint::parse(&note)?, note))) {
            Ok(read) => read,
            Err(why) => {
                return self.problem(Wrong::Checkpoint, file, format!("the checkpoint {why}"));
            }
        };
        if let Some(certificate) = &self.certificate {
            if checkpoint.origin != certificate.origin {
                let what = "the checkpoint is another log's";
                return self.problem(Wrong::Checkpoint, file, what);
            }
            if note.signed([&certificate.key]) != Signed::By(1) {
                let what =
                    "the checkpoint is not signed by the key that the log's certificate names";
                self.problem(Wrong::CheckpointSignature, file, what);
            }
        }
        self.signed = Some(checkpoint.head);
        match note.signed(&trust.witnesses) {
            Signed::Wrongly => self.problem(
                Wrong::Witnesses,
                file,
                "a cosignature is not the witness's whose name is on it",
            ),
            Signed::By(count) if count < trust.witnessed => self.problem(
                Wrong::Witnesses,
                file,
                format!(
                    "{count} known witnesses cosigned the checkpoint, and not {}",
                    trust.witnessed
                ),
            ),
            Signed::By(_) => {}
        }
    }
}

/// Reads the heads of all `names`, and checks that they are one chain.
pub(super) fn read_heads(
    folder: &Folder,
    names: &[LogName],
    trust: &Trust,
    authorities: &[VerifyingKey],
    findings: &mut Findings,
) -> Vec<Head> {
    let mut heads: Vec<_> =
        names.iter().map(|name| Head::read(folder, name, trust, authorities)).collect();
    check_numbers(&heads, findings);
    check_origins(&mut heads, trust);
    check_previous(&mut heads);
    heads
}

fn check_numbers(heads: &[Head], findings: &mut Findings) {
    let mut last = 0_u64;
    for head in heads {
        let number = head.name.number;
        let wanted = last.saturating_add(1);
        if number == last {
            let what = "two logs have this number";
            findings.problem(Problem::of_log(number, Wrong::Number, what));
        } else if number == wanted.saturating_add(1) {
            let what = "this log is left out: the next one is there";
            findings.problem(Problem::of_log(wanted, Wrong::Number, what));
        } else if number > wanted {
            let what =
                format!("this log and the next, up to {}, are left out", number.saturating_sub(1));
            findings.problem(Problem::of_log(wanted, Wrong::Number, what));
        }
        last = number;
    }
}

/// All logs of a chain have one origin but for their ids: the one that was asked for, or the one that most of them have.
fn check_origins(heads: &mut [Head], trust: &Trust) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for certificate in heads.iter().filter_map(|head| head.certificate.as_ref()) {
        let count = counts.entry(certificate.prefix()).or_default();
        *count = count.saturating_add(1);
    }
    // Of two that are as common, the one that the first log has.
    let first = heads.iter().find_map(|head| head.certificate.as_ref()).map(Certificate::prefix);
    let common = counts.iter().max_by_key(|&(prefix, count)| (count, Some(*prefix) == first));
    let common = common.map(|(prefix, _)| (*prefix).to_owned());
    let Some(wanted) = trust.origin.clone().or(common) else { return };
    for head in heads {
        let prefix = head.certificate.as_ref().map(|certificate| certificate.prefix().to_owned());
        if let Some(prefix) = prefix.filter(|prefix| *prefix != wanted) {
            let what = format!(
                "the log is another sidecar's: its origin begins with {prefix}, and not with {wanted}"
            );
            head.problem(Wrong::Origin, "certificate", what);
        }
    }
}

/// Each certificate names the log before it.
fn check_previous(heads: &mut [Head]) {
    let mut before: Option<(u64, String)> = None;
    for head in heads {
        let number = head.name.number;
        let Some(certificate) = &head.certificate else {
            before = None;
            continue;
        };
        let what = match (&certificate.previous, &before) {
            (None, _) if number > 1 => {
                Some("the certificate says that no log came before this one".to_owned())
            }
            (Some(_), _) if number == 1 => {
                Some("the certificate names a log before the first".to_owned())
            }
            (Some(Previous { origin, .. }), Some((last, wanted)))
                if last.saturating_add(1) == number && origin != wanted =>
            {
                Some(format!(
                    "the certificate says that {origin} came before this log, and here it is {wanted}"
                ))
            }
            _ => None,
        };
        let here = (number, certificate.origin.clone());
        if let Some(what) = what {
            head.problem(Wrong::Previous, "certificate", what);
        }
        before = Some(here);
    }
}
