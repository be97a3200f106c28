//! One suite that every [`Root`] passes: what [`crate::keyring`] may rely on, whichever root it has. And one that every
//! [`Authority`] passes.

use std::collections::HashSet;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};

use super::authority::{Authority, AuthoritySignature, SignatureAlgorithm};
use super::{Binding, Root, RootError};
use crate::names::{KeyId, KeyRef, KeyVersion};
use crate::secret::{Arena, KeyVersionSecret, Protection, WrappedKey};

/// Which root key the suite asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// The same one whenever it is asked for.
    This,
    /// Another one of the same kind.
    Another,
}

/// Runs the whole suite; `open` opens one of two root keys, anew each time.
pub(crate) async fn every_root_conforms(open: impl AsyncFn(Which) -> Arc<dyn Root>) {
    let root = open(Which::This).await;
    gives_back_what_it_wrapped(&*root).await;
    opens_what_it_wrapped_before_a_restart(&*root, &*open(Which::This).await).await;
    fails_under_every_other_binding(&*root).await;
    fails_on_everything_altered(&*root).await;
    wraps_differently_each_time_and_shows_nothing(&*root).await;
    fails_on_what_another_root_wrapped(&*root, &*open(Which::Another).await).await;
    serves_many_at_once(&root).await;
    describes_itself_the_same_each_time(&*root, &*open(Which::This).await);
}

const DOMAIN: &str = "clinic.example/eu";

fn binding() -> Binding<'static> {
    bound_to(7, 3, DOMAIN)
}

fn bound_to(id: u8, version: u32, domain: &str) -> Binding<'_> {
    let key = KeyRef { id: KeyId::from_bytes([id; 8]), version: KeyVersion::new(version).unwrap() };
    Binding { key, domain }
}

fn secret(first: u8) -> KeyVersionSecret {
    let arena = Arena::new(Protection::Heap).unwrap();
    KeyVersionSecret::fill(&arena, |bytes| {
        bytes.iter_mut().zip(first..).for_each(|(byte, value)| *byte = value);
        Ok::<_, RootError>(())
    })
    .unwrap()
}

async fn assert_corrupt(root: &dyn Root, wrapped: &[u8], binding: Binding<'_>, why: &str) {
    let wrapped = WrappedKey::from_bytes(wrapped.to_vec());
    let opened = root.unwrap_key(&wrapped, binding).await;
    assert!(matches!(opened, Err(RootError::Corrupt { .. })), "{why}: {opened:?}");
}

async fn gives_back_what_it_wrapped(root: &dyn Root) {
    for binding in [binding(), bound_to(0, 1, ""), bound_to(255, u32::MAX, &"d".repeat(128))] {
        let wrapped = root.wrap(&secret(1), binding).await.unwrap();
        let opened = root.unwrap_key(&wrapped, binding).await.unwrap();
        assert_eq!(opened.expose_bytes(), secret(1).expose_bytes());
    }
}

async fn opens_what_it_wrapped_before_a_restart(root: &dyn Root, restarted: &dyn Root) {
    let wrapped = root.wrap(&secret(2), binding()).await.unwrap();
    let opened = restarted.unwrap_key(&wrapped, binding()).await.unwrap();
    assert_eq!(opened.expose_bytes(), secret(2).expose_bytes());
}

async fn fails_under_every_other_binding(root: &dyn Root) {
    let wrapped = root.wrap(&secret(3), binding()).await.unwrap();
    let others = [
        bound_to(8, 3, DOMAIN),
        bound_to(7, 4, DOMAIN),
        bound_to(7, 3, "clinic.example/us"),
        bound_to(7, 3, "clinic.example/e"),
        bound_to(7, 3, ""),
    ];
    for other in others {
        assert_corrupt(root, wrapped.as_bytes(), other, &format!("{other:?}")).await;
    }
}

async fn fails_on_everything_altered(root: &dyn Root) {
    let wrapped = root.wrap(&secret(4), binding()).await.unwrap();
    let whole = wrapped.as_bytes();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_corrupt(root, &flipped, binding(), &format!("bit {bit} flipped")).await;
    }
    for len in 0..whole.len() {
        assert_corrupt(root, &whole[..len], binding(), &format!("cut to {len}")).await;
        assert_corrupt(root, &whole[len + 1..], binding(), &format!("without {len} + 1")).await;
    }
    for extra in [&b"\0"[..], b"x", whole] {
        assert_corrupt(root, &[whole, extra].concat(), binding(), "extended").await;
        assert_corrupt(root, &[extra, whole].concat(), binding(), "extended in front").await;
    }
    assert!(root.unwrap_key(&wrapped, binding()).await.is_ok(), "failures leave the root usable");
}

async fn wraps_differently_each_time_and_shows_nothing(root: &dyn Root) {
    let mut seen = HashSet::new();
    for _ in 0..16 {
        let wrapped = root.wrap(&secret(5), binding()).await.unwrap();
        let bytes = wrapped.as_bytes();
        assert!(
            !bytes.windows(4).any(|part| secret(5).expose_bytes().windows(4).any(|s| s == part))
        );
        assert!(seen.insert(bytes.to_vec()), "the same secret wrapped twice looks the same");
    }
}

async fn fails_on_what_another_root_wrapped(root: &dyn Root, another: &dyn Root) {
    let wrapped = another.wrap(&secret(6), binding()).await.unwrap();
    assert_corrupt(root, wrapped.as_bytes(), binding(), "another root's").await;
    let (own, other) = (root.describe(), another.describe());
    assert!(own.fingerprint.is_none() || own.fingerprint != other.fingerprint);
}

async fn serves_many_at_once(root: &Arc<dyn Root>) {
    let tasks: Vec<_> = (0..64_u8)
        .map(|number| {
            let root = Arc::clone(root);
            tokio::spawn(async move {
                let binding = bound_to(number, u32::from(number) + 1, DOMAIN);
                let wrapped = root.wrap(&secret(number), binding).await.unwrap();
                let opened = root.unwrap_key(&wrapped, binding).await.unwrap();
                assert_eq!(opened.expose_bytes(), secret(number).expose_bytes());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn describes_itself_the_same_each_time(root: &dyn Root, restarted: &dyn Root) {
    assert_eq!(root.describe(), root.describe());
    assert_eq!(root.describe(), restarted.describe());
}

/// Runs the whole suite for authorities that sign with `algorithm`; `open` opens one of two, anew each time.
pub(crate) async fn every_authority_conforms(
    algorithm: SignatureAlgorithm,
    open: impl AsyncFn(Which) -> Arc<dyn Authority>,
) {
    let authority = open(Which::This).await;
    assert_eq!(authority.check().await.unwrap(), Vec::<String>::new());
    signs_what_others_verify(&*authority, algorithm).await;
    verifies_nothing_altered(&*authority).await;
    is_the_same_after_a_restart(&*authority, &*open(Which::This).await).await;
    is_another_with_another_key(&*authority, &*open(Which::Another).await).await;
    signs_for_many_at_once(&authority).await;
}

/// Checks a signature with a library that took no part in it, where it took part.
fn others_verify(signed: &AuthoritySignature, message: &[u8]) -> bool {
    match signed.algorithm {
        SignatureAlgorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &signed.public_key)
            .verify(message, &signed.signature)
            .is_ok(),
        SignatureAlgorithm::EcdsaP256Sha256 => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &signed.public_key[26..])
                .verify(message, &signed.signature)
                .is_ok()
        }
    }
}

async fn signs_what_others_verify(authority: &dyn Authority, algorithm: SignatureAlgorithm) {
    let whole = vec![b'x'; 4096];
    for message in [&b"a"[..], b"keypod-audit-certificate/v1\nlog a/b\n", &[0, 255, 10], &whole] {
        let signed = authority.sign(message).await.unwrap();
        assert_eq!(signed.algorithm, algorithm);
        assert_eq!(signed.name, authority.describe().name);
        assert!(signed_note::is_key_name_valid(&signed.name), "{}", signed.name);
        assert!(signed.verifies(message) && others_verify(&signed, message));
    }
}

async fn verifies_nothing_altered(authority: &dyn Authority) {
    let message = b"log a/b";
    let signed = authority.sign(message).await.unwrap();
    for bit in 0..message.len() * 8 {
        let mut changed = *message;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!signed.verifies(&changed) && !others_verify(&signed, &changed), "bit {bit}");
    }
    for bit in 0..signed.signature.len() * 8 {
        let mut changed = signed.clone();
        changed.signature[bit / 8] ^= 1 << (bit % 8);
        assert!(!changed.verifies(message), "bit {bit} of the signature");
    }
    for bit in 0..signed.public_key.len() * 8 {
        let mut changed = signed.clone();
        changed.public_key[bit / 8] ^= 1 << (bit % 8);
        assert!(!changed.verifies(message), "bit {bit} of the key");
    }
    for extra in [&b"\0"[..], b"\n"] {
        assert!(!signed.verifies(&[message, extra].concat()));
        let signature = [&signed.signature, extra].concat();
        assert!(!AuthoritySignature { signature, ..signed.clone() }.verifies(message));
        let public_key = [&signed.public_key, extra].concat();
        assert!(!AuthoritySignature { public_key, ..signed.clone() }.verifies(message));
    }
}

async fn is_the_same_after_a_restart(authority: &dyn Authority, restarted: &dyn Authority) {
    let signed = authority.sign(b"log a/b").await.unwrap();
    let again = restarted.sign(b"log a/b").await.unwrap();
    assert_eq!((&signed.name, &signed.public_key), (&again.name, &again.public_key));
    assert_eq!(authority.describe(), restarted.describe());
}

async fn is_another_with_another_key(authority: &dyn Authority, another: &dyn Authority) {
    let signed = authority.sign(b"log a/b").await.unwrap();
    let other = another.sign(b"log a/b").await.unwrap();
    assert_ne!(signed.public_key, other.public_key);
    let forged = AuthoritySignature { signature: other.signature, ..signed };
    assert!(!forged.verifies(b"log a/b"));
}

async fn signs_for_many_at_once(authority: &Arc<dyn Authority>) {
    let tasks: Vec<_> = (0..32_u8)
        .map(|number| {
            let authority = Arc::clone(authority);
            tokio::spawn(async move {
                let signed = authority.sign(&[number; 100]).await.unwrap();
                assert!(others_verify(&signed, &[number; 100]));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
