//! What a set of policies looks at: so that the memo's key has that and no more.
//!
//! Most contexts name one record, so a key with all of a context in it would never be met twice. What cannot be told
//! for certain counts as looked at: `a_remembered_decision_is_the_one_that_cedar_makes` holds that.

use std::collections::BTreeSet;

use cedar_policy::{Policy, PolicyToJsonError};
use serde_json::Value;

/// The parts of a request's circumstances that some policy looks at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Looks {
    /// The wall clock.
    pub(super) now: bool,
    /// The names of the request's own context.
    pub(super) names: BTreeSet<String>,
    /// The whole of it.
    pub(super) all: bool,
}

impl Looks {
    /// Adds what `policy` looks at.
    pub(super) fn add(&mut self, policy: &Policy) -> Result<(), Box<PolicyToJsonError>> {
        self.walk(&policy.to_json()?);
        Ok(())
    }

    /// This and `other`.
    pub(super) fn join(&mut self, other: Self) {
        self.now |= other.now;
        self.all |= other.all;
        self.names.extend(other.names);
    }

    fn walk(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                if is_context(value) {
                    // The whole of the circumstances, in a way that was not met further up.
                    (self.all, self.now) = (true, true);
                    return;
                }
                for (operator, operands) in fields {
                    match (operator.as_str(), attributes(operands)) {
                        ("." | "has", Some(attributes)) => {
                            self.meet(&operands["left"], &attributes)
                        }
                        _ => self.walk(operands),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.walk(value)),
            _ => {}
        }
    }

    /// An attribute of something, or one of that and so on.
    fn meet(&mut self, left: &Value, attributes: &[&str]) {
        match attributes {
            ["now", ..] if is_context(left) => self.now = true,
            ["request", name, ..] if is_context(left) => self.name(name),
            // The whole of the request's context, in a way that was not met further up.
            ["request"] if is_context(left) => self.all = true,
            _ if is_context(left) => {}
            [name, ..] if is_request(left) => self.name(name),
            _ => self.walk(left),
        }
    }

    fn name(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }
}

/// The attributes that an operator names: one, or for `has` the steps of a path.
fn attributes(operands: &Value) -> Option<Vec<&str>> {
    operands.get("left")?;
    match operands.get("attr")? {
        Value::String(attribute) => Some(vec![attribute]),
        Value::Array(path) => path.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn is_context(value: &Value) -> bool {
    value.get("Var").and_then(Value::as_str) == Some("context")
}

fn is_request(value: &Value) -> bool {
    value.get(".").is_some_and(|operands| {
        attributes(operands).as_deref() == Some(&["request"]) && is_context(&operands["left"])
    })
}

/// Every text that stands in a policy as a value.
pub(super) fn texts(policy: &Value, found: &mut BTreeSet<String>) {
    match policy {
        Value::Object(fields) => fields.iter().for_each(|(operator, operand)| match operand {
            Value::String(text) if operator == "Value" => {
                found.insert(text.clone());
            }
            _ => texts(operand, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(condition: &str) -> Looks {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let mut looks = Looks::default();
        looks.add(&Policy::parse(None, text).unwrap()).unwrap();
        looks
    }

    #[test]
    fn names_and_the_clock_are_found_wherever_they_stand() {
        for (condition, names, now) in [
            ("true", &[][..], false),
            ("context.mfa && resource.name == \"a\"", &[], false),
            ("context.request has tenant", &["tenant"], false),
            (
                "context has request.purpose && context.request.purpose like \"a*\"",
                &["purpose"],
                false,
            ),
            (
                "if context.mfa then [context.request.a] == [\"b\"] else !(context.request[\"c.d\"] == \"e\")",
                &["a", "c.d"],
                false,
            ),
            ("context.now.toTime() < duration(\"8h\")", &[], true),
            ("{a: context.request.b}.a == \"c\"", &["b"], false),
        ] {
            let found = looks(condition);
            assert_eq!(
                found.names.iter().map(String::as_str).collect::<Vec<_>>(),
                names,
                "{condition}"
            );
            assert_eq!((found.now, found.all), (now, false), "{condition}");
        }
    }

    #[test]
    fn what_cannot_be_told_counts_as_all() {
        assert!(looks("context.request == {}").all);
        assert!(looks("{a: context.request}.a has b").all);
        let whole = looks("{a: context}.a.request has b");
        assert!(whole.all && whole.now);
        assert!(looks("(if true then context else context).mfa").all);
    }
}
