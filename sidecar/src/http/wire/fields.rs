//! Fields that are more than their JSON type: how they are read, written and described.

use std::fmt;

use base64::Engine as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{AdditionalProperties, Schema, SchemaType, Type};
use utoipa::openapi::{Object as ObjectSchema, ObjectBuilder, RefOr};
use zeroize::Zeroizing;

use crate::envelope::{Context, ContextError, NotOurs, decode_text, encode_text_into};
use crate::names::{KeyName, NameError};
use crate::secret::{Ciphertext, OpenBuffer, Plaintext, STANDARD, SealBuffer, WipedBytes};
use crate::store::VersionState;

/// A JSON string that may hold plaintext.
pub(in crate::http) enum SecretText<'a> {
    /// In the body, as it came.
    Borrowed(&'a str),
    /// Unescaped into memory of its own; wiped on drop.
    Owned(Zeroizing<String>),
}

impl SecretText<'_> {
    /// The text.
    pub(in crate::http) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }

    /// The bytes that this base64 stands for, ready to be sealed. `None` if it is none.
    pub(in crate::http) fn decode_base64(&self) -> Option<SealBuffer> {
        let text = self.as_str();
        let mut buffer = SealBuffer::with_len(base64::decoded_len_estimate(text.len()));
        let len = STANDARD.decode_slice(text, buffer.expose_plaintext_mut()).ok()?;
        buffer.truncate(len);
        Some(buffer)
    }

    /// The ciphertext whose text form this is.
    pub(in crate::http) fn decode_ciphertext(&self) -> Result<OpenBuffer, NotOurs> {
        decode_text(self.as_str())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for SecretText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = SecretText<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<SecretText<'de>, E> {
                Ok(SecretText::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<SecretText<'de>, E> {
                Ok(SecretText::Owned(Zeroizing::new(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// A plaintext, written as standard base64 with padding. For `http::json` alone, which writes bytes as the text
/// that they are.
pub(in crate::http) struct Base64Text<'a>(pub(in crate::http) &'a Plaintext);

impl Serialize for Base64Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = WipedBytes::zeroed(self.0.len().div_ceil(3) * 4);
        let written = STANDARD.encode_slice(self.0.expose_bytes(), &mut text);
        written.map_err(serde::ser::Error::custom)?;
        serializer.serialize_bytes(&text)
    }
}

/// A ciphertext, written in text form. For `http::json` alone, like [`Base64Text`].
pub(in crate::http) struct CiphertextText<'a>(pub(in crate::http) &'a Ciphertext);

impl Serialize for CiphertextText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::new();
        encode_text_into(self.0.as_bytes(), &mut text);
        serializer.serialize_bytes(&text)
    }
}

/// A `T` that is written as a JSON object: derived types take an array of their fields' values, too.
pub(in crate::http) struct Object<T>(pub(in crate::http) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(MapsOnly(deserializer)).map(Self)
    }
}

struct MapsOnly<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for MapsOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Items of a batch, each an object, at most [`ITEMS_CEILING`]: they take more room than they do as text, so they
/// are counted while they are read.
pub(in crate::http) struct Items<T>(pub(in crate::http) Vec<T>);

/// No configuration allows more items in a batch.
const ITEMS_CEILING: usize = 16_384;

const TOO_MANY_ITEMS: &str = "a batch has fewer items: split it";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ItemsVisitor<T> {
            type Value = Items<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Items<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(Object(item)) = items.next_element()? {
                    if all.len() == ITEMS_CEILING {
                        return Err(A::Error::custom(TOO_MANY_ITEMS));
                    }
                    all.push(item);
                }
                Ok(Items(all))
            }
        }

        deserializer.deserialize_seq(ItemsVisitor(std::marker::PhantomData))
    }
}

/// Whether `message` is one that a type of this crate makes, and so repeats nothing of the body.
pub(in crate::http) fn is_own_text(message: &str) -> bool {
    let context = [
        ContextError::TooManyPairs,
        ContextError::Name,
        ContextError::Value,
        ContextError::NameTwice,
        ContextError::NotAnObject,
        ContextError::NotAString,
    ];
    context.iter().any(|error| error.to_string() == message)
        || NameError::Key.to_string() == message
        || [TOO_MANY_ITEMS, NOT_A_STATE].contains(&message)
}

pub(super) fn key_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyName, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

/// A context that is there: `null` is refused like any other value that is no object.
pub(super) fn present_context<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Context>, D::Error> {
    Context::deserialize(deserializer).map(Some)
}

/// A secret text that is there: `null` is refused.
pub(super) fn present_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretText<'de>>, D::Error> {
    SecretText::deserialize(deserializer).map(Some)
}

/// A text that is there: `null` is refused.
pub(super) fn present_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// A whole number, `null` or nothing. `60.0` is whole, too: JSON has one kind of number.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let whole =
        |number: f64| (number.fract() == 0.0).then(|| format!("{number:.0}").parse().ok())?;
    let number = number.as_u64().or_else(|| number.as_f64().and_then(whole));
    number.map(Some).ok_or_else(|| D::Error::custom("not a whole number"))
}

const NOT_A_STATE: &str = "`state` is enabled, decrypt_only or disabled";

/// A state that a version can be set to, as a string: a derived enum would take an object, too.
pub(super) fn state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VersionState, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    match VersionState::from_text(&text) {
        Some(state) if state != VersionState::Destroyed => Ok(state),
        _ => Err(D::Error::custom(NOT_A_STATE)),
    }
}

pub(super) fn state_schema() -> ObjectSchema {
    text_schema("A state that a version can be set to.")
        .enum_values(Some(["enabled", "decrypt_only", "disabled"]))
        .build()
}

fn text_schema(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(description.to_owned()))
}

/// A key's name that is not reserved.
pub(in crate::http) const OWN_KEY_NAME: &str =
    r"^(?!keypod\.)[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$";

/// A key that seals, or is made: names that begin with `keypod.` are reserved.
pub(super) fn own_key_name_schema() -> ObjectSchema {
    text_schema("The name of a key; those that begin with `keypod.` are reserved.")
        .pattern(Some(OWN_KEY_NAME))
        .build()
}

pub(super) fn key_name_schema() -> ObjectSchema {
    text_schema("The name of a key.")
        .pattern(Some("^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))
        .build()
}

pub(super) fn base64_schema() -> ObjectSchema {
    // The bits that no byte takes are zero: one text for one plaintext.
    let pattern =
        "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?$";
    text_schema("Standard base64 with padding (RFC 4648 section 4).").pattern(Some(pattern)).build()
}

pub(super) fn ciphertext_schema() -> ObjectSchema {
    // At least the 87 bytes of an empty message; the bits that no byte takes are zero.
    let pattern =
        r"^kp1\.([A-Za-z0-9_-]{4}){29,}([A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]|[A-Za-z0-9_-][AQgw])?$";
    text_schema("A ciphertext in text form.").pattern(Some(pattern)).build()
}

/// A plaintext in a batch: what is no base64 fails by itself, so the shape of the body does not ask for it.
pub(super) fn item_base64_schema() -> ObjectSchema {
    text_schema("Standard base64 with padding (RFC 4648 section 4); anything else fails this item.")
        .build()
}

/// A ciphertext in a batch, likewise.
pub(super) fn item_ciphertext_schema() -> ObjectSchema {
    text_schema("A ciphertext in text form; anything else fails this item.").build()
}

/// A switch that this version knows and does not serve.
pub(super) fn only_false_schema() -> ObjectSchema {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Boolean))
        .description(Some("Not served yet: only `false` is taken.".to_owned()))
        .enum_values(Some([false]))
        .build()
}

pub(super) fn context_schema() -> ObjectSchema {
    let value = text_schema("At most 1,024 bytes of UTF-8.").max_length(Some(1024)).build();
    let name = text_schema("The name of a pair.").pattern(Some("^[a-z0-9_.-]{1,64}$")).build();
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Object))
        .description(Some("Pairs of strings that the ciphertext is bound to.".to_owned()))
        .property_names(Some(Schema::Object(name)))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(Schema::Object(value)))))
        .max_properties(Some(32))
        .build()
}
