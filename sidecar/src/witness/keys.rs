//! Verification keys as signed notes write them, `NAME+ID+BASE64`, and the key that a witness cosigns with.
//!
//! A name, an id and a type belong together: a key whose id is not that of its name and bytes is none. Types:
//! `0x01` Ed25519 and `0x02` ECDSA over P-256 (C2SP signed-note), `0x04` timestamped cosignatures (C2SP
//! tlog-cosignature).

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use signed_note::{Note, VerificationError, Verifier, Verifiers, is_key_name_valid, key_id};
use zeroize::Zeroizing;

use crate::clock::UnixSeconds;
use crate::file;
use crate::root::authority::{AuthoritySignature, SignatureAlgorithm};
use crate::secret::{Arena, ArenaError, FillError, STANDARD, SigningSeed, wiping_the_stack};

const ED25519: u8 = 0x01;
const ECDSA: u8 = 0x02;
const COSIGNATURE: u8 = 0x04;
/// What the file of a witness's key begins with, as private keys of notes do.
const PRIVATE: &str = "PRIVATE+KEY+";
/// A name is one line of a note, and no longer.
const NAME_BYTES_MAX: usize = 512;
const KEY_FILE_BYTES_MAX: u16 = 1024;
/// More stack than one signature uses.
const STACK_BYTES: usize = 64 * 1024;
/// A time, and an Ed25519 signature.
const COSIGNATURE_BYTES: usize = 8 + 64;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is not spelt as a verification key.
    #[error("a verification key is NAME+ID+BASE64, and its id is that of its name and bytes")]
    Malformed,
    /// It is of a type that is not taken here.
    #[error("this is the verification key of something else: {wanted} is wanted here")]
    Kind {
        /// Which type is.
        wanted: &'static str,
    },
    /// A name that notes do not take.
    #[error("a key's name is 1 to 512 bytes without spaces, control characters and +")]
    Name,
    /// The file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file does not hold a witness's key.
    #[error("{} holds no key of a witness: make one with keypod witness keygen", path.display())]
    Content {
        /// Which.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("others than this user may read {}: chmod 600 {0}, and make another key if they have", path.display())]
    TooOpen {
        /// Which.
        path: PathBuf,
    },
    /// There is no protected memory left for it.
    #[error(transparent)]
    Memory(#[from] ArenaError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// The parts of `NAME+ID+BASE64`: name, id, type and key.
fn parts(text: &str) -> Result<(&str, u32, u8, Vec<u8>), KeyError> {
    let (name, rest) = text.split_once('+').ok_or(KeyError::Malformed)?;
    let (id, key) = rest.split_once('+').ok_or(KeyError::Malformed)?;
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if id.len() != 8 || !id.bytes().all(digits) || !is_name(name) {
        return Err(KeyError::Malformed);
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| KeyError::Malformed)?;
    let bytes = STANDARD.decode(key).map_err(|_| KeyError::Malformed)?;
    let (kind, key) = bytes.split_first().ok_or(KeyError::Malformed)?;
    Ok((name, id, *kind, key.to_vec()))
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && is_key_name_valid(name) && !name.chars().any(char::is_control)
}

/// An Ed25519 key under its id.
fn ed25519(name: &str, id: u32, kind: u8, key: &[u8]) -> Result<VerifyingKey, KeyError> {
    let bytes = key.try_into().map_err(|_| KeyError::Malformed)?;
    if id != key_id(name, &[&[kind], key].concat()) {
        return Err(KeyError::Malformed);
    }
    VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Malformed)
}

fn spelt(name: &str, id: u32, kind: u8, key: &[u8]) -> String {
    format!("{name}+{id:08x}+{}", STANDARD.encode([&[kind], key].concat()))
}

/// The first four bytes of a digest: the id of an ECDSA key.
fn id_of_spki(spki: &[u8]) -> u32 {
    let digest: [u8; 32] = Sha256::digest(spki).into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

/// The key of an authority, of type `0x01` or `0x02`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityKey {
    name: String,
    id: u32,
    algorithm: SignatureAlgorithm,
    public_key: Vec<u8>,
}

impl AuthorityKey {
    /// The key of this spelling.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Kind`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, kind, public_key) = parts(text)?;
        let algorithm = match kind {
            ED25519 => {
                ed25519(name, id, kind, &public_key)?;
                SignatureAlgorithm::Ed25519
            }
            ECDSA if id == id_of_spki(&public_key) => SignatureAlgorithm::EcdsaP256Sha256,
            ECDSA => return Err(KeyError::Malformed),
            _ => return Err(KeyError::Kind { wanted: "an authority's" }),
        };
        Ok(Self { name: name.to_owned(), id, algorithm, public_key })
    }

    /// The keys of a file with one a line; empty lines and those that begin with `#` do not count.
    ///
    /// # Errors
    /// [`KeyError`] of the first line that is no key.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, KeyError> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(Self::parse).collect()
    }

    /// The verification key of whoever made this signature.
    #[must_use]
    pub fn of_signature(signature: &AuthoritySignature) -> String {
        let AuthoritySignature { name, algorithm, public_key, .. } = signature;
        let (id, kind) = id_and_kind(name, *algorithm, public_key);
        spelt(name, id, kind, public_key)
    }

    /// The line of a signed note for a signature.
    #[must_use]
    pub fn line_of(signature: &AuthoritySignature) -> String {
        let AuthoritySignature { name, algorithm, public_key, signature } = signature;
        let (id, _) = id_and_kind(name, *algorithm, public_key);
        line(name, id, signature)
    }
}

fn id_and_kind(name: &str, algorithm: SignatureAlgorithm, key: &[u8]) -> (u32, u8) {
    match algorithm {
        SignatureAlgorithm::Ed25519 => (key_id(name, &[&[ED25519], key].concat()), ED25519),
        SignatureAlgorithm::EcdsaP256Sha256 => (id_of_spki(key), ECDSA),
    }
}

fn line(name: &str, id: u32, signature: &[u8]) -> String {
    let bytes = [&id.to_be_bytes()[..], signature].concat();
    format!("\u{2014} {name} {}\n", STANDARD.encode(bytes))
}

impl Verifier for AuthorityKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let (key, signature) = (self.public_key.clone(), signature.to_vec());
        AuthoritySignature::verified(&self.name, self.algorithm, key, signature, message).is_some()
    }
}

/// The key of one log, of type `0x01`. Its name is the log's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl LogKey {
    /// The key of this spelling.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Kind`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, kind, key) = parts(text)?;
        match kind {
            ED25519 => Ok(Self { name: name.to_owned(), id, key: ed25519(name, id, kind, &key)? }),
            _ => Err(KeyError::Kind { wanted: "a log's (Ed25519)" }),
        }
    }

    /// The origin of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.name
    }
}

/// As signed notes write it.
impl fmt::Display for LogKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&spelt(&self.name, self.id, ED25519, self.key.as_bytes()))
    }
}

impl Verifier for LogKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

/// Keys that are believed, for [`Note::verify`].
pub(super) struct Believed<'a, K>(pub(super) &'a [K]);

impl<K: Verifier> Verifiers for Believed<'_, K> {
    fn verifier(&self, name: &str, id: u32) -> Result<&dyn Verifier, VerificationError> {
        let mut known = self.0.iter().filter(|key| key.name() == name && key.key_id() == id);
        let name = name.to_owned();
        match (known.next(), known.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err(VerificationError::UnknownKey { name, id }),
            (Some(_), Some(_)) => Err(VerificationError::AmbiguousKey { name, id }),
        }
    }
}

/// Whether one of these keys has signed `note`, and none of them wrongly.
pub(super) fn is_signed_by<K: Verifier>(note: &Note, keys: &[K]) -> bool {
    note.verify(&Believed(keys)).is_ok()
}

/// The verification key of a witness, of type `0x04`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignatureKey {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl CosignatureKey {
    /// The key of this spelling.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Kind`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, kind, key) = parts(text)?;
        match kind {
            COSIGNATURE => {
                Ok(Self { name: name.to_owned(), id, key: ed25519(name, id, kind, &key)? })
            }
            _ => Err(KeyError::Kind { wanted: "a witness's (cosignature/v1)" }),
        }
    }

    /// The name of the witness.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When this witness has cosigned `text` with this signature; `None` if it has not.
    #[must_use]
    pub fn cosigned_at(&self, text: &[u8], signature: &[u8]) -> Option<UnixSeconds> {
        if signature.len() != COSIGNATURE_BYTES {
            return None;
        }
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).ok()?;
        let message = cosigned_message(time, text);
        self.key.verify_strict(&message, &signature).ok()?;
        Some(UnixSeconds(time))
    }
}

/// As signed notes write it.
impl fmt::Display for CosignatureKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&spelt(&self.name, self.id, COSIGNATURE, self.key.as_bytes()))
    }
}

impl Verifier for CosignatureKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.cosigned_at(message, signature).is_some()
    }
}

/// What is signed: C2SP tlog-cosignature, "Ed25519 signed message".
fn cosigned_message(time: u64, text: &[u8]) -> Vec<u8> {
    [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat()
}

/// The key that a witness cosigns with. Its seed is in protected memory.
#[derive(Debug)]
pub struct CosigningKey {
    public: CosignatureKey,
    seed: SigningSeed,
}

impl CosigningKey {
    /// Makes a key for the witness `name`, in a file that only this user may read. Never overwrites.
    ///
    /// # Errors
    /// [`KeyError::Name`], [`KeyError::File`], [`KeyError::Random`]; there is then no new file.
    pub fn create(path: &Path, name: &str) -> Result<CosignatureKey, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|_| KeyError::Random)?;
        let public = public_key(name, &seed);
        let bytes = Zeroizing::new([&[COSIGNATURE], seed.as_slice()].concat());
        let key = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        let text = Zeroizing::new(format!("{PRIVATE}{name}+{:08x}+{}\n", public.id, key.as_str()));
        create_private(path, text.as_bytes())
            .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        Ok(public)
    }

    /// The key in the file that [`CosigningKey::create`] made.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path, arena: &Arena) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let (file, metadata) = file::open(path).map_err(failed)?;
        if !metadata.is_file() || metadata.len() > u64::from(KEY_FILE_BYTES_MAX) {
            return Err(KeyError::Content { path: path.to_owned() });
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(KeyError::TooOpen { path: path.to_owned() });
        }
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX.into()));
        file.take(KEY_FILE_BYTES_MAX.into()).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text, arena).map_err(|error| match error {
            KeyError::Malformed => KeyError::Content { path: path.to_owned() },
            other => other,
        })
    }

    fn parse(text: &str, arena: &Arena) -> Result<Self, KeyError> {
        let text = text.trim_end_matches('\n').strip_prefix(PRIVATE).ok_or(KeyError::Malformed)?;
        let (name, id, kind, bytes) = parts(text)?;
        let bytes = Zeroizing::new(bytes);
        let seed: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| KeyError::Malformed)?;
        let public = public_key(name, seed);
        if kind != COSIGNATURE || id != public.id {
            return Err(KeyError::Malformed);
        }
        let filled = SigningSeed::fill(arena, |slot| {
            slot.copy_from_slice(seed);
            Ok::<(), KeyError>(())
        });
        let seed = filled.map_err(|error| match error {
            FillError::Arena(error) => error.into(),
            FillError::Fill(error) => error,
        })?;
        Ok(Self { public, seed })
    }

    /// Its verification key.
    #[must_use]
    pub fn verification_key(&self) -> &CosignatureKey {
        &self.public
    }

    /// The line of a cosignature over the text of a checkpoint.
    pub(super) fn cosign(&self, text: &[u8], now: UnixSeconds) -> String {
        let message = cosigned_message(now.0, text);
        let signature = wiping_the_stack::<STACK_BYTES, _>(|| {
            SigningKey::from_bytes(self.seed.expose_bytes()).sign(&message)
        });
        let bytes = [&now.0.to_be_bytes()[..], &signature.to_bytes()].concat();
        line(&self.public.name, self.public.id, &bytes)
    }
}

fn public_key(name: &str, seed: &[u8; 32]) -> CosignatureKey {
    let key = wiping_the_stack::<STACK_BYTES, _>(|| SigningKey::from_bytes(seed).verifying_key());
    let id = key_id(name, &[&[COSIGNATURE], key.as_bytes().as_slice()].concat());
    CosignatureKey { name: name.to_owned(), id, key }
}

/// Makes `path` with `bytes`, of mode 0600 from its first moment. It appears whole or not at all, and is on disk when
/// this returns.
fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
