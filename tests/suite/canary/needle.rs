//! A secret in every spelling in which it could leave.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A secret to look for: as it is, in hexadecimal, in both base64 alphabets at each of the three places that it
/// can stand in a longer text, escaped for JSON, and as a list of numbers.
pub(super) struct Needle {
    what: &'static str,
    spellings: Vec<(&'static str, Vec<u8>)>,
}

impl Needle {
    pub(super) fn new(what: &'static str, secret: &[u8]) -> Self {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers: Vec<_> = secret.iter().map(u8::to_string).collect();
        let mut spellings = vec![
            ("raw", secret.to_vec()),
            ("hexadecimal", hex.to_uppercase().into_bytes()),
            ("hexadecimal", hex.into_bytes()),
            ("numbers", numbers.join(", ").into_bytes()),
            ("numbers", numbers.join(",").into_bytes()),
            ("escaped", secret.escape_ascii().to_string().into_bytes()),
        ];
        for shift in 0..3 {
            let shifted = [&vec![0; shift][..], secret].concat();
            for (spelling, engine) in [("base64", STANDARD_NO_PAD), ("base64url", URL_SAFE_NO_PAD)]
            {
                // The characters that the bytes before and after have a part in are left out.
                let text = engine.encode(&shifted);
                let from = (shift * 8).div_ceil(6);
                let to = shifted.len() * 8 / 6;
                spellings.push((spelling, text.as_bytes()[from..to].to_vec()));
            }
        }
        Self { what, spellings }
    }

    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// The spelling in which it stands in `bytes`.
    pub(super) fn found_in(&self, bytes: &[u8]) -> Option<&'static str> {
        let stands = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        self.spellings.iter().find(|(_, needle)| stands(needle)).map(|(spelling, _)| *spelling)
    }
}

#[test]
fn every_spelling_of_a_secret_is_found() {
    let secret: Vec<u8> = (0_u8..32).map(|number| number.wrapping_mul(37)).collect();
    let needle = Needle::new("secret", &secret);
    assert_eq!(needle.found_in(b"nothing of it"), None);
    let in_a_text = |before: usize| [&vec![b'x'; before][..], &secret, b"after it"].concat();
    for before in 0..6 {
        let text = in_a_text(before);
        assert_eq!(needle.found_in(&text), Some("raw"));
        let hex: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(needle.found_in(hex.as_bytes()), Some("hexadecimal"));
        assert_eq!(needle.found_in(STANDARD_NO_PAD.encode(&text).as_bytes()), Some("base64"));
        assert!(needle.found_in(URL_SAFE_NO_PAD.encode(&text).as_bytes()).is_some());
        assert_eq!(needle.found_in(format!("{text:?}").as_bytes()), Some("numbers"));
    }
    let escaped = serde_json::to_string(&String::from_utf8_lossy(b"a\"canary\"\n")).unwrap();
    assert!(Needle::new("text", b"canary").found_in(escaped.as_bytes()).is_some());
    let url = Needle::new("secret", &[0xfb, 0xff, 0xfe, 0xfb, 0xff, 0xfe]);
    assert_eq!(url.found_in(b"..-__--__-.."), Some("base64url"));
}
