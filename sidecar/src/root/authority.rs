//! Signs with a key that stays in a root: the certificate of an audit log's key (`docs/audit-log.md`).
//!
//! Depends on [`super::RootError`] and on two verifiers, `ed25519-dalek` and `aws-lc-rs`. No signature leaves a root
//! unverified: [`AuthoritySignature::verified`] checks it against the public key that came with it, so an answer that
//! does not fit is an error here and not a log that nobody can check later. One conformance suite
//! (`root/conformance.rs`) runs over every authority. Tests: `what_does_not_verify_is_no_signature`,
//! `an_answer_that_does_not_verify_is_refused`.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use ed25519_dalek::{Signature, VerifyingKey};

use super::RootError;
use crate::names::RootName;

/// What stands before the 65 bytes of an uncompressed P-256 point in its SubjectPublicKeyInfo (RFC 5480).
const P256_SPKI_HEAD: &[u8; 26] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410).
const ED25519_SPKI_HEAD: &[u8; 12] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
const P256_POINT_BYTES: usize = 65;
/// The longest DER of two integers of 32 bytes.
const P256_SIGNATURE_BYTES_MAX: usize = 72;

/// How an authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// Ed25519 (RFC 8032), over the message itself.
    Ed25519,
    /// ECDSA over P-256 with SHA-256 (FIPS 186-5).
    EcdsaP256Sha256,
}

/// A signature that was verified, and what verifies it.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthoritySignature {
    /// The authority's name, as [`AuthorityDescription::name`].
    pub name: String,
    /// How it signed.
    pub algorithm: SignatureAlgorithm,
    /// Ed25519: the 32 bytes of the key. ECDSA: SubjectPublicKeyInfo in DER, the point uncompressed.
    pub public_key: Vec<u8>,
    /// Ed25519: 64 bytes. ECDSA: ASN.1 DER.
    pub signature: Vec<u8>,
}

impl AuthoritySignature {
    /// These parts, if they are a signature of `message`; `None` if they are not.
    #[must_use]
    pub fn verified(
        name: &str,
        algorithm: SignatureAlgorithm,
        public_key: Vec<u8>,
        signature: Vec<u8>,
        message: &[u8],
    ) -> Option<Self> {
        let found = Self { name: name.to_owned(), algorithm, public_key, signature };
        found.verifies(message).then_some(found)
    }

    /// Whether this is a signature of `message` by its own public key.
    #[must_use]
    pub fn verifies(&self, message: &[u8]) -> bool {
        match self.algorithm {
            SignatureAlgorithm::Ed25519 => self.verifies_ed25519(message).is_some(),
            SignatureAlgorithm::EcdsaP256Sha256 => self.verifies_ecdsa(message).is_some(),
        }
    }

    fn verifies_ed25519(&self, message: &[u8]) -> Option<()> {
        let key = VerifyingKey::from_bytes(self.public_key.as_slice().try_into().ok()?).ok()?;
        let signature = Signature::from_slice(&self.signature).ok()?;
        key.verify_strict(message, &signature).ok()
    }

    fn verifies_ecdsa(&self, message: &[u8]) -> Option<()> {
        let point = p256_point(&self.public_key)?;
        if self.signature.len() > P256_SIGNATURE_BYTES_MAX {
            return None;
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
        key.verify(message, &self.signature).ok()
    }
}

/// The uncompressed point of a P-256 key in SubjectPublicKeyInfo, which is spelt in one way alone: the key's id in a
/// signed note is the hash of this spelling.
fn p256_point(spki: &[u8]) -> Option<&[u8]> {
    let point = spki.strip_prefix(P256_SPKI_HEAD)?;
    (point.len() == P256_POINT_BYTES && point.first() == Some(&4)).then_some(point)
}

/// The algorithm and the key, as [`AuthoritySignature`] has them, of a SubjectPublicKeyInfo in DER; `None` if it is of
/// another kind of key.
pub(super) fn key_of_spki(spki: &[u8]) -> Option<(SignatureAlgorithm, Vec<u8>)> {
    if p256_point(spki).is_some() {
        return Some((SignatureAlgorithm::EcdsaP256Sha256, spki.to_vec()));
    }
    let key = spki.strip_prefix(ED25519_SPKI_HEAD).filter(|key| key.len() == 32)?;
    Some((SignatureAlgorithm::Ed25519, key.to_vec()))
}

impl fmt::Debug for AuthoritySignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AuthoritySignature({}, {:?})", self.name, self.algorithm)
    }
}

/// What an authority says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityDescription {
    /// The name of its key in signed notes: `keypod-root/` and the name of its root. Without spaces and without `+`.
    pub name: String,
    /// The root that holds its key.
    pub root: RootName,
    /// `local`, `aws_kms` or `vault`.
    pub kind: &'static str,
    /// Where its key is, in words for an operator.
    pub place: String,
}

impl AuthorityDescription {
    /// Of the authority of `root`.
    pub(super) fn of(root: &RootName, kind: &'static str, place: String) -> Self {
        Self { name: format!("keypod-root/{root}"), root: root.clone(), kind, place }
    }
}

/// A signing key that stays in a root.
#[async_trait]
pub trait Authority: Send + Sync + fmt::Debug {
    /// Signs `message`, of at most 4,096 bytes. What it gives has been verified.
    ///
    /// # Errors
    /// [`RootError`]: [`RootError::WrongSignature`] if what it was given does not verify.
    async fn sign(&self, message: &[u8]) -> Result<AuthoritySignature, RootError>;

    /// Whether this process can have it sign now. Asks it for the signature of a text that no log has
    /// ([`prove_authority`]), and looks at how its key is set up where it may.
    ///
    /// Returns what an operator should know although it works, a sentence each.
    ///
    /// # Errors
    /// [`RootError`]: why it cannot.
    async fn check(&self) -> Result<Vec<String>, RootError> {
        prove_authority(self).await.map(|()| Vec::new())
    }

    /// What it is.
    fn describe(&self) -> AuthorityDescription;
}

/// Has `authority` sign a text that names its purpose and is never the same twice: what every [`Authority::check`]
/// does at least. No certificate begins like it.
///
/// # Errors
/// [`RootError`].
pub(super) async fn prove_authority<A: Authority + ?Sized>(authority: &A) -> Result<(), RootError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| RootError::Random)?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let message = format!("keypod-authority-check/v1\n{hex}\n");
    let signed = authority.sign(message.as_bytes()).await?;
    match signed.verifies(message.as_bytes()) {
        true => Ok(()),
        false => Err(RootError::WrongSignature { root: authority.describe().root }),
    }
}

#[cfg(test)]
mod tests;
