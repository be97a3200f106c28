//! A signed token (RFC 7519) taken apart: its header, its claims, and what is signed. Nothing of it is believed yet.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::Refusal;
use super::json;
use crate::secret::URL_SAFE_NO_PAD;

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// The longest `kid`.
const KID_BYTES_MAX: usize = 256;

/// What a token claims.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) header: Header,
    pub(super) claims: Claims,
    /// Header and claims as they were signed.
    pub(super) signed: &'a [u8],
    /// In base64url.
    pub(super) signature: &'a str,
}

/// The part of the header that is looked at. `jku`, `jwk`, `x5u` and `x5c` are not: a token does not say where its key is.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    typ: Option<String>,
}

/// The claims that every token needs, and the others as they are.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: OneOrMany,
    /// In whole seconds: fractions are refused.
    pub(super) exp: u64,
    pub(super) iat: u64,
    pub(super) nbf: Option<u64>,
    #[serde(flatten)]
    pub(super) others: Map<String, Value>,
}

/// A text or a list of texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Whether `text` could be a signed token at all: three parts with two dots between.
pub(super) fn has_shape(text: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.iter().all(plain)
        && text.split(|byte| *byte == b'.').filter(|part| !part.is_empty()).count() == 3
        && text.iter().filter(|byte| **byte == b'.').count() == 2
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Long);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Form)?;
        if claims.contains('.') {
            return Err(Refusal::Form);
        }
        let header = object(header, Refusal::Header)?;
        if header.contains_key("crit") {
            return Err(Refusal::Critical);
        }
        let header: Header = typed(header, Refusal::Header)?;
        header.check()?;
        let claims = typed(object(claims, Refusal::Claims)?, Refusal::Claims)?;
        Ok(Self { header, claims, signed: signed.as_bytes(), signature })
    }
}

impl Header {
    fn check(&self) -> Result<(), Refusal> {
        let is_taken = |typ: &String| {
            let typ = typ.to_ascii_lowercase();
            matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
        };
        if !self.typ.as_ref().is_none_or(is_taken) {
            return Err(Refusal::Type);
        }
        match &self.kid {
            Some(kid) if kid.len() > KID_BYTES_MAX => Err(Refusal::UnknownKey),
            _ => Ok(()),
        }
    }
}

fn object(part: &str, refusal: Refusal) -> Result<Map<String, Value>, Refusal> {
    use base64::Engine as _;
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Form)?;
    json::object(&bytes).ok_or(refusal)
}

fn typed<T: DeserializeOwned>(object: Map<String, Value>, refusal: Refusal) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(object)).map_err(|_| refusal)
}
