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

/// The checkpoint `note` with one more signature line. A signature of the same key is replaced, but never the log's own.
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
    if text.lines().next() == Some(added.name()) {
        return Err(NoteError::KeyName);
    }
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;

    const LINE: &str = "\u{2014} witness.example/w1 AAAAAQIDBAUGBwg=";

    #[test]
    fn a_checkpoint_is_read_back_under_its_own_key_alone() {
        let key = LogKey::generate("keypod.test/1").unwrap();
        let root = tlog_tiles::record_hash(b"x");
        let note = key.checkpoint(7, root).unwrap();
        let read = read_checkpoint(&note, &key.verification_key()).unwrap();
        assert_eq!((read.origin(), read.size(), *read.hash()), ("keypod.test/1", 7, root));
        let other = LogKey::generate("keypod.test/1").unwrap();
        assert!(read_checkpoint(&note, &other.verification_key()).is_err());
        let altered = String::from_utf8(note).unwrap().replacen("\n7\n", "\n8\n", 1);
        let read = read_checkpoint(altered.as_bytes(), &key.verification_key());
        assert_eq!(read.unwrap_err(), NoteError::Signature);
    }

    #[test]
    fn no_key_is_shown() {
        let key = LogKey::generate("keypod.test/1").unwrap();
        let bytes = key.key.as_bytes();
        let shown = format!("{key:?}");
        assert_eq!(shown, "LogKey { name: \"keypod.test/1\", .. }");
        assert!(!shown.contains(&STANDARD.encode(bytes)));
    }

    #[test]
    fn a_witness_adds_a_line_and_cannot_take_the_place_of_the_log() {
        let key = LogKey::generate("keypod.test/1").unwrap();
        let note = key.checkpoint(7, tlog_tiles::record_hash(b"x")).unwrap();
        let cosigned = with_signature(&note, LINE).unwrap();
        assert_eq!(cosigned, [note.as_slice(), LINE.as_bytes(), b"\n"].concat());
        assert_eq!(with_signature(&cosigned, LINE).unwrap(), cosigned);
        let text = String::from_utf8(note.clone()).unwrap();
        let own = text.lines().last().unwrap();
        for bad in
            [own, "", "x", "\u{2014} a b", &format!("{LINE}\n{LINE}"), &format!("{LINE}\u{1}")]
        {
            assert!(with_signature(&note, bad).is_err(), "{bad}");
        }
    }

    fn ecdsa(text: &str) -> AuthoritySignature {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        AuthoritySignature {
            name: "keypod-root/kms".to_owned(),
            algorithm: SignatureAlgorithm::EcdsaP256Sha256,
            public_key: der.as_ref().to_vec(),
            signature: key.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
        }
    }

    fn ed25519(text: &str) -> AuthoritySignature {
        let key = SigningKey::from_bytes(&[9; 32]);
        AuthoritySignature {
            name: "keypod-root/local".to_owned(),
            algorithm: SignatureAlgorithm::Ed25519,
            public_key: key.verifying_key().as_bytes().to_vec(),
            signature: key.sign(text.as_bytes()).to_vec(),
        }
    }

    #[test]
    fn a_certificate_has_the_form_of_its_authoritys_algorithm() {
        let text = "certificate\n";
        for signature in [ecdsa(text), ed25519(text)] {
            let (note, key) = certified(text, &signature).unwrap();
            let (name, rest) = key.split_once('+').unwrap();
            let (id, typed) = rest.split_once('+').unwrap();
            let typed = STANDARD.decode(typed).unwrap();
            assert_eq!((name, &typed[1..]), (&*signature.name, &*signature.public_key));
            let digest = if signature.algorithm == SignatureAlgorithm::Ed25519 {
                assert_eq!(typed[0], 1);
                Sha256::digest([name.as_bytes(), b"\n", &typed].concat())
            } else {
                assert_eq!(typed[0], 2);
                Sha256::digest(&signature.public_key)
            };
            assert_eq!(u32::from_str_radix(id, 16).unwrap().to_be_bytes(), digest[..4]);
            let line = [&digest[..4], &signature.signature].concat();
            let line = format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(line));
            assert_eq!(String::from_utf8(note).unwrap(), line);
        }
    }

    #[test]
    fn a_signature_that_nobody_could_check_certifies_nothing() {
        let text = "certificate\n";
        for signature in [ecdsa(text), ed25519(text)] {
            assert_eq!(certified("other\n", &signature).unwrap_err(), NoteError::Signature);
            let mut altered = signature.clone();
            *altered.signature.last_mut().unwrap() ^= 1;
            assert_eq!(certified(text, &altered).unwrap_err(), NoteError::Signature);
            let no_key = AuthoritySignature { public_key: vec![1; 31], ..signature.clone() };
            assert!(certified(text, &no_key).is_err());
            for name in ["", "a b", "a+b", "a\nb", "a\u{7}"] {
                let named = AuthoritySignature { name: name.to_owned(), ..signature.clone() };
                assert_eq!(certified(text, &named).unwrap_err(), NoteError::KeyName, "{name:?}");
            }
        }
    }
}
