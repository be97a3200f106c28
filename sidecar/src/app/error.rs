//! Why a sidecar does not start. Each cause says what to do.

use crate::audit::LogError;
use crate::http::{CallersError, ListenError};
use crate::identity::IdentityError;
use crate::keyring::KeyringError;
use crate::names::{KeyName, RootName};
use crate::policy::Problem;
use crate::root::RootError;
use crate::root::aws_kms::AwsKmsRootError;
use crate::root::local::LocalRootError;
use crate::root::vault::VaultRootError;
use crate::secret::ArenaError;
use crate::sinks::SinkError;
use crate::store::copy::CopyError;
use crate::store::{KeyStore, StoreError};
use crate::telemetry::TelemetryError;
use crate::witness::client::{AskError, ClientError};

/// Why the sidecar did not start. Each cause says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Logs or metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Protected memory.
    #[error(transparent)]
    Memory(#[from] ArenaError),
    /// The audit log.
    #[error("the audit log cannot be opened")]
    Audit(#[from] LogError),
    /// The folder has the logs of another.
    #[error(
        "audit.origin is {said}, and the logs in audit.folder are those of {before}: name another folder, or set audit.origin to {before}"
    )]
    AuditOrigin {
        /// Whose logs are there.
        before: String,
        /// Whose there are to be.
        said: String,
    },
    /// A witness of the audit log cannot be asked.
    #[error("a witness of [[audit.witnesses]] cannot be asked")]
    WitnessSettings(#[from] ClientError),
    /// A witness knows more of the audit log than there is on this disk.
    #[error(
        "the witness {witness} knows more of the audit log than there is on this disk: see docs/witness.md before anything is deleted"
    )]
    Witness {
        /// Its name.
        witness: String,
        /// What it knows.
        #[source]
        source: AskError,
    },
    /// The key of its hashes.
    #[error("the key keypod.audit, of the audit log's hashes, cannot be had")]
    AuditHashKey {
        /// Why.
        #[source]
        source: KeyringError,
    },
    /// A sink of the audit log.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The local root.
    #[error(transparent)]
    LocalRoot(#[from] LocalRootError),
    /// A root in AWS KMS.
    #[error("the root {root} cannot be opened")]
    AwsKms {
        /// Its name.
        root: RootName,
        /// What is wrong with its settings.
        #[source]
        source: AwsKmsRootError,
    },
    /// A root in Vault or OpenBao.
    #[error("the root {root} cannot be opened")]
    Vault {
        /// Its name.
        root: RootName,
        /// What is wrong with its settings or files.
        #[source]
        source: Box<VaultRootError>,
    },
    /// A copy between stores.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A store was to be copied into itself.
    #[error(
        "both configurations name the same store: name the one to read with --from, and the other with --to"
    )]
    SameStore,
    /// There is no such root in the configuration.
    #[error("there is no root {name}; there are {known}: name one of them, or add it to [root]")]
    NoSuchRoot {
        /// Which.
        name: RootName,
        /// Those that there are.
        known: String,
    },
    /// No root can be used, and the store holds nothing yet.
    #[error("no root can be used")]
    Root(#[source] RootError),
    /// A root is away or refuses, and so the store's keys do not open.
    #[error("the keys of the store {place} do not open now")]
    RootAway {
        /// Which store.
        place: String,
        /// Why.
        #[source]
        source: KeyringError,
    },
    /// The key store.
    #[error("the key store {place} cannot be opened")]
    Store {
        /// Which.
        place: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The policies.
    #[error(
        "the policies are not valid, see `keypod policy check`:{}",
        problems.iter().map(|problem| format!("\n  {problem}")).collect::<String>()
    )]
    Policies {
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
    /// The callers' credentials.
    #[error(transparent)]
    Callers(#[from] CallersError),
    /// The issuers of signed tokens.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The root does not open what the store holds.
    #[error(
        "no root opens a key of the store {place}: put back the roots ([root]) and the root.domain that this store was made with, or set another store"
    )]
    OtherRoot {
        /// Which store.
        place: String,
        /// Why.
        #[source]
        source: KeyringError,
    },
    /// A key that should be warm.
    #[error("the key {name} of cache.preload cannot be had: make it, or take it out of the list")]
    Preload {
        /// Which.
        name: KeyName,
        /// Why.
        #[source]
        source: KeyringError,
    },
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl StartError {
    /// A root was named that there is not.
    pub(super) fn no_such_root(name: &RootName, known: impl Iterator<Item = RootName>) -> Self {
        let mut known: Vec<_> = known.map(|name| name.to_string()).collect();
        known.sort();
        known.dedup();
        Self::NoSuchRoot { name: name.clone(), known: known.join(", ") }
    }

    /// What it means for a start that the keys of `store` did not open.
    pub(super) fn of_probe(error: KeyringError, store: &dyn KeyStore) -> Self {
        let place = store.place();
        match error.says_another_root() {
            true => Self::OtherRoot { place, source: error },
            false => Self::RootAway { place, source: error },
        }
    }

    /// Whether an operator must change the configuration or a grant before another start can succeed.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Telemetry(_)
            | Self::Memory(_)
            | Self::LocalRoot(_)
            | Self::AwsKms { .. }
            | Self::Vault { .. }
            | Self::Callers(_)
            | Self::Identity(_)
            | Self::Sink(_)
            | Self::Policies { .. }
            | Self::NoSuchRoot { .. }
            | Self::SameStore
            | Self::Listen(ListenError::NotLoopback { .. } | ListenError::NoGroup { .. }) => true,
            Self::Root(error) => !error.may_pass(),
            _ => false,
        }
    }
}
