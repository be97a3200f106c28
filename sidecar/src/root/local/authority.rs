//! Signs with an Ed25519 key whose seed is derived from the root key: whoever has that has this too.
//!
//! The seed is `HKDF-Expand(root key, "keypod/v1/audit/authority", 32)` (RFC 5869, SHA-256) and lives in the arena; the
//! expanded key lives on the stack for one signature. The root key encrypts with AES-GCM-SIV and derives with
//! HMAC-SHA-256, which share nothing. Test: `the_authority_of_a_root_key_stays_as_it_is`.

use std::convert::Infallible;

use async_trait::async_trait;
use ed25519_dalek::{Signer, SigningKey};
use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{RootError, STACK_BYTES};
use crate::names::RootName;
use crate::root::authority::{
    Authority, AuthorityDescription, AuthoritySignature, SignatureAlgorithm,
};
use crate::secret::{
    Arena, ArenaError, FillError, KEY_BYTES, RootKey, SigningSeed, wiping_the_stack,
};

const LABEL: &[u8] = b"keypod/v1/audit/authority";
/// Bytes of SHA-256's block. HMAC pads a shorter key with zeros to one block, so a padded key is the same key.
const BLOCK_BYTES: usize = 64;

/// The authority of a [`super::LocalRoot`].
#[derive(Debug)]
pub struct LocalAuthority {
    description: AuthorityDescription,
    seed: SigningSeed,
}

impl LocalAuthority {
    pub(super) fn derive(
        key: &RootKey,
        root: &RootName,
        place: &str,
        arena: &Arena,
    ) -> Result<Self, ArenaError> {
        let filled = SigningSeed::fill(arena, |seed| {
            wiping_the_stack::<STACK_BYTES, _>(|| expand(key.expose_bytes(), seed));
            Ok::<(), Infallible>(())
        });
        let seed = match filled {
            Ok(seed) => seed,
            Err(FillError::Arena(error)) => return Err(error),
            Err(FillError::Fill(never)) => match never {},
        };
        let description = AuthorityDescription::of(root, "local", place.to_owned());
        Ok(Self { description, seed })
    }
}

/// The first 32 bytes of HKDF-Expand (RFC 5869, section 2.3): `T(1)`.
fn expand(prk: &[u8; KEY_BYTES], okm: &mut [u8; KEY_BYTES]) {
    let mut padded = Zeroizing::new([0; BLOCK_BYTES]);
    padded.iter_mut().zip(prk).for_each(|(byte, of_key)| *byte = *of_key);
    let mut hmac = Hmac::<Sha256>::new((&*padded).into());
    hmac.update(LABEL);
    hmac.update(&[1]);
    hmac.finalize_into(okm.into());
}

#[async_trait]
impl Authority for LocalAuthority {
    async fn sign(&self, message: &[u8]) -> Result<AuthoritySignature, RootError> {
        let (public_key, signature) = wiping_the_stack::<STACK_BYTES, _>(|| {
            let key = SigningKey::from_bytes(self.seed.expose_bytes());
            (key.verifying_key().to_bytes().to_vec(), key.sign(message).to_bytes().to_vec())
        });
        let AuthorityDescription { name, root, .. } = &self.description;
        let algorithm = SignatureAlgorithm::Ed25519;
        AuthoritySignature::verified(name, algorithm, public_key, signature, message)
            .ok_or_else(|| RootError::WrongSignature { root: root.clone() })
    }

    fn describe(&self) -> AuthorityDescription {
        self.description.clone()
    }
}
