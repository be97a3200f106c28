//! The small files of a folder: the certificate and the checkpoint of each log, and whether they make one chain.
//!
//! Depends on [`super::notes`], [`super::key`] and [`crate::audit::reader`]. They are read one after the other.

use std::collections::BTreeMap;

use super::judge::Judged;
use super::key::VerifyingKey;
use super::notes::{Certificate, Checkpoint, Previous, Signed, SignedText, TreeHead};
use super::trust::{Kept, Trust};
use super::verdict::{Findings, Problem, Wrong};
use crate::audit::reader::{Folder, LogFolder, LogName, Unread};
use crate::clock::UnixSeconds;

/// Names of other chains that are counted.
const PREFIXES_MAX: usize = 10_000;

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

    /// When the log ended: when it or the next one was certified, whichever is later.
    pub(super) fn ended(&self, next: Option<&Self>) -> Option<UnixSeconds> {
        let (own, next) = (self.certificate.as_ref()?, next?.certificate.as_ref()?);
        Some(own.time.max(next.time))
    }

    /// What the next certificate says of it.
    pub(super) fn found(&self, next: Option<&Self>) -> Option<TreeHead> {
        let previous = next?.certificate.as_ref()?.previous.as_ref()?;
        (Some(&*previous.origin) == self.origin()).then_some(previous.head)
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

/// The heads of all logs of a folder, of which two are in memory.
#[derive(Debug)]
pub(super) struct Heads<'a> {
    pub(super) folder: &'a Folder,
    names: &'a [LogName],
    pub(super) trust: &'a Trust,
    authorities: &'a [VerifyingKey],
    survey: Survey,
    /// One that was looked at before it is its turn.
    ahead: Option<(usize, Head)>,
    /// Number and origin of the one that was taken last.
    before: Option<(u64, String)>,
}

impl<'a> Heads<'a> {
    /// Of the logs `names`, which are in the order of their numbers. They are read twice: what a log should be called, what
    /// most of them are called says.
    pub(super) fn new(
        folder: &'a Folder,
        names: &'a [LogName],
        trust: &'a Trust,
        authorities: &'a [VerifyingKey],
        findings: &mut Findings,
    ) -> Self {
        check_numbers(names, findings);
        let survey = Survey::of(folder, names, trust);
        Self { folder, names, trust, authorities, survey, ahead: None, before: None }
    }

    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// How many entries the checkpoints are over.
    pub(super) fn total(&self) -> u64 {
        self.survey.total
    }

    /// The head at `position`, held against the one that was taken before it.
    pub(super) fn take(&mut self, position: usize) -> Option<Head> {
        let mut head = match self.ahead.take_if(|(at, _)| *at == position) {
            Some((_, head)) => head,
            None => self.read(self.names.get(position)?),
        };
        self.check_previous(&mut head);
        Some(head)
    }

    /// The log after that at `position`: of two with one number, the next is not the one after.
    pub(super) fn after(&mut self, position: usize) -> Option<&Head> {
        let number = self.names.get(position)?.number;
        let rest = self.names.get(position..)?;
        let next = position.saturating_add(rest.partition_point(|name| name.number <= number));
        let name = self.names.get(next)?;
        if self.ahead.as_ref().is_none_or(|(at, _)| *at != next) {
            self.ahead = Some((next, self.read(name)));
        }
        self.ahead.as_ref().map(|(_, head)| head)
    }

    /// The log of this number, which has been judged, for what a `prune` entry says of it.
    pub(super) fn again(&mut self, number: u64) -> Option<Judged> {
        let position = self.names.binary_search_by_key(&number, |name| name.number).ok()?;
        let mut head = self.read(self.names.get(position)?);
        head.findings = Findings::default();
        Some(Judged::unread(head, self.after(position)))
    }

    fn read(&self, name: &LogName) -> Head {
        let mut head = Head::read(self.folder, name, self.trust, self.authorities);
        let prefix = head.certificate.as_ref().map(Certificate::prefix);
        if let (Some(prefix), Some(wanted)) = (prefix, &self.survey.prefix)
            && prefix != wanted
        {
            let what = format!(
                "the log is another sidecar's: its origin begins with {prefix}, and not with {wanted}"
            );
            head.problem(Wrong::Origin, "certificate", what);
        }
        head
    }

    /// Each certificate names the log before it.
    fn check_previous(&mut self, head: &mut Head) {
        let number = head.name.number;
        let before = self.before.take();
        let Some(certificate) = &head.certificate else { return };
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
        self.before = Some((number, certificate.origin.clone()));
        if let Some(what) = what {
            head.problem(Wrong::Previous, "certificate", what);
        }
    }
}

/// What has to be known of all logs before the first is read. Nothing of it is believed.
#[derive(Debug, Default)]
struct Survey {
    /// What all logs of the chain are called but for their ids: as was asked for, or as most of them are.
    prefix: Option<String>,
    /// How many entries the checkpoints are over.
    total: u64,
}

impl Survey {
    fn of(folder: &Folder, names: &[LogName], trust: &Trust) -> Self {
        let (mut total, mut first) = (0_u64, None);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for log in names.iter().filter_map(|name| folder.log(name).ok()) {
            let signed = log.checkpoint().ok().and_then(|bytes| Kept::from_checkpoint(&bytes).ok());
            total = total.saturating_add(signed.map_or(0, |kept| kept.head.size));
            let certificate = log.certificate().ok().and_then(|bytes| {
                Certificate::parse(&SignedText::parse(&bytes).ok()?, &bytes).ok()
            });
            let Some(certificate) = certificate.filter(|_| trust.origin.is_none()) else {
                continue;
            };
            let prefix = certificate.prefix();
            if let Some(count) = counts.get_mut(prefix) {
                *count = count.saturating_add(1);
            } else if counts.len() < PREFIXES_MAX {
                counts.insert(prefix.to_owned(), 1);
            }
            first.get_or_insert_with(|| prefix.to_owned());
        }
        // Of two that are as common, the one that the first log has.
        let common =
            counts.iter().max_by_key(|&(prefix, count)| (count, Some(prefix) == first.as_ref()));
        let common = common.map(|(prefix, _)| prefix.clone());
        Self { prefix: trust.origin.clone().or(common), total }
    }
}

fn check_numbers(names: &[LogName], findings: &mut Findings) {
    let mut last = 0_u64;
    for name in names {
        let number = name.number;
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
