use proptest::prelude::*;

use super::*;

fn decoded(text: &str) -> Result<Vec<u8>, NotOurs> {
    decode_text(text).map(|buffer| buffer.as_bytes().to_vec())
}

#[test]
fn every_length_comes_back_from_its_text() {
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    for len in 0..=bytes.len() {
        let text = encode_text(&bytes[..len]);
        assert_eq!(text.len(), PREFIX.len() + digits(len));
        assert_eq!(decoded(&text).unwrap(), bytes[..len]);
        let mut appended = b"{\"ciphertext\":\"".to_vec();
        encode_text_into(&bytes[..len], &mut appended);
        assert_eq!(appended, format!("{{\"ciphertext\":\"{text}").into_bytes());
    }
}

#[test]
fn appending_stays_in_an_allocation_that_is_large_enough() {
    let mut text = Vec::with_capacity(200);
    let place = text.as_ptr();
    encode_text_into(&[7; 87], &mut text);
    assert_eq!((text.as_ptr(), text.len()), (place, 4 + 116));
}

#[test]
fn the_alphabet_is_the_one_for_urls() {
    assert_eq!(encode_text(&[0xfb, 0xef, 0xff]), "kp1.--__");
    assert_eq!(decoded("kp1.--__").unwrap(), [0xfb, 0xef, 0xff]);
    assert_eq!(decoded("kp1.++//"), Err(NotOurs::Text));
}

#[test]
fn a_byte_has_one_text_alone() {
    // Of the 16 ways to set the bits that no byte uses, one is right.
    let right: Vec<_> = (b'!'..=b'~')
        .filter(|last| decoded(&format!("kp1.A{}", char::from(*last))).is_ok())
        .collect();
    assert_eq!(right, b"AQgw");
    for wrong in
        ["kp1.AA==", "kp1.AA=", "kp1.A", "kp1.AAAAA", "kp1.AA\n", " kp1.AA", "KP1.AA", "kp1AA"]
    {
        assert_eq!(decoded(wrong), Err(NotOurs::Text), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn text_that_decodes_encodes_to_itself(text in "kp1\\.[A-Za-z0-9_=+/ -]{0,12}") {
        if let Ok(bytes) = decoded(&text) {
            prop_assert_eq!(encode_text(&bytes), text);
        }
    }

    #[test]
    fn decoding_anything_ends_in_bytes_or_a_refusal(text in ".{0,60}") {
        let _ = decoded(&text);
    }
}
