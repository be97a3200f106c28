//! Who certifies a log: a key that stays in the root.
//!
//! An adapter of each root implements [`Authority`]; this module knows none of them.

use std::fmt::Debug;

use async_trait::async_trait;

/// A key in the root that signs certificates of logs.
#[async_trait]
pub trait Authority: Send + Sync + Debug {
    /// Signs `message`, all of it: an algorithm that signs a digest makes that itself.
    ///
    /// # Errors
    /// The root is away, or will not sign. The text is for an operator.
    async fn sign(&self, message: &[u8]) -> Result<AuthoritySignature, AuthorityError>;
}

/// A signature of an authority, and what is needed to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySignature {
    /// The name of the key in a signed note, such as `keypod-root/local`: no white space, no `+`.
    pub name: String,
    /// How it signs.
    pub algorithm: SignatureAlgorithm,
    /// 32 bytes for Ed25519, a SubjectPublicKeyInfo in DER for ECDSA.
    pub public_key: Vec<u8>,
    /// 64 bytes for Ed25519, ASN.1 DER for ECDSA.
    pub signature: Vec<u8>,
}

/// How an authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// Ed25519 over the message (RFC 8032).
    Ed25519,
    /// ECDSA over P-256, of the SHA-256 of the message.
    EcdsaP256Sha256,
}

/// An authority did not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthorityError(pub String);
