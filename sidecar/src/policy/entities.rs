//! Who is in which role, and which key in which group: `entities.toml`.
//!
//! ```toml
//! [roles.operators]
//! members = ["alice"]             # callers
//! roles = ["corp:keypod-admins"]  # whoever is in these is in this one too
//!
//! [key_groups.phi]
//! keys = ["patients", "notes-*"]  # names, or prefixes that end in one `*`
//! groups = ["genetics"]           # their keys are in this one too
//! ```
//!
//! Everything is resolved when it is loaded: a circle of roles or groups is an error, not an endless walk.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::KeyPattern;
use super::source::{Document, Problem};
use crate::names::{CallerName, KeyName, RoleName};

/// The file's name.
pub const ENTITIES_FILE: &str = "entities.toml";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    roles: BTreeMap<String, RawRole>,
    #[serde(default)]
    key_groups: BTreeMap<String, RawGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRole {
    #[serde(default)]
    members: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
}

/// Roles and key groups, resolved.
#[derive(Debug, Default)]
pub(super) struct Entities {
    /// The roles that a caller is in by name.
    by_caller: HashMap<CallerName, BTreeSet<RoleName>>,
    /// Every role that is above a role.
    above: HashMap<RoleName, BTreeSet<RoleName>>,
    /// Patterns, with every group that what they fit is in.
    keys: Vec<(KeyPattern, BTreeSet<String>)>,
    roles: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Entities {
    /// Parses and resolves `entities.toml`.
    pub(super) fn parse(document: &Document) -> Result<Self, Vec<Problem>> {
        let (file, text) = (document.name.as_str(), document.text.as_str());
        let raw: Raw =
            toml::from_str(text).map_err(|error| vec![Problem::of_toml(file, text, &error)])?;
        resolve(raw).map_err(|messages| {
            messages.into_iter().map(|message| Problem::new(file, message)).collect()
        })
    }

    /// Every role that the caller is in, by name, by proof, and through other roles.
    pub(super) fn roles_of(&self, name: &CallerName, proven: &[RoleName]) -> BTreeSet<RoleName> {
        let named = self.by_caller.get(name).into_iter().flatten();
        let mut roles = BTreeSet::new();
        for role in named.chain(proven) {
            roles.extend(self.above.get(role).into_iter().flatten().cloned());
            roles.insert(role.clone());
        }
        roles
    }

    /// Every group that the key is in.
    pub(super) fn groups_of(&self, key: &KeyName) -> BTreeSet<&str> {
        let fitting = self.keys.iter().filter(|(pattern, _)| pattern.matches(key));
        fitting.flat_map(|(_, groups)| groups.iter().map(String::as_str)).collect()
    }

    /// Whether the file knows this role.
    pub(super) fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    /// Whether the file knows this group.
    pub(super) fn has_group(&self, group: &str) -> bool {
        self.groups.contains(group)
    }
}

fn resolve(raw: Raw) -> Result<Entities, Vec<String>> {
    let mut entities = Entities::default();
    let mut wrong = Vec::new();
    // From a role to those that it is in.
    let (mut role_parents, mut group_parents) = (BTreeMap::new(), BTreeMap::new());
    for (name, role) in &raw.roles {
        role_parents.entry(name.as_str()).or_insert_with(BTreeSet::new);
        role.roles.iter().for_each(|child| insert(&mut role_parents, child, name));
    }
    for (name, group) in &raw.key_groups {
        group_parents.entry(name.as_str()).or_insert_with(BTreeSet::new);
        group.groups.iter().for_each(|child| insert(&mut group_parents, child, name));
        let unknown = group.groups.iter().filter(|child| !raw.key_groups.contains_key(*child));
        wrong.extend(unknown.map(|child| {
            format!("key_groups.{name}: there is no key group `{child}`: define it, or take it out")
        }));
    }
    let roles_above = closure("roles", &role_parents, &mut wrong);
    let groups_above = closure("key_groups", &group_parents, &mut wrong);
    for (role, above) in &roles_above {
        let parsed = (role.parse(), above.iter().map(|role| role.parse()).collect());
        let (Ok(name), Ok(above)) = parsed else {
            wrong.push(format!("roles: `{role}` or one above it is no role's name"));
            continue;
        };
        entities.above.insert(name, above);
        entities.roles.insert((*role).to_owned());
    }
    for (name, role) in &raw.roles {
        for member in &role.members {
            match (member.parse::<CallerName>(), name.parse::<RoleName>()) {
                (Ok(member), Ok(role)) => {
                    entities.by_caller.entry(member).or_default().insert(role);
                }
                (Err(error), _) | (_, Err(error)) => wrong.push(format!("roles.{name}: {error}")),
            }
        }
    }
    for (name, group) in &raw.key_groups {
        entities.groups.insert(name.clone());
        let mut groups: BTreeSet<String> = BTreeSet::from([name.clone()]);
        let above = groups_above.get(name.as_str()).into_iter().flatten();
        groups.extend(above.map(|group| (*group).to_owned()));
        for key in &group.keys {
            match KeyPattern::parse(key) {
                Some(pattern) => entities.keys.push((pattern, groups.clone())),
                None => wrong.push(format!(
                    "key_groups.{name}: keys are names, or prefixes that end in one `*`"
                )),
            }
        }
    }
    if wrong.is_empty() { Ok(entities) } else { Err(wrong) }
}

fn insert<'a>(parents: &mut BTreeMap<&'a str, BTreeSet<&'a str>>, child: &'a str, parent: &'a str) {
    parents.entry(child).or_default().insert(parent);
}

/// All that is above each name. A circle is told once for each that is in it.
fn closure<'a>(
    kind: &str,
    parents: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    wrong: &mut Vec<String>,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut all = BTreeMap::new();
    for name in parents.keys() {
        let (mut above, mut open) = (BTreeSet::new(), vec![*name]);
        while let Some(next) = open.pop() {
            let parents = parents.get(next).into_iter().flatten();
            open.extend(parents.copied().filter(|parent| above.insert(*parent)));
        }
        if above.contains(name) {
            wrong.push(format!("{kind}.{name} is in itself, through the others that it names"));
        }
        all.insert(*name, above);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Entities, Vec<Problem>> {
        Entities::parse(&Document { name: ENTITIES_FILE.to_owned(), text: text.to_owned() })
    }

    #[test]
    fn roles_and_groups_reach_through_others() {
        let entities = parse(
            "[roles.staff]\nroles = [\"operators\"]\n[roles.operators]\nmembers = [\"alice\"]\nroles = [\"corp:admins\"]\n\
             [key_groups.phi]\nkeys = [\"patients\"]\ngroups = [\"genes\"]\n[key_groups.genes]\nkeys = [\"dna-*\"]",
        )
        .unwrap();
        let roles = |name: &str, proven: &[&str]| {
            let proven: Vec<_> = proven.iter().map(|role| role.parse().unwrap()).collect();
            let roles = entities.roles_of(&name.parse().unwrap(), &proven);
            roles.iter().map(RoleName::to_string).collect::<Vec<_>>()
        };
        assert_eq!(roles("alice", &[]), ["operators", "staff"]);
        assert_eq!(roles("bob", &["corp:admins"]), ["corp:admins", "operators", "staff"]);
        assert_eq!(roles("bob", &["corp:users"]), ["corp:users"]);
        let groups = |key: &str| entities.groups_of(&key.parse().unwrap()).len();
        assert_eq!((groups("dna-7"), groups("patients"), groups("dna")), (2, 1, 0));
    }

    #[test]
    fn a_circle_is_an_error_and_not_an_endless_walk() {
        for circle in [
            "[roles.a]\nroles = [\"a\"]",
            "[roles.a]\nroles = [\"b\"]\n[roles.b]\nroles = [\"a\"]",
            "[key_groups.a]\ngroups = [\"b\"]\n[key_groups.b]\ngroups = [\"a\"]",
        ] {
            let problems = parse(circle).unwrap_err();
            assert!(problems.iter().all(|problem| problem.message.contains("in itself")));
        }
    }

    #[test]
    fn what_is_misspelt_is_said_with_its_line() {
        let problems = parse("[roles.a]\nmembers = []\nmembrs = []").unwrap_err();
        assert_eq!((problems[0].line, problems[0].column), (Some(3), Some(1)));
        for bad in [
            "[roles.a]\nmembers = [\"a b\"]",
            "[key_groups.a]\nkeys = [\"*a\"]",
            "[key_groups.a]\ngroups = [\"b\"]",
        ] {
            assert_eq!(parse(bad).unwrap_err().len(), 1, "{bad}");
        }
    }
}
