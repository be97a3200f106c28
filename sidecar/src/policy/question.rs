//! A question to a set of policies as people write it: for cases and for explanations, not for requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{AccessRequest, Action, Caller, CallerKind, Identity, Policies, Resource, Transport};
use crate::clock::UnixSeconds;
use crate::envelope::Context;
use crate::names::{CallerName, KeyName, RoleName};

/// Who would ask for what, and in which circumstances.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The caller's name.
    pub caller: String,
    /// How they would have proved it.
    #[serde(default = "token")]
    pub kind: CallerKind,
    /// The roles that the proof gives, such as groups of an OIDC token.
    #[serde(default)]
    pub roles: Vec<String>,
    /// For what.
    pub action: Action,
    /// To which key; none for an action on the sidecar itself.
    #[serde(default)]
    pub key: Option<String>,
    /// Groups that the key is taken to be in, beside those of `entities.toml`.
    #[serde(default)]
    pub key_groups: Vec<String>,
    /// The request's own context.
    #[serde(default)]
    pub context: BTreeMap<String, String>,
    /// Whether a second factor was proved.
    #[serde(default)]
    pub mfa: bool,
    /// Whether another person has approved it.
    #[serde(default)]
    pub approved: bool,
    /// Whether the caller has broken the glass.
    #[serde(default)]
    pub emergency: bool,
    /// Which way.
    #[serde(default = "unix")]
    pub transport: Transport,
    /// RFC 3339; the beginning of 1970 where it does not matter.
    #[serde(default)]
    pub now: Option<String>,
}

fn token() -> CallerKind {
    CallerKind::Token
}

fn unix() -> Transport {
    Transport::Unix
}

/// What a set answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that decided.
    pub by: Vec<Arc<str>>,
}

/// A question that nobody can ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct NoQuestion {
    field: &'static str,
    problem: String,
}

/// A question whose parts are valid.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) caller: Caller,
    pub(super) action: Action,
    pub(super) key: Option<KeyName>,
    pub(super) key_groups: Vec<String>,
    pub(super) context: Context,
    pub(super) approved: bool,
    pub(super) emergency: bool,
    pub(super) now: UnixSeconds,
}

impl Question {
    /// What `policies` answer.
    ///
    /// # Errors
    /// [`NoQuestion`], naming the field.
    pub fn ask(&self, policies: &Policies) -> Result<Answer, NoQuestion> {
        Ok(self.parse()?.ask(policies))
    }

    pub(super) fn parse(&self) -> Result<Parsed, NoQuestion> {
        let wrong = |field, problem: &dyn std::fmt::Display| NoQuestion {
            field,
            problem: problem.to_string(),
        };
        let name: CallerName = self.caller.parse().map_err(|error| wrong("caller", &error))?;
        let roles: Result<Vec<RoleName>, _> = self.roles.iter().map(|role| role.parse()).collect();
        let roles = roles.map_err(|error| wrong("roles", &error))?;
        let key = self.key.as_ref().map(|key| key.parse::<KeyName>()).transpose();
        let key = key.map_err(|error| wrong("key", &error))?;
        if key.is_some() != self.action.is_about_a_key() {
            let problem =
                if key.is_some() { "is about no key" } else { "is about a key: name one" };
            return Err(wrong("key", &format!("{} {problem}", self.action.as_str())));
        }
        let context = Context::new(self.context.clone());
        let context = context.map_err(|error| wrong("context", &error))?;
        let now = match &self.now {
            None => UnixSeconds(0),
            Some(text) => UnixSeconds::parse(text)
                .ok_or_else(|| wrong("now", &"a time such as 2026-11-25T08:00:00Z"))?,
        };
        let identity = Identity::new(name, self.kind, roles).into();
        let caller = Caller { identity, transport: self.transport, mfa: self.mfa };
        let key_groups = self.key_groups.clone();
        let Self { action, approved, emergency, .. } = *self;
        Ok(Parsed { caller, action, key, key_groups, context, approved, emergency, now })
    }
}

impl Parsed {
    pub(super) fn ask(&self, policies: &Policies) -> Answer {
        let resource = self.key.as_ref().map_or(Resource::Server, Resource::Key);
        let (caller, context) = (&self.caller, Some(&self.context));
        let Self { action, approved, emergency, now, .. } = *self;
        let request = AccessRequest { caller, action, resource, context, approved, emergency, now };
        let decision = policies.ask(&request, &self.key_groups);
        Answer { allowed: decision.allowed, by: decision.by.to_vec() }
    }
}
