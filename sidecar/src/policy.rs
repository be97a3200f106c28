//! Decides who may do what: pure, without I/O, default deny.
//!
//! Depends on [`crate::names`] and [`crate::envelope::Context`]. [`decide`] is the only maker of a [`Permit`],
//! and the keyring gives no key without one, so to skip the check is a compile error:
//!
//! ```compile_fail
//! // A permit cannot be made by hand: its fields are private and `decide` is the only constructor.
//! let permit = keypod::policy::Permit { action: keypod::policy::Action::Encrypt };
//! ```
//!
//! A permit lends the context that policy saw, and the key that it gives comes with that:
//!
//! ```compile_fail
//! // Neither takes another context: there is no way to seal under one that policy has not permitted.
//! fn seal_elsewhere(
//!     permit: &mut keypod::policy::Permit<'static>,
//!     other: &'static keypod::envelope::Context,
//! ) {
//!     permit.context = Some(other);
//! }
//! ```
//!
//! The rules are Cedar policies: files of the operator, packs that are built in, and what the configuration says in
//! short (the grants of `[[callers]]`, `keys.second_person`), which is translated. A set is validated whole before it decides anything.

mod caller;
mod cases;
mod entities;
mod explain;
pub mod folder;
mod looks;
mod memo;
mod packs;
mod question;
mod set;
mod source;

pub use caller::{Caller, CallerKind, Identity};
pub use cases::{CaseFile, Outcome};
pub use entities::ENTITIES_FILE;
pub use explain::{Deciding, Explanation, explain};
pub use packs::{PACKS, names as pack_names, pack};
pub use question::{Answer, NoQuestion, Question};
pub use set::{CONTEXT_FILE, FromFiles, Policies};
pub use source::{DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, Document, Grant, Problem, second_person};

use std::fmt;
use std::sync::Arc;

use crate::clock::UnixSeconds;
use crate::envelope::Context;
use crate::names::{CallerName, KeyName};

/// What a caller can ask for (ACCESS.md).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Seal a plaintext.
    Encrypt,
    /// Open a ciphertext and see the plaintext.
    Decrypt,
    /// Move a ciphertext to the newest version without seeing the plaintext.
    Rewrap,
    /// Make a key.
    CreateKey,
    /// See a key's versions and states.
    ReadKey,
    /// Make a new version.
    Rotate,
    /// Enable, restrict or disable a version.
    SetState,
    /// Destroy a version, cancel or approve that.
    Destroy,
    /// See the status of the sidecar.
    ReadStatus,
    /// Begin an emergency of one's own.
    BreakGlass,
    /// Ask for the hash of a subject or a context, to search the audit log for it.
    AuditHash,
}

impl Action {
    /// Every action, in the order of ACCESS.md.
    pub const ALL: [Self; 11] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::Rewrap,
        Self::CreateKey,
        Self::ReadKey,
        Self::Rotate,
        Self::SetState,
        Self::Destroy,
        Self::ReadStatus,
        Self::BreakGlass,
        Self::AuditHash,
    ];

    /// The name as in the configuration, the log and the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Rewrap => "rewrap",
            Self::CreateKey => "create_key",
            Self::ReadKey => "read_key",
            Self::Rotate => "rotate",
            Self::SetState => "set_state",
            Self::Destroy => "destroy",
            Self::ReadStatus => "read_status",
            Self::BreakGlass => "break_glass",
            Self::AuditHash => "audit_hash",
        }
    }

    /// Whether it is about a key, and not about the sidecar itself.
    #[must_use]
    pub const fn is_about_a_key(self) -> bool {
        !matches!(self, Self::ReadStatus | Self::BreakGlass | Self::AuditHash)
    }
}

/// Which way the caller came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// The Unix socket.
    Unix,
    /// Loopback TCP.
    Tcp,
}

impl Transport {
    /// As policies name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
        }
    }
}

/// What an action is about.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// One key, which need not exist.
    Key(&'a KeyName),
    /// The sidecar itself.
    Server,
}

/// One question: may this caller do this to that, in this context, now?
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a, 'c> {
    /// Who asks.
    pub caller: &'a Caller,
    /// For what.
    pub action: Action,
    /// To what.
    pub resource: Resource<'a>,
    /// The request's own encryption context, where it has one.
    pub context: Option<&'c Context>,
    /// Whether another person has approved this very request, or would have to.
    pub approved: bool,
    /// Whether the caller has broken the glass and that has not ended.
    pub emergency: bool,
    /// The wall clock.
    pub now: UnixSeconds,
}

/// Proof that [`decide`] allowed this caller this action on this key in this context. Only `decide` makes one.
#[derive(Debug)]
pub struct Permit<'c> {
    caller: CallerName,
    action: Action,
    key: Option<KeyName>,
    context: Option<&'c Context>,
    approved: bool,
    emergency: bool,
    by: Arc<[Arc<str>]>,
    policy_set: Arc<str>,
}

impl<'c> Permit<'c> {
    /// Who may.
    #[must_use]
    pub fn caller(&self) -> &CallerName {
        &self.caller
    }

    /// Do what.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// To which key; `None` for the sidecar itself.
    #[must_use]
    pub fn key(&self) -> Option<&KeyName> {
        self.key.as_ref()
    }

    /// In which encryption context: the one that policy saw, and no other can be put in its place. `None` for what is
    /// not about a message.
    #[must_use]
    pub fn context(&self) -> Option<&'c Context> {
        self.context
    }

    /// Whether it holds only if another person approves: policy was asked as if one had.
    #[must_use]
    pub fn needs_approval(&self) -> bool {
        self.approved
    }

    /// Whether it was given in an emergency of the caller.
    #[must_use]
    pub fn in_emergency(&self) -> bool {
        self.emergency
    }

    /// The ids of the policies that permitted it.
    #[must_use]
    pub fn by(&self) -> &Arc<[Arc<str>]> {
        &self.by
    }

    /// The first 16 digits of the hash of the set that permitted it.
    #[must_use]
    pub fn policy_set(&self) -> &Arc<str> {
        &self.policy_set
    }
}

/// No policy permits it, or one forbids it. Who asked for what is in the log, not in the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy does not allow this caller to do this")]
pub struct Denied {
    by: Arc<[Arc<str>]>,
    policy_set: Arc<str>,
}

impl Denied {
    /// The ids of the policies that forbid it; none if only none permits it.
    #[must_use]
    pub fn by(&self) -> &Arc<[Arc<str>]> {
        &self.by
    }

    /// The first 16 digits of the hash of the set that denied it.
    #[must_use]
    pub fn policy_set(&self) -> &Arc<str> {
        &self.policy_set
    }
}

/// A pattern over key names: a name, or a prefix followed by one `*` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    prefix: String,
    open_ended: bool,
}

impl KeyPattern {
    /// Parses `NAME`, `PREFIX*` or `*`. The prefix has only characters that a key name can have.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, open_ended) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let probe = if open_ended { format!("{prefix}0") } else { prefix.to_owned() };
        probe.parse::<KeyName>().ok()?;
        Some(Self { prefix: prefix.to_owned(), open_ended })
    }

    fn matches(&self, name: &KeyName) -> bool {
        if self.open_ended {
            name.as_str().starts_with(&self.prefix)
        } else {
            name.as_str() == self.prefix
        }
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.prefix, if self.open_ended { "*" } else { "" })
    }
}

/// Answers `request`: a permit if a policy permits it and none forbids it, [`Denied`] otherwise.
///
/// # Errors
/// [`Denied`], with the policies that forbid it.
pub fn decide<'c>(
    policies: &Policies,
    request: &AccessRequest<'_, 'c>,
) -> Result<Permit<'c>, Denied> {
    let decision = policies.decide(request);
    let (by, policy_set) = (Arc::clone(&decision.by), Arc::clone(policies.short_hash()));
    if !decision.allowed {
        return Err(Denied { by, policy_set });
    }
    let key = match request.resource {
        Resource::Key(name) => Some(name.clone()),
        Resource::Server => None,
    };
    let caller = request.caller.name().clone();
    let AccessRequest { action, context, approved, emergency, .. } = *request;
    Ok(Permit { caller, action, key, context, approved, emergency, by, policy_set })
}

#[cfg(test)]
mod tests;
