//! Why a local root could not be opened or made: each message names the file and says what to do next.

use std::io;
use std::path::PathBuf;

use crate::secret::ArenaError;

/// Why a local root could not be opened or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalRootError {
    /// The file is not there.
    #[error(
        "{} is not there. If this machine has sealed nothing yet, make it with: {command}; otherwise bring it back from its backup: without it, nothing opens",
        path.display()
    )]
    Missing {
        /// Which file.
        path: PathBuf,
        /// A shell command that makes one.
        command: String,
    },
    /// It is a symbolic link, which whoever owns its folder could point elsewhere.
    #[error("{} is a symbolic link: configure the path of the file itself", path.display())]
    Link {
        /// Which file.
        path: PathBuf,
    },
    /// It is a folder, a device or a pipe.
    #[error("{} is not a regular file: set root.local to the path of one", path.display())]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// Others may read or write it.
    #[error(
        "{path} has mode {mode:04o}, which lets others in: run chmod 600 {path}, and if others may have read it, rotate to a new root",
        path = path.display()
    )]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user, who can read and replace it.
    #[error(
        "{path} belongs to uid {owner}, but this process runs as uid {user}: run chown {user} {path}",
        path = path.display()
    )]
    ForeignOwner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who this process is.
        user: u32,
    },
    /// A key file is not 32 bytes long.
    #[error(
        "{} is {found} bytes long, but a root key is exactly 32 raw bytes: not hexadecimal, not base64, no newline at the end",
        path.display()
    )]
    KeyLength {
        /// Which file.
        path: PathBuf,
        /// How long it is.
        found: u64,
    },
    /// A passphrase is too short to withstand guessing, or too long to be one.
    #[error(
        "the passphrase in {} is {found} bytes long: 16 to 1024 are allowed, such as six random words",
        path.display()
    )]
    PassphraseLength {
        /// Which file.
        path: PathBuf,
        /// How long the passphrase is, without the newline at its end.
        found: u64,
    },
    /// A salt file is damaged, or its parameters are too weak or too expensive.
    #[error("{} is not a usable salt file: {problem}", path.display())]
    Salt {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Argon2id could not have the memory that the salt file says.
    #[error(
        "there are no {memory_kib} KiB of memory to derive the root key: raise the memory limit"
    )]
    DerivationMemory {
        /// How much it needs.
        memory_kib: u32,
    },
    /// There is a file of that name, which is never overwritten.
    #[error("{} is there already and is not overwritten", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// It could not be read or written.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no protected memory left for the root key.
    #[error(transparent)]
    Memory(#[from] ArenaError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}
