//! Reads an encryption context from arguments and files (API.md, "Every request").
//!
//! Depends on [`super::failure`]. The sidecar checks names and lengths; what is refused here is what it could
//! not see: a name given twice.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::failure::Failure;

/// Longest context file that is read: 32 pairs at their longest, with room for escapes.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// One `NAME=VALUE` of the command line.
#[derive(Clone, Debug)]
pub(super) struct Pair(String, String);

impl std::str::FromStr for Pair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self(name.to_owned(), value.to_owned())),
            _ => Err("a context pair is NAME=VALUE"),
        }
    }
}

/// An encryption context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// The context of these arguments; `None` if there are none.
    pub(super) fn read(pairs: &[Pair], file: Option<&PathBuf>) -> anyhow::Result<Option<Self>> {
        if pairs.is_empty() && file.is_none() {
            return Ok(None);
        }
        let mut context = BTreeMap::new();
        let from_file = file.map(|path| read_file(path)).transpose()?.unwrap_or_default();
        let given = pairs.iter().map(|Pair(name, value)| (name.clone(), value.clone()));
        for (name, value) in from_file.into_iter().chain(given) {
            if context.insert(name.clone(), value).is_some() {
                return Err(Failure::usage(format!("the context names `{name}` twice")));
            }
        }
        Ok(Some(Self(context)))
    }

    /// The context as a JSON object.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let pairs = self.0.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        serde_json::Value::Object(pairs.collect())
    }

    /// The context as the value of `Keypod-Context`.
    pub(super) fn to_header(&self) -> anyhow::Result<HeaderValue> {
        let mut header =
            HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(self.to_json().to_string()))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let read = || {
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_BYTES_MAX), &mut text)?;
        anyhow::Ok(text)
    };
    let text = read().with_context(|| format!("context file {}", path.display()))?;
    let Pairs(pairs) = serde_json::from_str(&text).map_err(|error| {
        let path = path.display();
        Failure::usage(format!("context file {path}: not a JSON object of strings: {error}"))
    })?;
    Ok(pairs)
}

/// The members of a JSON object in order. A map would take the last of two equal names and say nothing.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(texts: &[&str]) -> Vec<Pair> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn arguments_and_file_make_one_context() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"tenant": "clinic-7"}"#).unwrap();
        let path = file.path().to_owned();
        let context =
            EncryptionContext::read(&pairs(&["a=b=c", "e="]), Some(&path)).unwrap().unwrap();
        assert_eq!(context.to_json().to_string(), r#"{"a":"b=c","e":"","tenant":"clinic-7"}"#);
        let header = context.to_header().unwrap();
        let decoded = URL_SAFE_NO_PAD.decode(header.as_bytes()).unwrap();
        assert_eq!(decoded, context.to_json().to_string().as_bytes());
        assert_eq!(EncryptionContext::read(&[], None).unwrap(), None);
    }

    #[test]
    fn a_name_given_twice_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        assert!(EncryptionContext::read(&pairs(&["a=1", "a=1"]), None).is_err());
        std::fs::write(&path, r#"{"a": "1", "a": "2"}"#).unwrap();
        assert!(EncryptionContext::read(&[], Some(&path)).is_err());
        std::fs::write(&path, r#"{"a": "1"}"#).unwrap();
        assert!(EncryptionContext::read(&pairs(&["a=1"]), Some(&path)).is_err());
        for not_strings in ["[]", r#"{"a": 1}"#, r#"{"a": null}"#, "{} x"] {
            std::fs::write(&path, not_strings).unwrap();
            assert!(EncryptionContext::read(&[], Some(&path)).is_err(), "{not_strings}");
        }
        assert!("novalue".parse::<Pair>().is_err());
    }
}
