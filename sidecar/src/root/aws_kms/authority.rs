//! Signs with an asymmetric key in KMS: `GetPublicKey` says of which kind it is, `Sign` signs.
//!
//! A message goes there whole (`MessageType` `RAW`), and for a P-256 key one that is longer than KMS takes as its SHA-256
//! (`DIGEST`). Both calls name the configured key; if an alias was pointed elsewhere between them, the signature does
//! not verify. Tests: `a_p256_key_in_aws_kms_conforms_as_an_authority`, `an_ed25519_key_signs_the_message_itself`,
//! `a_long_message_goes_there_as_its_digest`, `two_answers_of_two_keys_are_no_signature`.

use std::fmt;

use async_trait::async_trait;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyUsageType, MessageType, SigningAlgorithmSpec};
use sha2::{Digest, Sha256};

use super::RootError;
use super::access::Access;
use crate::root::authority::{
    Authority, AuthorityDescription, AuthoritySignature, SignatureAlgorithm, key_of_spki,
    prove_authority,
};

/// What KMS takes of a message at most.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The authority of an [`super::AwsKmsRoot`].
pub struct AwsKmsAuthority {
    access: Access,
    description: AuthorityDescription,
}

impl AwsKmsAuthority {
    pub(super) fn new(access: Access) -> Self {
        let place = access.place.to_string();
        let description = AuthorityDescription::of(&access.name, "aws_kms", place);
        Self { access, description }
    }

    async fn public_key(&self) -> Result<(SignatureAlgorithm, Vec<u8>), RootError> {
        let Access { client, place, .. } = &self.access;
        let call = client.get_public_key().key_id(place.key());
        let answer = Box::pin(call.send()).await.map_err(|error| self.access.refused(&error))?;
        let GetPublicKeyOutput { public_key, key_spec, key_usage, .. } = answer;
        let spki = public_key.map(Blob::into_inner).unwrap_or_default();
        if spki.is_empty() {
            return Err(self.access.no_answer_of_kms());
        }
        let signs = key_usage.as_ref().is_none_or(|usage| *usage == KeyUsageType::SignVerify);
        let key = key_of_spki(&spki).filter(|_| signs);
        key.ok_or_else(|| self.access.unusable(key_spec.as_ref(), key_usage.as_ref()))
    }

    fn wrong(&self) -> RootError {
        RootError::WrongSignature { root: self.access.name.clone() }
    }
}

/// Whether a key is one that signs as authorities do, as far as its description says.
pub(super) fn signs(key: &KeyMetadata) -> bool {
    let spec = |spec: &KeySpec| matches!(spec, KeySpec::EccNistP256 | KeySpec::EccNistEdwards25519);
    key.key_spec().is_none_or(spec)
        && key.key_usage().is_none_or(|usage| *usage == KeyUsageType::SignVerify)
}

#[async_trait]
impl Authority for AwsKmsAuthority {
    async fn sign(&self, message: &[u8]) -> Result<AuthoritySignature, RootError> {
        let (algorithm, public_key) = self.public_key().await?;
        let spec = match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => SigningAlgorithmSpec::EcdsaSha256,
            SignatureAlgorithm::Ed25519 => SigningAlgorithmSpec::Ed25519Sha512,
        };
        let hashed = spec == SigningAlgorithmSpec::EcdsaSha256 && message.len() > MESSAGE_BYTES_MAX;
        let (kind, body) = match hashed {
            true => (MessageType::Digest, Sha256::digest(message).to_vec()),
            false => (MessageType::Raw, message.to_vec()),
        };
        let Access { client, place, .. } = &self.access;
        let call = client.sign().key_id(place.key()).message(Blob::new(body));
        let call = call.message_type(kind).signing_algorithm(spec);
        let answer = Box::pin(call.send()).await.map_err(|error| self.access.refused(&error))?;
        let signature = answer.signature.map(Blob::into_inner).unwrap_or_default();
        let name = &self.description.name;
        AuthoritySignature::verified(name, algorithm, public_key, signature, message)
            .ok_or_else(|| self.wrong())
    }

    async fn check(&self) -> Result<Vec<String>, RootError> {
        prove_authority(self).await?;
        self.access.look_at_the_key().await
    }

    fn describe(&self) -> AuthorityDescription {
        self.description.clone()
    }
}

impl fmt::Debug for AwsKmsAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AwsKmsAuthority({}, {})", self.description.name, self.access.place)
    }
}
