//! Names, parsed once and valid ever after: keys, key ids, versions, callers, roots.
//!
//! Depends on nothing. A value of these types never needs a second check: there is no way to make one but its
//! parser. Their errors repeat nothing of the input.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a name was refused. The refused text is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not `[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?`.
    #[error("a key name is 1 to 64 of a-z 0-9 . _ - and begins and ends with a letter or digit")]
    Key,
    /// Not 16 lower-case hexadecimal digits.
    #[error("a key id is 16 lower-case hexadecimal digits")]
    KeyId,
    /// Not a number from 1 to 4,294,967,295.
    #[error("a key version is a number from 1 to 4294967295")]
    Version,
    /// Not 1 to 512 of these.
    #[error("a caller's name is 1 to 512 of A-Z a-z 0-9 . _ - : / @ | + = ~")]
    Caller,
    /// Not 1 to 128 of these.
    #[error("a root's name is 1 to 128 of A-Z a-z 0-9 . _ - : / @")]
    Root,
    /// Not 1 to 256 bytes without control characters.
    #[error("a role is 1 to 256 bytes without control characters")]
    Role,
}

/// A name that is text: cheap to clone, and shown as it is. Each has a parser of its own.
macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

text_name!(
    /// The name of a key: `[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?` (API.md). Cloning is cheap.
    KeyName
);

/// What names of keys begin with that only Keypod itself makes and uses.
const RESERVED: &str = "keypod.";

impl KeyName {
    /// `keypod.audit`: the key of the hashes in the audit log (docs/audit-log.md).
    #[must_use]
    pub fn audit() -> Self {
        Self("keypod.audit".into())
    }

    /// Whether it begins with `keypod.`: such a key is made by Keypod, and seals and opens nothing.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED)
    }
}

impl FromStr for KeyName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let well_formed = bytes.len() <= 64
            && bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|byte| edge(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if well_formed { Ok(Self(text.into())) } else { Err(NameError::Key) }
    }
}

/// The random id of a key: 8 bytes, drawn when the key is made; stands in every ciphertext's header. Shown as
/// 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The id with these 8 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The 8 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(digits) {
            return Err(NameError::KeyId);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| NameError::KeyId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// The number of a key's version: from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyVersion(std::num::NonZeroU32);

impl KeyVersion {
    /// The first version of every key.
    pub const FIRST: Self = Self(std::num::NonZeroU32::MIN);

    /// The version with this number.
    ///
    /// # Errors
    /// [`NameError::Version`] for zero.
    pub fn new(number: u32) -> Result<Self, NameError> {
        std::num::NonZeroU32::new(number).map(Self).ok_or(NameError::Version)
    }

    /// The number: at least 1.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// The version after this one, or `None` after 4,294,967,295.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl FromStr for KeyVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let number = if canonical { text.parse().ok() } else { None };
        number.map(Self).ok_or(NameError::Version)
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One version of one key, as a ciphertext's header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyRef {
    /// The key.
    pub id: KeyId,
    /// Its version.
    pub version: KeyVersion,
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $most:literal, $error:ident, $($byte:literal)|+) => {
        text_name!($(#[$doc])* $name);

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let plain = |byte: u8| {
                    byte.is_ascii_alphanumeric() || matches!(byte, $($byte)|+)
                };
                if (1..=$most).contains(&text.len()) && text.bytes().all(plain) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError::$error)
                }
            }
        }
    };
}

label!(
    /// The name of a caller: 1 to 512 of `A-Z a-z 0-9 . _ - : / @ | + = ~`. What the configuration gives has no
    /// colon; what an issuer gives has (`system:serviceaccount:NS:NAME`, `PROVIDER:SUBJECT`), so the two cannot meet.
    CallerName, 512, Caller, b'.' | b'_' | b'-' | b':' | b'/' | b'@' | b'|' | b'+' | b'=' | b'~'
);
label!(
    /// The name of a root, which says where a wrapped version can be unwrapped (`local`, later an ARN): 1 to
    /// 128 of `A-Z a-z 0-9 . _ - : / @`.
    RootName, 128, Root, b'.' | b'_' | b'-' | b':' | b'/' | b'@'
);

text_name!(
    /// The name of a role: 1 to 256 bytes of text without control characters, because groups of an identity provider
    /// have all sorts of names. Cloning is cheap.
    RoleName
);

impl FromStr for RoleName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if (1..=256).contains(&text.len()) && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Role)
        }
    }
}

impl RootName {
    /// `local`: the embedded root.
    #[must_use]
    pub fn local() -> Self {
        Self("local".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_follow_the_grammar_of_the_api() {
        let longest = "a".repeat(64);
        for good in ["a", "0", "a-b", "patients.v2_x", longest.as_str()] {
            assert_eq!(good.parse::<KeyName>().unwrap().as_str(), good);
        }
        let too_long = "a".repeat(65);
        for bad in ["", "-a", "a-", ".a", "A", "a b", "a/b", "ä", "a\n", too_long.as_str()] {
            assert_eq!(bad.parse::<KeyName>(), Err(NameError::Key), "{bad:?}");
        }
    }

    #[test]
    fn names_that_begin_with_keypod_and_a_dot_are_reserved() {
        for reserved in ["keypod.audit", "keypod.a", "keypod.a.b"] {
            assert!(reserved.parse::<KeyName>().unwrap().is_reserved(), "{reserved}");
        }
        for free in ["keypod", "keypod-audit", "keypodx.audit", "a.keypod.audit", "keypod_audit"] {
            assert!(!free.parse::<KeyName>().unwrap().is_reserved(), "{free}");
        }
        assert_eq!("keypod.audit".parse(), Ok(KeyName::audit()));
    }

    #[test]
    fn key_ids_read_back_what_they_write() {
        let id = KeyId::from_bytes([0, 1, 0xab, 3, 4, 5, 6, 0xff]);
        assert_eq!(id.to_string(), "0001ab03040506ff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "0001AB03040506ff", "+001ab03040506ff", "0001ab03040506ff0"] {
            assert_eq!(bad.parse::<KeyId>(), Err(NameError::KeyId), "{bad:?}");
        }
    }

    #[test]
    fn versions_start_at_one_and_have_one_spelling() {
        assert_eq!("1".parse(), Ok(KeyVersion::FIRST));
        assert_eq!("4294967295".parse::<KeyVersion>().unwrap().next(), None);
        for bad in ["", "0", "01", "+1", "-1", "4294967296"] {
            assert_eq!(bad.parse::<KeyVersion>(), Err(NameError::Version), "{bad:?}");
        }
    }
}
