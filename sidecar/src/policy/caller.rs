//! Who is calling, as authenticated: a name, how it was proven, the roles that came with the proof.

use std::sync::Arc;

use super::Transport;
use crate::names::{CallerName, RoleName};

/// How a caller proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    /// By the token in a file.
    Token,
    /// By being a user of this machine, on the Unix socket.
    Peer,
    /// By a Kubernetes service account token.
    ServiceAccount,
    /// By an OIDC token: a person.
    Person,
}

impl CallerKind {
    /// As policies name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Peer => "peer",
            Self::ServiceAccount => "service_account",
            Self::Person => "person",
        }
    }
}

/// One caller, whichever way each of their requests comes.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    name: CallerName,
    kind: CallerKind,
    roles: Vec<RoleName>,
}

impl Identity {
    /// The caller of this name, with the roles that the proof itself gives; those of the policies' entities come
    /// on top when policy decides.
    #[must_use]
    pub fn new(name: CallerName, kind: CallerKind, mut roles: Vec<RoleName>) -> Self {
        roles.sort();
        roles.dedup();
        Self { name, kind, roles }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &CallerName {
        &self.name
    }

    /// How they proved it.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.kind
    }

    /// The roles that the proof gives, in order, each once.
    #[must_use]
    pub fn roles(&self) -> &[RoleName] {
        &self.roles
    }
}

/// Who made one request. Only `http::caller` makes one for a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub identity: Arc<Identity>,
    /// Which way they came.
    pub transport: Transport,
    /// Whether they proved a second factor (RFC 8176).
    pub mfa: bool,
}

impl Caller {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &CallerName {
        self.identity.name()
    }
}
