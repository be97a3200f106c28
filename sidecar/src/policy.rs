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
//! Today the rules are those of the configuration's `[[callers]]`; a policy engine replaces the inside of this
//! file and nothing else.

mod caller;

pub use caller::{Caller, CallerKind, Identity};

use std::fmt;

use crate::clock::UnixSeconds;
use crate::envelope::Context;
use crate::names::{CallerName, KeyName};

/// What a caller can ask for (ACCESS.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
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
}

impl Action {
    /// Every action, in the order of ACCESS.md.
    pub const ALL: [Self; 9] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::Rewrap,
        Self::CreateKey,
        Self::ReadKey,
        Self::Rotate,
        Self::SetState,
        Self::Destroy,
        Self::ReadStatus,
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
        }
    }
}

/// Which way the caller came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The Unix socket.
    Unix,
    /// Loopback TCP.
    Tcp,
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
pub struct AccessRequest<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// For what.
    pub action: Action,
    /// To what.
    pub resource: Resource<'a>,
    /// The request's own encryption context, where it has one.
    pub context: Option<&'a Context>,
    /// The wall clock.
    pub now: UnixSeconds,
}

/// Proof that [`decide`] allowed this caller this action on this key. Only `decide` makes one.
#[derive(Debug)]
pub struct Permit {
    caller: CallerName,
    action: Action,
    key: Option<KeyName>,
}

impl Permit {
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
}

/// No rule allows it. Who asked for what is in the log, not in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rule allows this caller to do this")]
pub struct Denied;

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

/// What one caller may do.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The caller.
    pub caller: CallerName,
    /// The actions.
    pub actions: Vec<Action>,
    /// The keys.
    pub keys: Vec<KeyPattern>,
}

/// All rules. An empty set allows nothing.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// These rules; several for one caller add up.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }
}

/// Answers `request`: a permit if a rule allows it, [`Denied`] otherwise.
///
/// # Errors
/// [`Denied`] when no rule names this caller, action and key together.
pub fn decide(rules: &Rules, request: &AccessRequest<'_>) -> Result<Permit, Denied> {
    let allowed = rules.0.iter().any(|rule| {
        rule.caller == *request.caller.name()
            && rule.actions.contains(&request.action)
            && match request.resource {
                Resource::Key(name) => rule.keys.iter().any(|pattern| pattern.matches(name)),
                Resource::Server => true,
            }
    });
    if !allowed {
        return Err(Denied);
    }
    let key = match request.resource {
        Resource::Key(name) => Some(name.clone()),
        Resource::Server => None,
    };
    Ok(Permit { caller: request.caller.name().clone(), action: request.action, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(rules: &Rules, caller: &str, action: Action, key: &str) -> Result<Permit, Denied> {
        let identity = Identity::new(caller.parse().unwrap(), CallerKind::Token, Vec::new());
        let caller = Caller { identity: identity.into(), transport: Transport::Tcp, mfa: false };
        let key = key.parse().unwrap();
        decide(
            rules,
            &AccessRequest {
                caller: &caller,
                action,
                resource: Resource::Key(&key),
                context: None,
                now: UnixSeconds(0),
            },
        )
    }

    fn orders_may_encrypt() -> Rules {
        Rules::new(vec![Rule {
            caller: "orders".parse().unwrap(),
            actions: vec![Action::Encrypt],
            keys: vec![KeyPattern::parse("orders-*").unwrap(), KeyPattern::parse("cards").unwrap()],
        }])
    }

    #[test]
    fn nothing_is_allowed_without_a_rule() {
        for action in Action::ALL {
            assert_eq!(ask(&Rules::default(), "orders", action, "orders-1").err(), Some(Denied));
        }
    }

    #[test]
    fn a_rule_allows_its_caller_its_actions_on_its_keys_and_nothing_else() {
        let rules = orders_may_encrypt();
        let permit = ask(&rules, "orders", Action::Encrypt, "orders-eu").unwrap();
        assert_eq!(permit.key().unwrap().as_str(), "orders-eu");
        assert_eq!(permit.action(), Action::Encrypt);
        assert!(ask(&rules, "orders", Action::Encrypt, "cards").is_ok());
        assert!(ask(&rules, "orders", Action::Encrypt, "cards2").is_err());
        assert!(ask(&rules, "orders", Action::Decrypt, "orders-eu").is_err());
        assert!(ask(&rules, "orders2", Action::Encrypt, "orders-eu").is_err());
    }

    #[test]
    fn a_pattern_has_one_star_at_its_end_at_most() {
        for good in ["*", "a*", "orders-*", "cards"] {
            assert_eq!(KeyPattern::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "**", "*a", "a*b", "A*", "-*", "a b*"] {
            assert_eq!(KeyPattern::parse(bad), None, "{bad:?}");
        }
    }
}
