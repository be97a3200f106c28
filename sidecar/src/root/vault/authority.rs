//! Signs with a transit key: Vault says in the signature which version signed, and gives the public key of each.
//!
//! It signs first and reads the public key of that version after it, so that a rotation between is no error. Tests:
//! `an_authority_conforms_with_each_kind_of_key`, `after_a_rotation_the_new_public_key_is_given`.

use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use vaultrs::api::transit::requests::SignDataRequest;

use super::RootError;
use super::access::{Access, unanswered};
use super::failure::{Failure, KeyPlace};
use super::key::KeyProperties;
use crate::root::authority::{
    Authority, AuthorityDescription, AuthoritySignature, SignatureAlgorithm, key_of_spki,
    prove_authority,
};
use crate::secret::STANDARD;

/// The authority of a [`super::VaultRoot`].
pub struct VaultAuthority {
    access: Access,
    description: AuthorityDescription,
}

/// What Vault is asked to sign. Ed25519 takes no hash: it signs the input itself.
#[derive(Serialize)]
struct SignBody<'a> {
    input: &'a str,
    hash_algorithm: &'static str,
    marshaling_algorithm: &'static str,
}

impl VaultAuthority {
    pub(super) fn new(access: Access) -> Self {
        let place = access.place.clone();
        let description = AuthorityDescription::of(&access.name, "vault", place);
        Self { access, description }
    }

    /// The version that signed, and its signature.
    async fn signature(&self, message: &[u8]) -> Result<(String, Vec<u8>), Failure> {
        let KeyPlace { mount, key, .. } = self.access.key.clone();
        // The body is written by us: the endpoint says where it goes.
        let endpoint = SignDataRequest { mount, name: key, ..Default::default() };
        let body = SignBody {
            input: &STANDARD.encode(message),
            hash_algorithm: "sha2-256",
            marshaling_algorithm: "asn1",
        };
        let answer = self.access.ask(&endpoint, &body, &[]).await?;
        let said = answer.data.ok_or_else(unanswered)?.signature;
        let parts = said.strip_prefix("vault:v").and_then(|rest| rest.split_once(':'));
        let (version, signature) = parts.ok_or_else(unanswered)?;
        let signature = STANDARD.decode(signature).map_err(|_| unanswered())?;
        Ok((version.to_owned(), signature))
    }

    /// How the key is set up; it has to be readable, because the public key is there.
    async fn properties(&self) -> Result<KeyProperties, Failure> {
        self.access.read_key().await?.ok_or_else(|| {
            let reason = format!(
                "its public key may not be read: give its policy {}",
                self.access.key.policy()
            );
            Failure::Denied { reason }
        })
    }

    async fn signed(&self, message: &[u8]) -> Result<Option<AuthoritySignature>, Failure> {
        let (version, signature) = self.signature(message).await?;
        let properties = self.properties().await?;
        let public_key = properties.public_key(&version);
        let (algorithm, public_key) = match properties.kind() {
            "ed25519" => {
                let key = STANDARD.decode(public_key.ok_or_else(unanswered)?);
                (SignatureAlgorithm::Ed25519, key.map_err(|_| unanswered())?)
            }
            "ecdsa-p256" => {
                let pem = public_key.ok_or_else(unanswered)?;
                let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes());
                let spki = spki.map_err(|_| unanswered())?;
                key_of_spki(&spki).ok_or_else(unanswered)?
            }
            _ => {
                let reason = self.access.key.new_key(self.access.key.unfit());
                return Err(Failure::Unusable { reason });
            }
        };
        let name = &self.description.name;
        Ok(AuthoritySignature::verified(name, algorithm, public_key, signature, message))
    }
}

#[async_trait]
impl Authority for VaultAuthority {
    async fn sign(&self, message: &[u8]) -> Result<AuthoritySignature, RootError> {
        let root = &self.access.name;
        let signed = self.signed(message).await.map_err(|failure| failure.of(root))?;
        signed.ok_or_else(|| RootError::WrongSignature { root: root.clone() })
    }

    async fn check(&self) -> Result<Vec<String>, RootError> {
        let failed = |failure: Failure| failure.of(&self.access.name);
        prove_authority(self).await?;
        let properties = self.properties().await.map_err(failed)?;
        let mut notes = self.access.key.judge_properties(&properties).map_err(failed)?;
        notes.extend(self.access.look_at_token().await.map_err(failed)?);
        Ok(notes)
    }

    fn describe(&self) -> AuthorityDescription {
        self.description.clone()
    }
}

impl fmt::Debug for VaultAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VaultAuthority({}: {})", self.description.name, self.access.place)
    }
}
