//! Why the Vault root could not be opened: each message names the setting or the file and says what to do next.

use std::io;
use std::path::PathBuf;

/// Why the Vault root could not be opened. None of these is about the server: it is asked later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultRootError {
    /// A setting is not what it has to be.
    #[error("{setting} of the Vault root is not usable: {problem}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What it has to be.
        problem: &'static str,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: check the path and that this user may read it", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is a folder, a device or a pipe.
    #[error("{} is not a regular file: configure the path of one", path.display())]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// Anybody may write it.
    #[error("{path} may be written by every user: run chmod o-w {path}, and replace what is in it", path = path.display())]
    OpenToAll {
        /// Which file.
        path: PathBuf,
    },
    /// A file is empty, or longer than what belongs there.
    #[error("{} is {found} bytes long: 1 to {max} are allowed", path.display())]
    Length {
        /// Which file.
        path: PathBuf,
        /// How long it is.
        found: u64,
        /// How long it may be.
        max: u64,
    },
    /// A file that should hold a secret of printable ASCII holds something else.
    #[error("{} does not hold one line of printable ASCII, as a {what} is", path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
    /// A PEM file does not hold what it should.
    #[error("{} holds no {what} in PEM, or a damaged one", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
    /// The client certificate and its key are of no use together.
    #[error("the client certificate {} and the key {} do not belong together, or are of a kind that TLS does not take", cert_file.display(), key_file.display())]
    Identity {
        /// The certificate.
        cert_file: PathBuf,
        /// The key.
        key_file: PathBuf,
        /// What TLS said.
        source: rustls::Error,
    },
    /// This system has no certificates of authorities.
    #[error(
        "this system has no certificates of authorities: install them (ca-certificates), or set ca_file of the Vault root"
    )]
    NoAuthorities {
        /// What TLS said.
        source: rustls::Error,
    },
    /// TLS or the HTTP client could not be set up.
    #[error("the connection to Vault cannot be set up")]
    Client {
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
