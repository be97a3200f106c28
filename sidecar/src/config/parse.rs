//! Turns a parse error into one sentence that names the setting and the nearest known one.

use figment::error::Kind;

use super::ConfigError;

/// Settings within this many edits of an unknown one are offered in its place.
const NEAR_EDITS_MAX: usize = 4;

/// The first problem in `error`, with `place` for where the text came from.
pub(super) fn explain(error: figment::Error, place: &str) -> ConfigError {
    let place = match &error.metadata {
        Some(metadata) if metadata.name == "the environment" => "the environment".to_owned(),
        _ => place.to_owned(),
    };
    let path = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(name, known) => {
            let parent = match error.path.split_last() {
                Some((last, parents)) if last == name => parents.join("."),
                _ => path,
            };
            let join = |name: &str| {
                if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
            };
            ConfigError::Unknown {
                setting: join(name),
                place,
                nearest: nearest(name, known).map(join),
            }
        }
        Kind::MissingField(name) => ConfigError::Invalid {
            setting: if path.is_empty() { name.to_string() } else { format!("{path}.{name}") },
            place,
            problem: "it is needed and not there".to_owned(),
        },
        Kind::InvalidType(_, expected) => ConfigError::Invalid {
            setting: path,
            place,
            problem: format!("its value is of the wrong kind: {expected} is expected"),
        },
        Kind::Message(message) if path.is_empty() => ConfigError::Invalid {
            setting: "(file)".to_owned(),
            place,
            problem: message.trim().replace('\n', " "),
        },
        other => ConfigError::Invalid { setting: path, place, problem: other.to_string() },
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
