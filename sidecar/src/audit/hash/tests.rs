use super::*;
use crate::envelope::{Context, data_key};
use crate::names::{KeyId, KeyRef};
use crate::secret::{KeyVersionSecret, Protection};

fn arena() -> Arena {
    Arena::with_protection_at_most(Protection::Heap).unwrap()
}

/// Of the version that `docs/audit-log.md` gives vectors for.
fn documented(version: u32) -> AuditHashKey {
    let arena = arena();
    let secret = KeyVersionSecret::fill(&arena, |bytes| {
        bytes.iter_mut().zip(0..).for_each(|(byte, value)| *byte = value);
        Ok::<_, Infallible>(())
    });
    let version = KeyVersion::new(version).unwrap();
    let key = KeyRef { id: KeyId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7]), version };
    let data_key = data_key(&arena, key, &secret.unwrap(), None).unwrap();
    AuditHashKey::derive(&arena, &data_key).unwrap()
}

fn context(pairs: &[(&str, &str)]) -> [u8; 32] {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Context::new(pairs).unwrap().digest()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_documented_vectors_hold() {
    let page = include_str!("../../../../docs/audit-log.md");
    let key = documented(3);
    let subject = key.entry(key.subject("patient-4711")).to_string();
    let digest = context(&[("tenant", "clinic-7"), ("subject", "patient-4711")]);
    let context = key.entry(key.context(&digest)).to_string();
    assert_eq!(subject, "3:x-owB2JYRk5YdnDfXETNJA");
    assert_eq!(context, "3:1PDHDiNtyofcvnuZawBPEQ");
    assert_eq!(
        hex(key.secret.expose_bytes()),
        "b9fcd258b02ed24cc0d31cf1547113540710fee6dd1ae80fcc7c2bf781e148e8"
    );
    let header: Vec<u8> = (0..71).collect();
    let ciphertext = ciphertext_hash(&header).unwrap();
    for vector in [subject, context, hex(key.secret.expose_bytes()), hex(&digest), ciphertext] {
        assert!(page.contains(&vector), "docs/audit-log.md has no {vector}");
    }
}

#[test]
fn a_subject_and_a_context_never_have_one_hash() {
    let key = documented(1);
    let digest = [b'a'; 32];
    assert_ne!(key.subject(std::str::from_utf8(&digest).unwrap()), key.context(&digest));
}

#[test]
fn every_version_hashes_otherwise_and_every_subject_too() {
    let (one, two) = (documented(1), documented(2));
    assert_ne!(one.subject("a"), two.subject("a"));
    assert_ne!(one.subject("a"), one.subject("b"));
    assert_ne!(one.subject(""), one.subject("\0"));
    assert_eq!(one.subject("a"), documented(1).subject("a"));
}

#[test]
fn a_hash_reads_back_what_it_writes_and_nothing_else() {
    let hash = documented(7).entry([0xfb; HASH_BYTES]);
    assert_eq!(hash.to_string().parse(), Ok(hash));
    let text = hash.to_string();
    for bad in ["", ":", "7", "0:-_v7-_v7-_v7-_v7-_v7-w", &text[1..], &text[..text.len() - 1]] {
        assert_eq!(bad.parse::<AuditHash>(), Err(NoAuditHash), "{bad}");
    }
    for bad in [format!("{text}="), format!("{text}A"), format!(" {text}"), format!("0{text}")] {
        assert_eq!(bad.parse::<AuditHash>(), Err(NoAuditHash), "{bad}");
    }
}

#[test]
fn a_ciphertext_is_told_by_its_header_alone() {
    let header: Vec<u8> = (0..71).collect();
    let longer = [&header[..], b"more"].concat();
    assert_eq!(ciphertext_hash(&header), ciphertext_hash(&longer));
    assert_eq!(ciphertext_hash(&header).unwrap().len(), 11);
    assert_eq!(ciphertext_hash(&header[..70]), None);
    let mut changed = header.clone();
    changed[70] ^= 1;
    assert_ne!(ciphertext_hash(&header), ciphertext_hash(&changed));
}

#[test]
fn debug_shows_no_key() {
    let debug = format!("{:?}", documented(1));
    assert!(debug.contains("AuditHashSecret(32 bytes)"), "{debug}");
}
