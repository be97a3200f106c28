//! Test cases of policies, in files:
//!
//! ```toml
//! packs = ["baseline"]        # built-in packs that the cases are about, beside the set under test
//!
//! [[case]]
//! name = "who writes records does not read them"
//! caller = "intake"
//! roles = ["encrypters"]
//! action = "decrypt"
//! key = "patients"
//! key_groups = ["application"]
//! expect = "deny"             # or "allow"
//! by = []                     # the policies that decide; left out, any may
//! ```

use serde::{Deserialize, Serialize};

use super::source::{Document, Problem};
use super::{Policies, Question};

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// Built-in packs that the cases are about.
    #[serde(default)]
    pub packs: Vec<String>,
    /// The cases.
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    expect: Expected,
    by: Option<Vec<String>>,
    #[serde(flatten)]
    question: toml::Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

/// What became of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Why it failed; nothing if it did not.
    pub failure: Option<String>,
}

impl CaseFile {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// [`Problem`], with line and column. A file without a case is one.
    pub fn parse(document: &Document) -> Result<Self, Problem> {
        let (file, text) = (document.name.as_str(), document.text.as_str());
        let parsed: Self =
            toml::from_str(text).map_err(|error| Problem::of_toml(file, text, &error))?;
        match parsed.cases.is_empty() {
            true => Err(Problem::new(file, "there is no case in it")),
            false => Ok(parsed),
        }
    }

    /// Asks `policies` every case.
    #[must_use]
    pub fn run(&self, policies: &Policies) -> Vec<Outcome> {
        let outcome =
            |case: &Case| Outcome { name: case.name.clone(), failure: case.run(policies).err() };
        self.cases.iter().map(outcome).collect()
    }
}

impl Case {
    fn run(&self, policies: &Policies) -> Result<(), String> {
        let question: Question =
            self.question.clone().try_into().map_err(|error| error.to_string())?;
        let answer = question.ask(policies).map_err(|error| error.to_string())?;
        let by: Vec<_> = answer.by.iter().map(ToString::to_string).collect();
        let decided = if by.is_empty() { "no policy".to_owned() } else { by.join(", ") };
        match (self.expect, answer.allowed) {
            (Expected::Allow, false) => return Err(format!("denied, by {decided}")),
            (Expected::Deny, true) => return Err(format!("allowed, by {decided}")),
            _ => {}
        }
        let mut expected = match &self.by {
            None => return Ok(()),
            Some(expected) => expected.clone(),
        };
        expected.sort();
        if expected == by {
            return Ok(());
        }
        Err(format!("as expected, but by {decided} and not by {}", expected.join(", ")))
    }
}
