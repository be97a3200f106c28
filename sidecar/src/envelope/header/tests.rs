use super::super::Context;
use super::super::testing::{context_of, key, key_of, key_ref, sealed, sealed_in_segments};
use super::*;

/// Every field of the header at its place.
fn message() -> Vec<u8> {
    let subject = context_of(&[("subject", "s")]);
    sealed(&key_of(key_ref(0xab, 0x0102_0304), 9, Some(3)), &subject, b"")
}

#[test]
fn a_sealed_header_has_every_field_at_its_place() {
    let message = message();
    assert_eq!(message[..3], [0x01, 0x01, 0x01]);
    assert_eq!(message[3..11], [0xab; 8]);
    assert_eq!(message[11..15], [1, 2, 3, 4]);
    let header = Header::parse(&message).unwrap();
    assert_eq!(header.suite(), Suite::Whole);
    assert_eq!(header.key(), key_ref(0xab, 0x0102_0304));
    assert!(header.mixes_subject());
    assert_eq!(header.as_bytes()[..], message[..71]);
    assert_eq!(header.start(), &message[..39]);
    assert_eq!(header.commitment(), &message[39..71]);

    let segmented = sealed_in_segments(&key(), &Context::empty(), b"");
    let header = Header::parse(&segmented).unwrap();
    assert_eq!((header.suite(), header.mixes_subject()), (Suite::Segmented, false));
}

#[test]
fn a_header_parses_only_with_87_bytes() {
    let message = message();
    assert_eq!(message.len(), FORMAT_OVERHEAD_BYTES);
    for len in 0..FORMAT_OVERHEAD_BYTES {
        assert_eq!(Header::parse(&message[..len]), Err(NotOurs::TooShort), "{len}");
    }
    assert!(Header::parse(&message).is_ok());
    assert!(Header::parse(&[message, vec![0; 100]].concat()).is_ok());
}

#[test]
fn every_value_of_the_first_three_bytes_but_ours_is_refused() {
    let message = message();
    let parsed_with = |at: usize, value: u8| {
        let mut changed = message.clone();
        changed[at] = value;
        Header::parse(&changed).map(|header| (header.suite(), header.mixes_subject()))
    };
    for value in 0..=u8::MAX {
        let format = if value == 1 { Ok((Suite::Whole, true)) } else { Err(NotOurs::Format) };
        assert_eq!(parsed_with(0, value), format, "{value}");
        let suite = match value {
            1 => Ok((Suite::Whole, true)),
            2 => Ok((Suite::Segmented, true)),
            _ => Err(NotOurs::Suite),
        };
        assert_eq!(parsed_with(1, value), suite, "{value}");
        let flags = match value {
            0 | 1 => Ok((Suite::Whole, value == 1)),
            _ => Err(NotOurs::Flags),
        };
        assert_eq!(parsed_with(2, value), flags, "{value}");
    }
}

#[test]
fn every_changed_byte_of_a_header_is_refused_or_kept() {
    let message = message();
    let original = Header::parse(&message).unwrap();
    for at in 0..HEADER_BYTES {
        for bit in 0..8 {
            let mut changed = message.clone();
            changed[at] ^= 1 << bit;
            let Ok(header) = Header::parse(&changed) else {
                assert!(at < 3, "byte {at}");
                continue;
            };
            assert_eq!(header.as_bytes()[..], changed[..HEADER_BYTES]);
            assert_eq!(header.key().id != original.key().id, (3..11).contains(&at));
            assert_eq!(header.key().version != original.key().version, (11..15).contains(&at));
            assert_eq!(header.start() != original.start(), at < 39);
            assert_eq!(header.commitment() != original.commitment(), at >= 39);
        }
    }
}

#[test]
fn version_zero_does_not_parse() {
    let mut message = message();
    message[11..15].fill(0);
    assert_eq!(Header::parse(&message), Err(NotOurs::Version));
    message[14] = 1;
    assert_eq!(Header::parse(&message).unwrap().key().version.number(), 1);
}
