//! What can go wrong with a log, in words for an operator.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::receipt::AppendError;
use crate::error_chain::error_chain;

/// A file of the log could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The system said no.
    #[error("{} cannot be {what}{}", .path.display(), advice(.source))]
    Refused {
        /// Which file or folder.
        path: PathBuf,
        /// What was to be done with it.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It was removed, replaced or changed while the log was open.
    #[error(
        "{} was removed, replaced or changed while the log was open: find out by whom, and start the sidecar again", .path.display()
    )]
    Gone {
        /// Which file.
        path: PathBuf,
    },
}

impl DiskError {
    pub(super) fn new(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Refused { path: path.to_owned(), what, source }
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// For a metric: a word of a few.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "gone",
            Self::Refused { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge => "full",
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => "read_only",
                io::ErrorKind::NotFound => "gone",
                _ => "io",
            },
        }
    }

    pub(super) fn text(&self) -> Arc<str> {
        error_chain(self).into()
    }
}

/// What to do about it, where that can be told.
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (make room there, or lower audit.retention)"
        }
        io::ErrorKind::FileTooLarge => " (raise the limit on the size of files)",
        io::ErrorKind::ReadOnlyFilesystem => " (mount it to be written)",
        io::ErrorKind::PermissionDenied => " (give it to the user of the sidecar)",
        io::ErrorKind::NotFound => " (somebody removed it: start the sidecar again)",
        _ => "",
    }
}

/// Why a log was not opened, or not followed by another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another process writes there.
    #[error(
        "another sidecar writes to the audit log in {}: give each its own audit.folder", .folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder is not fit for a log.
    #[error("the folder of the audit log, {}, {problem}", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// The disk.
    #[error("the audit log is not as it should be on the disk")]
    Disk(#[source] DiskError),
    /// No authority signed the certificate.
    #[error("no root certified the audit log: {reasons}")]
    NotCertified {
        /// What each of them said.
        reasons: String,
    },
    /// The first entry, or the last, was not taken.
    #[error("an entry of the sidecar itself was not taken")]
    Entry(#[source] AppendError),
    /// A line is no signature of a witness.
    #[error("this is no signature line of a signed note")]
    Cosignature,
    /// There is no key for the log.
    #[error("the system has no random numbers for the key of the audit log")]
    NoRandomNumbers,
    /// The writer did not start.
    #[error("the thread that writes the audit log cannot be started")]
    Thread(#[source] io::Error),
    /// The log is closed.
    #[error("the audit log is closed")]
    Closed,
}
