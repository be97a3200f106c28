//! Keys and signed notes (C2SP signed-note): the key of a log, the keys of authorities, and checkpoints.
//!
//! The key of a log is made here, is never written, and is wiped when it is dropped. Depends on `signed_note`,
//! `ed25519-dalek`, and `aws-lc-rs` for the signatures of ECDSA authorities.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use signed_note::{Note, Signature, Signer, StandardVerifier};
use tlog_tiles::{Checkpoint, Hash};
use zeroize::Zeroizing;

use crate::root::authority::{AuthoritySignature, SignatureAlgorithm};

/// Signature types of signed-note.
const ED25519: u8 = 0x01;
const ECDSA: u8 = 0x02;

/// Why a note or a key is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoteError {
    #[error("the system has no random numbers")]
    NoRandomNumbers,
    #[error("it is no signed note")]
    Malformed,
    #[error("its signature does not match its key")]
    Signature,
    #[error("the name of the key cannot stand in a signed note")]
    KeyName,
    #[error("the public key is none of its algorithm")]
    PublicKey,
}

/// The key of one log.
pub(super) struct LogKey {
    name: String,
    id: u32,
    // In one place on the heap, so that moving it leaves no copy.
    key: Box<SigningKey>,
}

impl fmt::Debug for LogKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LogKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl LogKey {
    /// A new key for the log of this origin.
    pub(super) fn generate(origin: &str) -> Result<Self, NoteError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|_| NoteError::NoRandomNumbers)?;
        let key = Box::new(SigningKey::from_bytes(&seed));
        let public = [&[ED25519], key.verifying_key().as_bytes().as_slice()].concat();
        Ok(Self { name: origin.to_owned(), id: signed_note::key_id(origin, &public), key })
    }

    /// `name+id+base64`.
    pub(super) fn verification_key(&self) -> String {
        signed_note::new_ed25519_verifier_key(&self.name, &self.key.verifying_key())
    }

    /// The checkpoint of this log at `size`, signed.
    pub(super) fn checkpoint(&self, size: u64, root: Hash) -> Result<Vec<u8>, NoteError> {
        let text = Checkpoint::new(&self.name, size, root, "").map_err(|_| NoteError::Malformed)?;
        let mut note = Note::new(&text.to_bytes(), &[]).map_err(|_| NoteError::Malformed)?;
        note.add_sigs(&[self]).map_err(|_| NoteError::KeyName)?;
        Ok(note.to_bytes())
    }
}

impl Signer for LogKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ed25519_dalek::SignatureError> {
        Ok(self.key.try_sign(message)?.to_vec())
    }
}

/// What a checkpoint file says, if the key of its log signed it.
pub(super) fn read_checkpoint(
    note: &[u8],
    verification_key: &str,
) -> Result<Checkpoint, NoteError> {
    let key = StandardVerifier::new(verification_key).map_err(|_| NoteError::PublicKey)?;
    let known = signed_note::VerifierList::new(vec![Box::new(key)]);
    let note = Note::from_bytes(note).map_err(|_| NoteError::Malformed)?;
    note.verify(&known).map_err(|_| NoteError::Signature)?;
    Checkpoint::from_bytes(note.text()).map_err(|_| NoteError::Malformed)
}

/// `note` with one more signature line. A signature of the same key is replaced.
pub(super) fn with_signature(note: &[u8], line: &str) -> Result<Vec<u8>, NoteError> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let control = |byte: u8| byte < b' ';
    if line.bytes().any(control) {
        return Err(NoteError::Malformed);
    }
    let added = Signature::from_bytes(line.as_bytes()).map_err(|_| NoteError::Malformed)?;
    // The library keeps the signatures of a note to itself: they are read from its lines.
    let text = std::str::from_utf8(note).map_err(|_| NoteError::Malformed)?;
    let (text, lines) = text.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
    let mut signatures = Vec::new();
    for line in lines.lines() {
        let signature = Signature::from_bytes(line.as_bytes()).map_err(|_| NoteError::Malformed)?;
        if (signature.name(), signature.id()) != (added.name(), added.id()) {
            signatures.push(signature);
        }
    }
    signatures.push(added);
    let text = format!("{text}\n");
    let note = Note::new(text.as_bytes(), &signatures).map_err(|_| NoteError::Malformed)?;
    Ok(note.to_bytes())
}

/// `text` as a note that `signature` signed, and the verification key of the authority. The signature is checked: a
/// certificate that nobody could check would be found out when it is too late.
pub(super) fn certified(
    text: &str,
    signature: &AuthoritySignature,
) -> Result<(Vec<u8>, String), NoteError> {
    let AuthoritySignature { name, algorithm, public_key, signature } = signature;
    let in_a_line = |letter: char| !letter.is_control() && !letter.is_whitespace();
    if !signed_note::is_key_name_valid(name) || !name.chars().all(in_a_line) {
        return Err(NoteError::KeyName);
    }
    let (id, kind) = match algorithm {
        SignatureAlgorithm::Ed25519 => {
            let bytes: &[u8; 32] =
                public_key.as_slice().try_into().map_err(|_| NoteError::PublicKey)?;
            let key = VerifyingKey::from_bytes(bytes).map_err(|_| NoteError::PublicKey)?;
            let signature = ed25519_dalek::Signature::from_slice(signature)
                .map_err(|_| NoteError::Signature)?;
            key.verify_strict(text.as_bytes(), &signature).map_err(|_| NoteError::Signature)?;
            let typed = [&[ED25519], public_key.as_slice()].concat();
            (signed_note::key_id(name, &typed), ED25519)
        }
        SignatureAlgorithm::EcdsaP256Sha256 => {
            use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key);
            key.verify(text.as_bytes(), signature).map_err(|_| NoteError::Signature)?;
            (first_four(&Sha256::digest(public_key)), ECDSA)
        }
    };
    let line = Signature::new(name.clone(), id, signature.clone());
    let line = line.map_err(|_| NoteError::KeyName)?;
    let note = Note::new(text.as_bytes(), &[line]).map_err(|_| NoteError::Malformed)?;
    let typed = [&[kind], public_key.as_slice()].concat();
    Ok((note.to_bytes(), format!("{name}+{id:08x}+{}", STANDARD.encode(typed))))
}

fn first_four(digest: &[u8]) -> u32 {
    digest.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
