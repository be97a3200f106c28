//! The texts that a set of policies is made of, and what can be wrong with them, with file, line and column.

use std::fmt;

use miette::Diagnostic;
use serde::Serialize;

use super::{Action, KeyPattern};
use crate::names::CallerName;

/// Bytes of one file of policies.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Files of one set.
pub const DOCUMENTS_MAX: usize = 256;
/// Policies of one set.
pub(super) const POLICIES_MAX: usize = 2_000;

/// Bytes of one policy: its parts are as deep as that lets them be, and the parser's stack is for that.
const STATEMENT_BYTES_MAX: usize = 16 << 10;
/// Brackets in brackets.
const NESTING_MAX: usize = 64;

/// One file: its name decides what it is (`*.cedar`, `entities.toml`, `context.cedarschema`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The name, for messages and for the ids of policies that have none.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// What one caller of the configuration may do: the short form for who needs no policy files.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The caller.
    pub caller: CallerName,
    /// The actions.
    pub actions: Vec<Action>,
    /// The keys.
    pub keys: Vec<KeyPattern>,
}

/// What is wrong with a set of policies, or what an operator should know about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The column in characters, from 1, where it is known.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right, where Cedar says so.
    pub help: Option<String>,
}

impl Problem {
    /// Something about `file`, at no place in it that is known.
    pub fn new(file: &str, message: impl Into<String>) -> Self {
        let file = file.to_owned();
        Self { file, line: None, column: None, message: message.into(), help: None }
    }

    /// The same, at this byte of `text`.
    pub(super) fn at(mut self, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.line = Some(before.matches('\n').count() + 1);
        self.column = before.get(line_start..).map(|line| line.chars().count() + 1);
        self
    }

    /// What is wrong with `text` as TOML.
    pub(super) fn of_toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let problem = Self::new(file, error.message());
        match error.span() {
            Some(span) => problem.at(text, span.start),
            None => problem,
        }
    }

    /// What a diagnostic says about `text`: its message, and where its first label points.
    pub(super) fn of(file: &str, text: &str, diagnostic: &dyn Diagnostic) -> Self {
        let mut problem = Self::new(file, diagnostic.to_string());
        problem.help = diagnostic.help().map(|help| help.to_string());
        match diagnostic.labels().and_then(|mut labels| labels.next()) {
            Some(label) => problem.at(text, label.offset()),
            None => problem,
        }
    }
}

/// Refuses a text that could exhaust the parser's stack: one long policy, or brackets in brackets without an end.
pub(super) fn check_depth(file: &str, text: &str) -> Result<(), Problem> {
    let (mut depth, mut begin, mut is_string, mut is_comment) = (0_usize, 0, false, false);
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\n' => is_comment = false,
            _ if is_comment => {}
            b'\\' if is_string => drop(bytes.next()),
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'/' if text.as_bytes().get(at + 1) == Some(&b'/') => is_comment = true,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b';' => begin = at,
            _ => {}
        }
        if depth > NESTING_MAX {
            let message = format!("more than {NESTING_MAX} brackets in each other");
            return Err(Problem::new(file, message).at(text, at));
        }
        if at - begin > STATEMENT_BYTES_MAX {
            let message = format!("a policy of more than {STATEMENT_BYTES_MAX} bytes: split it");
            return Err(Problem::new(file, message).at(text, begin));
        }
    }
    Ok(())
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(formatter, ":{line}:{column}")?;
        }
        write!(formatter, ": {}", self.message)?;
        match &self.help {
            Some(help) => write!(formatter, " ({help})"),
            None => Ok(()),
        }
    }
}

/// `keys.second_person` of the configuration as a policy says it, to be read with the files.
#[must_use]
pub fn second_person() -> Document {
    let text = "@id(\"keys.second_person\")
@reason(\"The configuration has every destruction wait for another person (keys.second_person).\")
forbid (principal, action == Action::\"destroy\", resource) unless { context.approved };
";
    Document { name: "keys.second_person".to_owned(), text: text.to_owned() }
}

impl Grant {
    /// The same as Cedar says it. Its parts have no character that Cedar would read as anything else.
    pub(super) fn to_cedar(&self, index: usize) -> String {
        let caller = &self.caller;
        let list = |of_keys: bool| {
            let actions = self.actions.iter().filter(|action| action.is_about_a_key() == of_keys);
            let actions: Vec<_> =
                actions.map(|action| format!("Action::\"{}\"", action.as_str())).collect();
            actions.join(", ")
        };
        let head = |part: &str, actions: &str| {
            format!(
                "@id(\"callers.{index}.{part}\")\npermit (principal == Caller::\"{caller}\", action in [{actions}], resource)"
            )
        };
        let mut text = String::new();
        let (of_keys, of_server) = (list(true), list(false));
        if !of_keys.is_empty() && !self.keys.is_empty() {
            let keys: Vec<_> =
                self.keys.iter().map(|key| format!("resource.name like \"{key}\"")).collect();
            text += &format!("{}\nwhen {{ {} }};\n", head("keys", &of_keys), keys.join(" || "));
        }
        if !of_server.is_empty() {
            text += &format!("{};\n", head("server", &of_server));
        }
        text
    }
}
