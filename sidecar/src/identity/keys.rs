//! The public keys of one issuer (a JWKS, RFC 7517), and the check of a signature with them.
//!
//! One key has one algorithm: its own `alg`, or without one the first of the configuration's list that its kind can
//! do. A token's header must name that very algorithm; it never chooses one (RFC 8725, 3.1). Symmetric keys, keys with
//! a private part and those of another use are passed over (test `only_public_signature_keys_of_a_listed_algorithm_are_taken`).

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::error::{FetchError, Refusal};
use super::json;
use super::token::Token;

/// The longest JWKS.
pub(super) const JWKS_BYTES_MAX: usize = 256 << 10;
/// Keys in one.
const KEYS_MAX: usize = 64;

/// Every algorithm that can be listed, as RFC 7518 and RFC 8037 spell it. None is symmetric.
pub const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("ES256", Algorithm::ES256),
    ("PS256", Algorithm::PS256),
    ("EdDSA", Algorithm::EdDSA),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("ES384", Algorithm::ES384),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
];

/// The keys of an issuer at one moment.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// SHA-256 of what they were read from.
    fingerprint: [u8; 32],
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    public: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({:?}, {:?})", self.id, self.algorithm)
    }
}

impl KeySet {
    /// No key at all.
    pub(super) fn empty() -> Self {
        Self { keys: Vec::new(), fingerprint: [0; 32] }
    }

    /// The keys of a JWKS that can check a signature of one of `algorithms`. The others are passed over; a document
    /// that is no JWKS is refused whole.
    pub(super) fn parse(bytes: &[u8], algorithms: &[Algorithm]) -> Result<Self, FetchError> {
        let wanted = "JWKS of at most 64 keys";
        let document = json::object(bytes).ok_or(FetchError::Content { wanted })?;
        let listed = match document.get("keys") {
            Some(Value::Array(listed)) if listed.len() <= KEYS_MAX => listed,
            _ => return Err(FetchError::Content { wanted }),
        };
        let keys: Vec<_> = listed.iter().filter_map(|key| Key::parse(key, algorithms)).collect();
        if keys.len() < listed.len() {
            let passed_over = listed.len() - keys.len();
            tracing::debug!(passed_over, "keys of a JWKS that cannot check a token's signature");
        }
        let fingerprint = Sha256::digest(Value::Array(listed.clone()).to_string()).into();
        Ok(Self { keys, fingerprint })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Whether one of these keys signed `token`.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), Refusal> {
        let kid = token.header.kid.as_deref();
        let is_meant = |key: &&Key| match kid {
            Some(kid) => key.id.as_deref() == Some(kid),
            // Who names no key has one.
            None => self.keys.len() == 1,
        };
        let mut refusal = if kid.is_some() { Refusal::UnknownKey } else { Refusal::Header };
        for key in self.keys.iter().filter(is_meant) {
            match key.verify(token) {
                Ok(()) => return Ok(()),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

impl Key {
    fn parse(value: &Value, algorithms: &[Algorithm]) -> Option<Self> {
        // Symmetric, or no longer a secret.
        if value.get("k").is_some() || value.get("d").is_some() {
            return None;
        }
        let key = <Jwk as serde::Deserialize>::deserialize(value).ok()?;
        let common = &key.common;
        let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
        let operations = common.key_operations.as_ref();
        if !signs || !operations.is_none_or(|listed| listed.contains(&KeyOperations::Verify)) {
            return None;
        }
        let can_do = |algorithm: &&Algorithm| can_do(&key.algorithm, **algorithm);
        let algorithm = match common.key_algorithm {
            Some(own) => {
                let own = Algorithm::try_from(own).ok()?;
                algorithms.iter().filter(can_do).find(|listed| **listed == own)?
            }
            None => algorithms.iter().find(can_do)?,
        };
        let public = DecodingKey::from_jwk(&key).ok()?;
        Some(Self { id: common.key_id.clone(), algorithm: *algorithm, public })
    }

    fn verify(&self, token: &Token<'_>) -> Result<(), Refusal> {
        if name(self.algorithm) != Some(token.header.alg.as_str()) {
            return Err(Refusal::Algorithm);
        }
        let Token { signed, signature, .. } = token;
        match jsonwebtoken::crypto::verify(signature, signed, &self.public, self.algorithm) {
            Ok(true) => Ok(()),
            _ => Err(Refusal::Signature),
        }
    }
}

/// Whether a key of this kind can do that.
fn can_do(kind: &AlgorithmParameters, algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match kind {
        AlgorithmParameters::RSA(_) => {
            matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
        }
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => algorithm == ES256,
            EllipticCurve::P384 => algorithm == ES384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(key) => {
            key.curve == EllipticCurve::Ed25519 && algorithm == EdDSA
        }
        _ => false,
    }
}

fn name(algorithm: Algorithm) -> Option<&'static str> {
    ALGORITHMS.iter().find(|(_, listed)| *listed == algorithm).map(|(name, _)| *name)
}
