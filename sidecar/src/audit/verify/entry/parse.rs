//! The fields of an entry, one by one: what a derived parser would do, and without a copy of each text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{Entry, Item, Moved};

/// A text, borrowed where no escape stands in it.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText;
        impl<'de> Visitor<'de> for OfText {
            type Value = Text<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(OfText)
    }
}

/// Takes the value of a field that has not been there yet.
fn once<'de, M: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut M,
    field: &mut Option<T>,
) -> Result<(), M::Error> {
    if field.is_some() {
        return Err(M::Error::custom("a field is there twice"));
    }
    *field = Some(map.next_value()?);
    Ok(())
}

fn text<'de, M: MapAccess<'de>>(
    map: &mut M,
    field: &mut Option<Cow<'de, str>>,
) -> Result<(), M::Error> {
    let mut read = field.take().map(Text);
    once(map, &mut read)?;
    *field = read.map(|text| text.0);
    Ok(())
}

/// An entry, and its time as it is written.
#[derive(Default)]
pub(super) struct Read<'a> {
    pub(super) time: Cow<'a, str>,
    pub(super) entry: Entry<'a>,
}

/// Fields whose value is checked and not kept.
#[derive(Default)]
struct Checked<'a> {
    proof: Option<Cow<'a, str>>,
    transport: Option<Cow<'a, str>>,
    policy_set: Option<Cow<'a, str>>,
    mfa: Option<bool>,
    policies: Option<Vec<Text<'a>>>,
}

/// Fields that an entry keeps in another form than they are read in.
#[derive(Default)]
struct Kept<'a> {
    time: Option<Cow<'a, str>>,
    operation: Option<Cow<'a, str>>,
    emergency: Option<bool>,
    approved: Option<bool>,
    items: Option<Vec<Item<'a>>>,
}

impl<'de> Deserialize<'de> for Read<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfEntry)
    }
}

struct OfEntry;

impl<'de> Visitor<'de> for OfEntry {
    type Value = Read<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an entry")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut entry = Entry::default();
        let (mut kept, mut checked) = (Kept::default(), Checked::default());
        while let Some(Text(name)) = map.next_key()? {
            let map = &mut map;
            match &*name {
                "time" => text(map, &mut kept.time)?,
                "operation" => text(map, &mut kept.operation)?,
                "request" => text(map, &mut entry.request)?,
                "caller" => text(map, &mut entry.caller)?,
                "version" => once(map, &mut entry.version)?,
                "bytes" => once(map, &mut entry.bytes)?,
                "counts" => once(map, &mut entry.counts)?,
                "part" => once(map, &mut entry.part)?,
                "detail" => once(map, &mut entry.detail)?,
                "emergency" => once(map, &mut kept.emergency)?,
                "approved" => once(map, &mut kept.approved)?,
                "items" => once(map, &mut kept.items)?,
                "proof" => text(map, &mut checked.proof)?,
                "transport" => text(map, &mut checked.transport)?,
                "policy_set" => text(map, &mut checked.policy_set)?,
                "mfa" => once(map, &mut checked.mfa)?,
                "policies" => once(map, &mut checked.policies)?,
                _ if entry.whole.take(&name, map)? => {}
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    entry.unknown.get_or_insert_with(|| name.into_owned());
                }
            }
        }
        let required = || M::Error::custom("a required field is missing");
        entry.operation = kept.operation.ok_or_else(required)?;
        entry.outcome = entry.whole.outcome.take().ok_or_else(required)?;
        entry.emergency = kept.emergency.unwrap_or_default();
        entry.approved = kept.approved.unwrap_or_default();
        entry.items = kept.items.unwrap_or_default();
        Ok(Read { time: kept.time.ok_or_else(required)?, entry })
    }
}

impl<'de> Item<'de> {
    /// Takes the value of the field `name`; `false` if it is none of its own, and then the value is still to be read.
    fn take<M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<bool, M::Error> {
        match name {
            "outcome" => text(map, &mut self.outcome)?,
            "code" => text(map, &mut self.code)?,
            "key" => text(map, &mut self.key)?,
            "subject" => text(map, &mut self.subject)?,
            "context" => text(map, &mut self.context)?,
            "ciphertext" => text(map, &mut self.ciphertext)?,
            "new_subject" => text(map, &mut self.new_subject)?,
            "new_context" => text(map, &mut self.new_context)?,
            "from" => once(map, &mut self.from)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfItem)
    }
}

struct OfItem;

impl<'de> Visitor<'de> for OfItem {
    type Value = Item<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an item of a batch")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut item = Item::default();
        while let Some(Text(name)) = map.next_key()? {
            if !item.take(&name, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(item)
    }
}

impl<'de> Deserialize<'de> for Moved<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfMoved)
    }
}

struct OfMoved;

impl<'de> Visitor<'de> for OfMoved {
    type Value = Moved<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("what a rewrap moved")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut moved = Moved::default();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "version" => once(&mut map, &mut moved.version)?,
                "ciphertext" => text(&mut map, &mut moved.ciphertext)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(moved)
    }
}
