//! A root key out of a passphrase: Argon2id (RFC 9106) and the file with its salt and parameters.
//!
//! The salt file is no secret, but without it the passphrase opens nothing. It is one JSON object:
//! `{"version":1,"kdf":"argon2id","memory_kib":65536,"iterations":3,"lanes":1,"salt":"BASE64 of 16 to 64 bytes"}`.

use std::path::Path;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{LocalRootError, file};
use crate::secret::{KEY_BYTES, wiping_the_stack};

const SALT_FILE_BYTES_MAX: u64 = 1024;
const SALT_BYTES: usize = 16;
/// More stack than Argon2id uses: it keeps some blocks of 1 KiB there.
const STACK_BYTES: usize = 64 * 1024;
const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;

/// What a salt file holds.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Salt {
    version: u32,
    kdf: String,
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
    salt: String,
}

impl Salt {
    /// A new salt, and 64 MiB, 3 iterations, 1 lane: the second recommendation of RFC 9106, section 4, on one core.
    pub(super) fn random() -> Result<Self, LocalRootError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|_| LocalRootError::Random)?;
        Ok(Self {
            version: 1,
            kdf: "argon2id".to_owned(),
            memory_kib: 64 * 1024,
            iterations: 3,
            lanes: 1,
            salt: STANDARD.encode(salt),
        })
    }

    pub(super) fn create(&self, path: &Path) -> Result<(), LocalRootError> {
        let text = serde_json::to_string(self).map_err(|error| unusable(path, &error))?;
        file::create_private(path, format!("{text}\n").as_bytes())
    }

    pub(super) fn read(path: &Path) -> Result<Self, LocalRootError> {
        let text = file::read_public(path, SALT_FILE_BYTES_MAX, || make_command(path))?;
        let salt: Self = serde_json::from_slice(&text).map_err(|error| unusable(path, &error))?;
        salt.parameters().map_err(|problem| unusable(path, &problem))?;
        Ok(salt)
    }

    /// The parameters and the salt, if they are neither weak nor absurd.
    fn parameters(&self) -> Result<(Params, Vec<u8>), &'static str> {
        if self.version != 1 || self.kdf != "argon2id" {
            return Err("its version must be 1 and its kdf argon2id");
        }
        // 19 MiB and 2 iterations: the least that OWASP recommends. The most keeps a damaged file from taking a
        // machine down.
        if !(19 * 1024..=2 * 1024 * 1024).contains(&self.memory_kib) {
            return Err("memory_kib must be 19456 (19 MiB) to 2097152 (2 GiB)");
        }
        if !(2..=64).contains(&self.iterations) || !(1..=16).contains(&self.lanes) {
            return Err("iterations must be 2 to 64, lanes 1 to 16");
        }
        let salt = STANDARD.decode(&self.salt).ok().filter(|salt| (16..=64).contains(&salt.len()));
        let salt = salt.ok_or("its salt must be 16 to 64 bytes in base64")?;
        let params = Params::new(self.memory_kib, self.iterations, self.lanes, Some(KEY_BYTES));
        Ok((params.map_err(|_| "Argon2id does not accept its parameters")?, salt))
    }

    /// Writes the root key of `passphrase` into `key`.
    pub(super) fn derive(
        &self,
        passphrase: &[u8],
        key: &mut [u8; KEY_BYTES],
    ) -> Result<(), LocalRootError> {
        let failed = |_| LocalRootError::DerivationMemory { memory_kib: self.memory_kib };
        let (params, salt) = self.parameters().map_err(|_| failed(()))?;
        // Our own blocks: those that the crate allocates are not wiped, and the key can be computed from the last.
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(params.block_count()).map_err(|_| failed(()))?;
        blocks.resize(params.block_count(), Block::default());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let derived = wiping_the_stack::<STACK_BYTES, _>(|| {
            argon2.hash_password_into_with_memory(passphrase, &salt, key, &mut blocks)
        });
        blocks.zeroize();
        derived.map_err(|_| failed(()))
    }
}

/// The passphrase in `path`: its bytes without one newline at the end.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, LocalRootError> {
    let command = || format!("(umask 077; head -c 24 /dev/urandom | base64 > {})", path.display());
    let file = file::open_private(path, command)?;
    let wrong_length = |found| LocalRootError::PassphraseLength { path: path.into(), found };
    let bytes =
        usize::try_from(file.bytes).ok().filter(|&bytes| bytes <= PASSPHRASE_BYTES.end() + 2);
    let bytes = bytes.ok_or_else(|| wrong_length(file.bytes))?;
    let mut passphrase = Zeroizing::new(vec![0; bytes]);
    file.read_into(&mut passphrase)?;
    if passphrase.last() == Some(&b'\n') {
        passphrase.pop();
        if passphrase.last() == Some(&b'\r') {
            passphrase.pop();
        }
    }
    if !PASSPHRASE_BYTES.contains(&passphrase.len()) {
        return Err(wrong_length(passphrase.len() as u64));
    }
    Ok(passphrase)
}

fn make_command(path: &Path) -> String {
    format!(
        r#"printf '{{"version":1,"kdf":"argon2id","memory_kib":65536,"iterations":3,"lanes":1,"salt":"%s"}}\n' "$(head -c 16 /dev/urandom | base64)" > {}"#,
        path.display()
    )
}

fn unusable(path: &Path, problem: &dyn std::fmt::Display) -> LocalRootError {
    LocalRootError::Salt { path: path.into(), problem: problem.to_string() }
}
