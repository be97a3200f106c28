//! Explains a decision: which policies made it, and for a denial what would have allowed it.
//!
//! What would have allowed it is not guessed: each change is asked of the set, and shown only if the answer is yes.

use std::collections::BTreeSet;

use serde::Serialize;

use super::question::{NoQuestion, Parsed};
use super::{Action, Policies, Question};

/// Changes are tried together as long as that asks the set no more often than this.
const ASKED_MAX: usize = 20_000;
/// So many ways are shown.
const WAYS_MAX: usize = 8;

/// Why a set answers as it does.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that decided; none where nothing permits it.
    pub by: Vec<Deciding>,
    /// For a denial: changes that would together have allowed it, the fewest first.
    pub would_allow: Vec<Vec<String>>,
}

/// A policy that decided.
#[derive(Clone, Debug, Serialize)]
pub struct Deciding {
    /// Its id.
    pub id: String,
    /// The reason that it gives for itself.
    pub reason: Option<String>,
}

#[derive(Clone, Debug)]
enum Change {
    Mfa,
    Approved,
    Emergency,
    Transport(super::Transport),
    Role(String),
    KeyGroup(String),
    Context(String, String),
    Without(String),
}

impl Change {
    fn apply(&self, question: &mut Question) {
        match self {
            Self::Mfa => question.mfa = true,
            Self::Approved => question.approved = true,
            Self::Emergency => question.emergency = true,
            Self::Transport(transport) => question.transport = *transport,
            Self::Role(role) => question.roles.push(role.clone()),
            Self::KeyGroup(group) => question.key_groups.push(group.clone()),
            Self::Context(name, value) => {
                question.context.insert(name.clone(), value.clone());
            }
            Self::Without(name) => {
                question.context.remove(name);
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Mfa => "a second factor".to_owned(),
            Self::Approved => "the approval of another person".to_owned(),
            Self::Emergency => "a broken glass (an emergency of this caller)".to_owned(),
            Self::Transport(transport) => format!("the way over {}", transport.as_str()),
            Self::Role(role) => format!("the role {role}"),
            Self::KeyGroup(group) => format!("a key of the group {group}"),
            Self::Context(name, value) => format!("{name}={value} in the context"),
            Self::Without(name) => format!("no {name} in the context"),
        }
    }
}

/// Explains what `policies` answer to `question`.
///
/// # Errors
/// [`NoQuestion`], naming the field.
pub fn explain(policies: &Policies, question: &Question) -> Result<Explanation, NoQuestion> {
    let answer = question.parse()?.ask(policies);
    let by = answer
        .by
        .iter()
        .map(|id| Deciding { id: id.to_string(), reason: policies.reason(id).map(str::to_owned) });
    let would_allow = if answer.allowed { Vec::new() } else { ways(policies, question) };
    Ok(Explanation { allowed: answer.allowed, by: by.collect(), would_allow })
}

/// The smallest sets of changes that lead to a yes.
fn ways(policies: &Policies, question: &Question) -> Vec<Vec<String>> {
    let changes = changes(policies, question);
    let mut found: Vec<Vec<usize>> = Vec::new();
    let mut open: Vec<Vec<usize>> = vec![Vec::new()];
    let mut asked = 0;
    while !open.is_empty() && found.is_empty() {
        let mut next = Vec::new();
        for set in &open {
            let first = set.last().map_or(0, |last| last + 1);
            for index in first..changes.len() {
                asked += 1;
                if asked > ASKED_MAX {
                    return describe(&found, &changes);
                }
                let set: Vec<usize> = set.iter().copied().chain([index]).collect();
                if allows(policies, question, &set, &changes) {
                    found.push(set);
                } else {
                    next.push(set);
                }
            }
        }
        open = next;
    }
    describe(&found, &changes)
}

fn allows(policies: &Policies, question: &Question, set: &[usize], changes: &[Change]) -> bool {
    let mut changed = question.clone();
    set.iter()
        .filter_map(|index| changes.get(*index))
        .for_each(|change| change.apply(&mut changed));
    let parsed: Option<Parsed> = changed.parse().ok();
    parsed.is_some_and(|parsed| parsed.ask(policies).allowed)
}

fn describe(found: &[Vec<usize>], changes: &[Change]) -> Vec<Vec<String>> {
    let describe = |set: &Vec<usize>| {
        set.iter().filter_map(|at| changes.get(*at)).map(Change::describe).collect()
    };
    found.iter().take(WAYS_MAX).map(describe).collect()
}

/// Everything that could be different and that some policy mentions.
fn changes(policies: &Policies, question: &Question) -> Vec<Change> {
    let mut changes = Vec::new();
    if !question.mfa {
        changes.push(Change::Mfa);
    }
    // Nothing else can wait for an approval.
    if !question.approved && question.action == Action::Destroy {
        changes.push(Change::Approved);
    }
    if !question.emergency {
        changes.push(Change::Emergency);
    }
    changes.push(Change::Transport(match question.transport {
        super::Transport::Unix => super::Transport::Tcp,
        super::Transport::Tcp => super::Transport::Unix,
    }));
    let mentions = policies.mentions();
    changes.extend(mentions.roles.into_iter().map(Change::Role));
    if question.key.is_some() {
        changes.extend(mentions.key_groups.into_iter().map(Change::KeyGroup));
    }
    for (name, values) in mentions.names {
        if question.context.contains_key(&name) {
            changes.push(Change::Without(name.clone()));
        }
        // A policy that only wants the name to be there takes any value.
        let values: BTreeSet<String> =
            if values.is_empty() { BTreeSet::from(["...".to_owned()]) } else { values };
        changes.extend(values.into_iter().map(|value| Change::Context(name.clone(), value)));
    }
    changes
}
