//! The embedded root: AES-256-GCM-SIV (RFC 8452) under a key that this machine keeps, in a file or as a passphrase.
//!
//! Depends on its trait, [`crate::secret`] and [`crate::names`]. The root key and what it unwraps are written into
//! the arena in place; whoever can read the file has every key, which is why [`Root::describe`] says what this root
//! is for. A wrapped key is `0x01 ‖ nonce(12, random) ‖ ciphertext(32) ‖ tag(16)`, with the binding as associated
//! data. It never overwrites a file.

mod authority;
mod error;
mod file;
mod passphrase;
#[cfg(test)]
mod tests;

use std::path::Path;

use aes_gcm_siv::aead::inout::InOutBuf;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{Binding, Root, RootDescription, RootError, prove};
use crate::names::RootName;
use crate::secret::{
    Arena, ArenaError, FillError, KEY_BYTES, KeyVersionSecret, RootKey, WrappedKey,
    wiping_the_stack,
};

pub use authority::LocalAuthority;
pub use error::LocalRootError;

/// The first byte of a wrapped key: which layout follows.
const LAYOUT: u8 = 1;
const NONCE_BYTES: usize = 12;
/// More stack than one call of the cipher uses, in a build without optimisation too. Roots are called seldom.
const STACK_BYTES: usize = 64 * 1024;

/// A root key on this machine.
#[derive(Debug)]
pub struct LocalRoot {
    name: RootName,
    place: String,
    key: RootKey,
    fingerprint: String,
    arena: Arena,
}

impl LocalRoot {
    /// The root whose key is the 32 bytes of `path`.
    ///
    /// # Errors
    /// [`LocalRootError`], which says what is wrong with the file and what to do about it.
    pub fn from_key_file(path: &Path, arena: &Arena) -> Result<Self, LocalRootError> {
        let file = file::open_private(path, || make_key_file_command(path))?;
        if file.bytes != KEY_BYTES as u64 {
            return Err(LocalRootError::KeyLength { path: path.into(), found: file.bytes });
        }
        Self::with_key(arena, path, |key| file.read_into(key))
    }

    /// The root whose key Argon2id makes of the passphrase in `passphrase_file`, with the salt and the parameters of
    /// `salt_file`. Takes a good part of a second and the memory that `salt_file` says, 64 MiB by default.
    ///
    /// # Errors
    /// [`LocalRootError`], which says what is wrong with which file and what to do about it.
    pub fn from_passphrase(
        passphrase_file: &Path,
        salt_file: &Path,
        arena: &Arena,
    ) -> Result<Self, LocalRootError> {
        let salt = passphrase::Salt::read(salt_file)?;
        let passphrase = passphrase::read(passphrase_file)?;
        Self::with_key(arena, passphrase_file, |key| salt.derive(&passphrase, key))
    }

    /// Makes a file with a new random root key, readable for this user only. Never overwrites.
    ///
    /// # Errors
    /// [`LocalRootError::Exists`], [`LocalRootError::File`] or [`LocalRootError::Random`]; there is then no new file.
    pub fn create_key_file(path: &Path) -> Result<(), LocalRootError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(key.as_mut_slice()).map_err(|_| LocalRootError::Random)?;
        file::create_private(path, key.as_slice())
    }

    /// Makes a file with a new random salt and the default parameters of Argon2id. Never overwrites: without its
    /// salt, a passphrase opens nothing.
    ///
    /// # Errors
    /// [`LocalRootError::Exists`], [`LocalRootError::File`] or [`LocalRootError::Random`]; there is then no new file.
    pub fn create_salt_file(path: &Path) -> Result<(), LocalRootError> {
        passphrase::Salt::random()?.create(path)
    }

    /// The authority of this root: another key, derived from the root key, which signs.
    ///
    /// # Errors
    /// [`ArenaError`] when there is no protected memory left for it.
    pub fn authority(&self) -> Result<LocalAuthority, ArenaError> {
        LocalAuthority::derive(&self.key, &self.name, &self.place, &self.arena)
    }

    fn with_key(
        arena: &Arena,
        path: &Path,
        fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), LocalRootError>,
    ) -> Result<Self, LocalRootError> {
        let key = RootKey::fill(arena, fill).map_err(|error| match error {
            FillError::Arena(error) => LocalRootError::Memory(error),
            FillError::Fill(error) => error,
        })?;
        let fingerprint = fingerprint(&key)?;
        let place = path.display().to_string();
        Ok(Self { name: RootName::local(), place, key, fingerprint, arena: arena.clone() })
    }

    fn corrupt(&self) -> RootError {
        RootError::Corrupt { root: self.name.clone() }
    }
}

fn make_key_file_command(path: &Path) -> String {
    format!("(umask 077; head -c 32 /dev/urandom > {})", path.display())
}

/// Lends the cipher for one call: its key schedule lives on the stack and is wiped, so that between calls the key is
/// in the arena and nowhere else (`nothing_secret_is_left_in_memory_once_it_is_dropped`).
fn with_cipher<T>(key: &RootKey, work: impl FnOnce(&Aes256GcmSiv) -> T) -> T {
    wiping_the_stack::<STACK_BYTES, _>(|| work(&Aes256GcmSiv::new(key.expose_bytes().into())))
}

/// Eight hexadecimal digits that tell two root keys apart, and tell nothing else: the head of the tag of an empty
/// message. RFC 8452 allows a nonce to repeat; that of a wrapped key never has this message beside it.
fn fingerprint(key: &RootKey) -> Result<String, LocalRootError> {
    let label = b"keypod/v1/local-root/fingerprint";
    let empty = InOutBuf::from(&mut [][..]);
    let tag =
        with_cipher(key, |cipher| cipher.encrypt_inout_detached(&Nonce::default(), label, empty));
    let tag = tag.map_err(|_| LocalRootError::Random)?;
    Ok(tag.iter().take(4).map(|byte| format!("{byte:02x}")).collect())
}

#[async_trait]
impl Root for LocalRoot {
    async fn wrap(
        &self,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Result<WrappedKey, RootError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| RootError::Random)?;
        let mut ciphertext = [0; KEY_BYTES];
        let buffer =
            InOutBuf::new(secret.expose_bytes(), &mut ciphertext).map_err(|_| self.corrupt())?;
        let tag = with_cipher(&self.key, |cipher| {
            cipher.encrypt_inout_detached(&Nonce::from(nonce), &binding.to_bytes(), buffer)
        });
        let tag = tag.map_err(|_| self.corrupt())?;
        let parts = [&[LAYOUT][..], &nonce, &ciphertext, &tag];
        Ok(WrappedKey::from_bytes(parts.concat()))
    }

    async fn unwrap_key(
        &self,
        wrapped: &WrappedKey,
        binding: Binding<'_>,
    ) -> Result<KeyVersionSecret, RootError> {
        let parts = parts(wrapped.as_bytes());
        let (nonce, ciphertext, tag) = parts.ok_or_else(|| self.corrupt())?;
        Ok(KeyVersionSecret::fill(&self.arena, |secret| {
            let buffer = InOutBuf::new(ciphertext, secret).map_err(|_| self.corrupt())?;
            with_cipher(&self.key, |cipher| {
                cipher.decrypt_inout_detached(nonce, &binding.to_bytes(), buffer, tag)
            })
            .map_err(|_| self.corrupt())
        })?)
    }

    async fn check(&self, domain: &str) -> Result<Vec<String>, RootError> {
        prove(self, domain, &self.arena).await.map(|()| Vec::new())
    }

    fn describe(&self) -> RootDescription {
        RootDescription {
            name: self.name.clone(),
            kind: "local",
            place: self.place.clone(),
            fingerprint: Some(self.fingerprint.clone()),
            note: Some(
                "the root key is on this machine: for development, or for one machine; whoever reads its file, or its passphrase and salt, has every key",
            ),
        }
    }
}

/// `nonce`, `ciphertext` and `tag` of a wrapped key, if it has this root's layout and nothing more.
fn parts(wrapped: &[u8]) -> Option<(&Nonce, &[u8; KEY_BYTES], &Tag)> {
    let (&LAYOUT, rest) = wrapped.split_first()? else {
        return None;
    };
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let (ciphertext, rest) = rest.split_first_chunk::<KEY_BYTES>()?;
    let tag: &[u8; 16] = rest.try_into().ok()?;
    Some((nonce.into(), ciphertext, tag.into()))
}
