//! Why a sink cannot be set up.

use std::path::PathBuf;

/// Why a sink cannot be set up. Each says which, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A file cannot be read.
    #[error("{} of the sink {sink} cannot be read: a file of at most {max} bytes is wanted", path.display())]
    Unreadable {
        /// Which sink.
        sink: &'static str,
        /// Which file.
        path: PathBuf,
        /// How long it may be.
        max: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} of the sink {sink} must hold {wanted}", path.display())]
    Content {
        /// Which sink.
        sink: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wanted.
        wanted: &'static str,
    },
    /// The client could not be set up.
    #[error(
        "the client of the sink {sink} cannot be set up: if it is for want of authorities, set its ca_file"
    )]
    Client {
        /// Which sink.
        sink: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no standard output, or no thread for it.
    #[error("standard output cannot be written to: open it, or set audit.stdout to false")]
    NoOutput(#[source] std::io::Error),
}
