//! A context out of JSON: an object of strings and nothing else.
//!
//! Never lets serde's own messages through for a value of the wrong type: they repeat it. For the same reason
//! it asks for "any" value: asked for a map or a string, serde_json writes such a message itself (test
//! `no_refusal_repeats_what_was_refused`).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{Context, ContextError, PAIRS_MAX, check_pair};

/// The types for which serde's message would show the value, refused without it.
macro_rules! refuse {
    ($error:expr, $($visit:ident($type:ty)),+) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Self::Value, E> {
            Err(E::custom($error))
        })+
    };
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Pairs)
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Context;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", ContextError::NotAnObject)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Context, A::Error> {
        // A map type would keep the last of two equal names and lose the first without a word.
        let mut pairs = Vec::new();
        while let Some((Text(name), Text(value))) = map.next_entry()? {
            if pairs.len() == PAIRS_MAX {
                return Err(A::Error::custom(ContextError::TooManyPairs));
            }
            check_pair(&name, &value).map_err(A::Error::custom)?;
            pairs.push((name, value));
        }
        Context::sorted(pairs).map_err(A::Error::custom)
    }

    refuse!(
        ContextError::NotAnObject,
        visit_bool(bool),
        visit_i64(i64),
        visit_i128(i128),
        visit_u64(u64),
        visit_u128(u128),
        visit_f64(f64),
        visit_str(&str)
    );
}

/// A string; anything else is refused without being shown.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", ContextError::NotAString)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
        Ok(Text(text))
    }

    refuse!(
        ContextError::NotAString,
        visit_bool(bool),
        visit_i64(i64),
        visit_i128(i128),
        visit_u64(u64),
        visit_u128(u128),
        visit_f64(f64)
    );
}
