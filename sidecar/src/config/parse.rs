//! Turns a parse error into one sentence that names the setting and the nearest known one.

use figment::error::Kind;

use super::ConfigError;

/// Settings within this many edits of an unknown one are offered in its place.
const NEAR_EDITS_MAX: usize = 4;

/// The first problem in `error`; `place_of` says where a setting came from.
pub(super) fn explain(error: figment::Error, place_of: impl Fn(&str) -> String) -> ConfigError {
    let path = error.path.join(".");
    let join = |parent: &str, name: &str| {
        if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
    };
    let invalid = |setting: String, problem: String| {
        let place = place_of(&setting);
        ConfigError::Invalid { setting, place, problem }
    };
    match &error.kind {
        Kind::UnknownField(name, known) => {
            let parent = match error.path.split_last() {
                Some((last, parents)) if last == name => parents.join("."),
                _ => path,
            };
            let setting = join(&parent, name);
            let place = place_of(&setting);
            let nearest = nearest(name, known).map(|name| join(&parent, name));
            ConfigError::Unknown { setting, place, nearest }
        }
        Kind::MissingField(name) => {
            invalid(join(&path, name), "it is needed and not there".to_owned())
        }
        Kind::InvalidType(_, expected) => {
            invalid(path, format!("its value is of the wrong kind: {expected} is expected"))
        }
        Kind::Message(message) if path.is_empty() => {
            invalid("(file)".to_owned(), message.trim().replace('\n', " "))
        }
        other => invalid(path, other.to_string()),
    }
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .filter(|(edits, _)| *edits <= NEAR_EDITS_MAX)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}
