//! Says how the audit log hashes a subject or a context, so that it can be searched for one.

use std::fmt;

use super::{Error, Recorded, Service};
use crate::audit::{Attempt, AuditHash};
use crate::envelope::Context;
use crate::names::KeyVersion;
use crate::policy::Action;

/// A subject is a value of a context, and no longer.
const SUBJECT_BYTES_MAX: usize = 1_024;

/// What the log is to be searched for.
#[derive(Clone, Copy)]
pub enum AuditQuestion<'a> {
    /// Whatever was done under a context with this `subject`.
    Subject(&'a str),
    /// Whatever was done under exactly this context.
    Context(&'a Context),
}

impl fmt::Debug for AuditQuestion<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Subject(_) => "Subject",
            Self::Context(_) => "Context",
        })
    }
}

/// How the log may have hashed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHashes {
    /// One of each version of `keypod.audit` that may open, the newest first.
    pub hashes: Vec<AuditHash>,
    /// Versions that are disabled: what was hashed with them is not found.
    pub disabled: Vec<KeyVersion>,
}

impl Service {
    /// The hashes that stand in the audit log for what is asked about.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn audit_hash(
        &self,
        attempt: &mut Attempt,
        question: AuditQuestion<'_>,
    ) -> Result<Recorded<AuditHashes>, Error> {
        let now = self.now();
        self.permit_server(attempt, Action::AuditHash, now)?;
        if let AuditQuestion::Subject(subject) = question
            && subject.len() > SUBJECT_BYTES_MAX
        {
            return Err(Error::Invalid("a subject is at most 1024 bytes, as a value in a context"));
        }
        let found = self.keyring.audit_hash_keys(now).await?;
        let hashes = found.keys.iter().map(|key| {
            key.entry(match question {
                AuditQuestion::Subject(subject) => key.subject(subject),
                AuditQuestion::Context(context) => key.context(&context.digest()),
            })
        });
        let hashes: Vec<_> = hashes.collect();
        if let Some(newest) = hashes.first() {
            // Who looks for whom is on record as well.
            match question {
                AuditQuestion::Subject(_) => attempt.about_subject(*newest),
                AuditQuestion::Context(_) => attempt.about_whole_context(*newest),
            }
        }
        let found = AuditHashes { hashes, disabled: found.disabled };
        Ok(Recorded::new(found, attempt.succeed().await?))
    }
}
