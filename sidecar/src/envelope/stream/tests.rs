use super::super::testing::{
    context_of, key, key_of, key_ref, open_in_segments, sealed, sealed_in_segments,
};
use super::*;
use crate::secret::OpenBuffer;

fn segment(len: usize) -> SealSegment {
    let mut segment = SealSegment::new();
    segment.fill_from(&mut vec![7; len].as_slice());
    segment
}

fn sealer() -> SegmentSealer {
    SegmentSealer::new(&key(), &Context::empty()).unwrap()
}

/// A message of three segments: its opener, and the segments.
fn three_segments() -> (SegmentOpener, Vec<Vec<u8>>) {
    let message = sealed_in_segments(&key(), &Context::empty(), &vec![7; 2 * SEGMENT_BYTES + 5]);
    let header = Header::parse(&message).unwrap();
    let segments = message[HEADER_BYTES..].chunks(SEALED_SEGMENT_BYTES).map(<[u8]>::to_vec);
    (SegmentOpener::new(&key(), &Context::empty(), &header).unwrap(), segments.collect())
}

fn open_next(opener: &mut SegmentOpener, segment: &[u8], last: LastSegment) -> Option<usize> {
    let segment = OpenBuffer::from_received(segment.to_vec());
    opener.open(segment, last).ok().map(|plaintext| plaintext.len())
}

#[test]
fn a_segment_takes_what_fits_and_leaves_the_rest() {
    let mut segment = SealSegment::new();
    assert!(segment.is_empty() && !segment.is_full());
    let input = vec![1; SEGMENT_BYTES + 3];
    let mut bytes = &input[..10];
    segment.fill_from(&mut bytes);
    assert_eq!((segment.len(), bytes.len()), (10, 0));
    let mut bytes = input.as_slice();
    segment.fill_from(&mut bytes);
    assert_eq!((segment.len(), bytes.len()), (SEGMENT_BYTES, 13));
    assert!(segment.is_full() && !segment.is_empty());
    segment.fill_from(&mut bytes);
    assert_eq!((segment.len(), bytes.len()), (SEGMENT_BYTES, 13));
    assert_eq!(format!("{segment:?}"), "SealSegment(65536 bytes)");
}

#[test]
fn a_segment_never_leaves_its_allocation() {
    let segment = segment(SEGMENT_BYTES);
    let with_room = segment.expose_with_room_for_tag();
    assert_eq!(with_room.capacity(), SEALED_SEGMENT_BYTES);
    assert_eq!(with_room.len(), SEALED_SEGMENT_BYTES);
}

#[test]
fn a_sealer_refuses_everything_after_the_last_segment() {
    let mut sealer = sealer();
    sealer.seal(segment(SEGMENT_BYTES), LastSegment::No).unwrap();
    sealer.seal(segment(SEGMENT_BYTES), LastSegment::Yes).unwrap();
    assert_eq!(sealer.seal(segment(SEGMENT_BYTES), LastSegment::No), Err(StreamError::Ended));
    assert_eq!(sealer.seal(segment(1), LastSegment::Yes), Err(StreamError::Ended));
}

#[test]
fn a_sealer_refuses_everything_after_an_error() {
    let mut short = sealer();
    assert_eq!(short.seal(segment(1), LastSegment::No), Err(StreamError::NotFull));
    assert_eq!(short.seal(segment(1), LastSegment::Yes), Err(StreamError::Ended));

    let mut empty = sealer();
    empty.seal(segment(SEGMENT_BYTES), LastSegment::No).unwrap();
    assert_eq!(empty.seal(segment(0), LastSegment::Yes), Err(StreamError::EmptyLast));
    assert_eq!(empty.seal(segment(1), LastSegment::Yes), Err(StreamError::Ended));
}

#[test]
fn an_opener_opens_segments_in_their_order() {
    let (mut opener, segments) = three_segments();
    assert_eq!(open_next(&mut opener, &segments[0], LastSegment::No), Some(SEGMENT_BYTES));
    assert_eq!(open_next(&mut opener, &segments[1], LastSegment::No), Some(SEGMENT_BYTES));
    assert_eq!(open_next(&mut opener, &segments[2], LastSegment::Yes), Some(5));
}

#[test]
fn an_opener_refuses_everything_after_the_last_segment() {
    let message = sealed_in_segments(&key(), &Context::empty(), b"only one");
    let header = Header::parse(&message).unwrap();
    let mut opener = SegmentOpener::new(&key(), &Context::empty(), &header).unwrap();
    assert_eq!(open_next(&mut opener, &message[HEADER_BYTES..], LastSegment::Yes), Some(8));
    assert_eq!(open_next(&mut opener, &message[HEADER_BYTES..], LastSegment::Yes), None);
}

#[test]
fn an_opener_refuses_everything_after_an_error() {
    // Each first segment is wrong; the right one is refused after it.
    let (_, segments) = three_segments();
    let mut flipped = segments[0].clone();
    flipped[9] ^= 1;
    let wrong: [(&[u8], LastSegment); 7] = [
        (&flipped, LastSegment::No),
        (&segments[1], LastSegment::No),
        (&segments[0], LastSegment::Yes),
        (&segments[2], LastSegment::Yes),
        (&segments[2], LastSegment::No),
        (&segments[0][..15], LastSegment::Yes),
        (&[], LastSegment::Yes),
    ];
    for (bytes, last) in wrong {
        let (mut opener, segments) = three_segments();
        assert_eq!(open_next(&mut opener, bytes, last), None);
        assert_eq!(open_next(&mut opener, &segments[0], LastSegment::No), None);
    }
}

/// Parts that only a holder of the key could make: authentic, and still not ours.
#[test]
fn authentic_parts_of_a_wrong_length_do_not_open() {
    let sealing = || {
        let sealer = sealer();
        let header = [sealer.header().as_slice(), &[0; TAG_BYTES]].concat();
        (sealer, Header::parse(&header).unwrap())
    };
    for (len, index, last) in [
        (SEGMENT_BYTES + 1, 0, LastSegment::Yes),
        (SEGMENT_BYTES + 1, 0, LastSegment::No),
        (SEGMENT_BYTES - 1, 0, LastSegment::No),
        (0, 0, LastSegment::No),
    ] {
        let (sealer, header) = sealing();
        let mut part = vec![0; len + TAG_BYTES];
        assert!(sealer.cipher.seal(&segment_nonce(index, last), &mut part).is_ok());
        let mut opener = SegmentOpener::new(&key(), &Context::empty(), &header).unwrap();
        assert_eq!(open_next(&mut opener, &part, last), None, "{len} bytes, {last:?}");
    }

    let (sealer, header) = sealing();
    let mut first = vec![0; SEALED_SEGMENT_BYTES];
    let mut empty = vec![0; TAG_BYTES];
    assert!(sealer.cipher.seal(&segment_nonce(0, LastSegment::No), &mut first).is_ok());
    assert!(sealer.cipher.seal(&segment_nonce(1, LastSegment::Yes), &mut empty).is_ok());
    let mut opener = SegmentOpener::new(&key(), &Context::empty(), &header).unwrap();
    assert_eq!(open_next(&mut opener, &first, LastSegment::No), Some(SEGMENT_BYTES));
    assert_eq!(open_next(&mut opener, &empty, LastSegment::Yes), None);
    let message = [sealer.header().as_slice(), &first, &empty].concat();
    assert_eq!(super::super::testing::opened(&key(), &Context::empty(), &message), None);
}

#[test]
fn an_opener_needs_the_right_key_context_and_suite() {
    let message = sealed_in_segments(&key(), &Context::empty(), b"x");
    let header = Header::parse(&message).unwrap();
    let new = |key: &DataKey, context: &Context| SegmentOpener::new(key, context, &header).is_ok();
    assert!(new(&key(), &Context::empty()));
    assert!(!new(&key_of(key_ref(1, 7), 8, None), &Context::empty()));
    assert!(!new(&key(), &context_of(&[("a", "")])));

    let whole = Header::parse(&sealed(&key(), &Context::empty(), b"x")).unwrap();
    assert!(SegmentOpener::new(&key(), &Context::empty(), &whole).is_err());
}

#[test]
fn a_reader_can_seek_to_a_segment_by_its_index() {
    // FORMAT.md: segment i starts at 71 + i * 65,552.
    let message = sealed_in_segments(&key(), &Context::empty(), &vec![7; 3 * SEGMENT_BYTES]);
    assert_eq!(message.len(), 71 + 3 * 65_552);
    assert!(open_in_segments(&key(), &Context::empty(), &message).is_ok());
}
