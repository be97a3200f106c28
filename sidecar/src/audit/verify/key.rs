//! Verification keys as signed-note writes them, and what each kind of them verifies.
//!
//! Depends on the crates `signed_note`, `ed25519-dalek` and `aws-lc-rs`. It has no private key and makes no signature.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use signed_note::{Verifier, VerifierList};

/// Longest name of a key, and longest origin.
pub(crate) const NAME_BYTES_MAX: usize = 1024;
/// More keys than this are no list that somebody keeps.
const KEYS_MAX: usize = 1000;

/// What SubjectPublicKeyInfo of a P-256 key begins with (RFC 5480): the algorithm, the curve, an uncompressed point.
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Why a line is no verification key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not of the form.
    #[error("a verification key is `NAME+ID+BASE64`, as C2SP signed-note writes it")]
    Malformed,
    /// The id is another key's.
    #[error("the id in the verification key is not that of its name and key")]
    WrongId,
    /// A kind that no log and no authority has.
    #[error("verification keys of type {0:#04x} are not known: 0x01, 0x02 or, of a witness, 0x04")]
    UnknownType(u8),
    /// Nothing but comments.
    #[error("there is no verification key in it")]
    None,
    /// More than a thousand.
    #[error("there are more than {KEYS_MAX} verification keys in it")]
    TooMany,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    /// Type 0x01.
    Ed25519(ed25519_dalek::VerifyingKey),
    /// Type 0x02: the point, uncompressed.
    EcdsaP256(Vec<u8>),
    /// Type 0x04: a witness's, over a checkpoint and the time.
    Cosigner(ed25519_dalek::VerifyingKey),
}

/// A verification key.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    id: u32,
    public: Public,
}

/// Name and id.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// Name and id.
impl fmt::Display for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}+{:08x}", self.name, self.id)
    }
}

impl VerifyingKey {
    /// Reads `NAME+ID+BASE64`.
    ///
    /// # Errors
    /// It is none, its id is wrong, or its type is not one of the three.
    pub fn parse(line: &str) -> Result<Self, KeyError> {
        let (name, rest) = line.split_once('+').ok_or(KeyError::Malformed)?;
        let (id, text) = rest.split_once('+').ok_or(KeyError::Malformed)?;
        let hex = id.len() == 8 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_name(name) || !hex || text.len() > 1024 {
            return Err(KeyError::Malformed);
        }
        let id = u32::from_str_radix(id, 16).map_err(|_| KeyError::Malformed)?;
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| KeyError::Malformed)?;
        let (&kind, key) = bytes.split_first().ok_or(KeyError::Malformed)?;
        let ed25519 = || {
            let key = <&[u8; 32]>::try_from(key).map_err(|_| KeyError::Malformed)?;
            ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| KeyError::Malformed)
        };
        let (public, wanted) = match kind {
            1 => (Public::Ed25519(ed25519()?), signed_note::key_id(name, &bytes)),
            2 => (Public::EcdsaP256(p256_point(key)?), id_of_der(key)),
            4 => (Public::Cosigner(ed25519()?), signed_note::key_id(name, &bytes)),
            other => return Err(KeyError::UnknownType(other)),
        };
        if id != wanted {
            return Err(KeyError::WrongId);
        }
        Ok(Self { name: name.to_owned(), id, public })
    }

    /// Reads a list: a key a line; empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// A line is no key, or there is none.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, KeyError> {
        let mut keys: Vec<Self> = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Self::parse(line)?;
            // A witness that is there under two names is one witness.
            if !keys.iter().any(|other| other.public == key.public) {
                keys.push(key);
            }
            if keys.len() > KEYS_MAX {
                return Err(KeyError::TooMany);
            }
        }
        if keys.is_empty() { Err(KeyError::None) } else { Ok(keys) }
    }

    /// Whether it is a witness's key for cosignatures.
    #[must_use]
    pub fn is_cosigner(&self) -> bool {
        matches!(self.public, Public::Cosigner(_))
    }

    /// Whether it is the key of a log: Ed25519, type 0x01.
    pub(crate) fn is_ed25519(&self) -> bool {
        matches!(self.public, Public::Ed25519(_))
    }

    /// Its name: of a log's key, the origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// These keys, for `signed_note`.
pub(crate) fn verifiers<'a>(keys: impl IntoIterator<Item = &'a VerifyingKey>) -> VerifierList {
    let boxed = |key: &VerifyingKey| Box::new(key.clone()) as Box<dyn Verifier>;
    VerifierList::new(keys.into_iter().map(boxed).collect())
}

impl Verifier for VerifyingKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Ed25519(key) => is_ed25519(key, text, signature),
            Public::EcdsaP256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                .verify(text, signature)
                .is_ok(),
            Public::Cosigner(key) => {
                let Some((time, signature)) = signature.split_first_chunk::<8>() else {
                    return false;
                };
                let time = u64::from_be_bytes(*time);
                let head = format!("cosignature/v1\ntime {time}\n");
                let cosigned = [head.as_bytes(), text].concat();
                i64::try_from(time).is_ok() && is_ed25519(key, &cosigned, signature)
            }
        }
    }
}

fn is_ed25519(key: &ed25519_dalek::VerifyingKey, text: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
    key.verify_strict(text, &signature).is_ok()
}

/// The point of a key on P-256, out of its SubjectPublicKeyInfo in DER.
fn p256_point(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let coordinates = der.strip_prefix(&P256_SPKI).ok_or(KeyError::Malformed)?;
    if coordinates.len() != 64 {
        return Err(KeyError::Malformed);
    }
    Ok([&[0x04], coordinates].concat())
}

fn id_of_der(der: &[u8]) -> u32 {
    let digest: [u8; 32] = Sha256::digest(der).into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

/// What a key or a log may be called: no space, no plus, nothing that a terminal would obey.
pub(crate) fn is_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn the_key_of_the_specifications_example_is_read() {
        let key = VerifyingKey::parse(NEUMANN).unwrap();
        assert_eq!(key.to_string(), "PeterNeumann+c74f20a3");
        let list = format!("# ours\n\n{NEUMANN}\n{NEUMANN}\n");
        assert_eq!(VerifyingKey::parse_list(&list).unwrap(), [key]);
        assert!(matches!(VerifyingKey::parse_list("# none\n"), Err(KeyError::None)));
    }

    #[test]
    fn what_is_no_key_is_not_taken_for_one() {
        for bad in [
            "",
            "a",
            "a+b",
            "a+c74f20a3+",
            "a b+c74f20a3+AQ==",
            "a+c74f20a3+AQ==",
            "+c74f20a3+AQ==",
        ] {
            assert!(matches!(VerifyingKey::parse(bad), Err(KeyError::Malformed)), "{bad}");
        }
        let other_name = NEUMANN.replace("Peter", "Paul");
        assert!(matches!(VerifyingKey::parse(&other_name), Err(KeyError::WrongId)));
        let other_id = NEUMANN.replace("c74f20a3", "c74f20a4");
        assert!(matches!(VerifyingKey::parse(&other_id), Err(KeyError::WrongId)));
        assert!(matches!(VerifyingKey::parse("a+00000000+BgA="), Err(KeyError::UnknownType(6))));
    }

    #[test]
    fn a_note_of_the_specification_is_verified_and_a_changed_one_is_not() {
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let known = verifiers(&[VerifyingKey::parse(NEUMANN).unwrap()]);
        let verify = |text: &str| {
            signed_note::Note::from_bytes(text.as_bytes()).unwrap().verify(&known).is_ok()
        };
        assert!(verify(text));
        assert!(!verify(&text.replace("don't", "do")));
    }
}
