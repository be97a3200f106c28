//! The one spelling of what Vault's transit engine wraps: `vault:vN:BASE64`.
//!
//! Vault reads more spellings than it writes: leading zeros and signs of the version, newlines in the base64, bits
//! past its end. Here a wrapped key has the one that Vault writes, so that no altered byte is ever taken. Tests:
//! `only_the_spelling_that_vault_writes_is_taken`, `a_root_with_an_approle_conforms`.

use base64::Engine as _;

use crate::secret::{KEY_BYTES, STANDARD};

/// Nonce, 32 bytes and tag: AES-GCM and ChaCha20-Poly1305, and XChaCha20-Poly1305 (OpenBao).
const SEALED_BYTES: [usize; 2] = [12 + KEY_BYTES + 16, 24 + KEY_BYTES + 16];
/// `vault:v`, ten digits, `:` and 96 characters of base64.
const TEXT_BYTES_MAX: usize = 7 + 10 + 1 + 96;

/// `wrapped` as text, if it is spelt as Vault spells what it wrapped of 32 bytes.
pub(super) fn text(wrapped: &[u8]) -> Option<&str> {
    if wrapped.len() > TEXT_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(wrapped).ok()?;
    let (version, sealed) = text.strip_prefix("vault:v")?.split_once(':')?;
    let digits = version.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || version.starts_with('0') || version.parse::<u32>().is_err() {
        return None;
    }
    // Strict: padding and the bits past the end are what they must be (`secret/base64.rs`).
    let bytes = STANDARD.decode(sealed).ok()?;
    SEALED_BYTES.contains(&bytes.len()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(len: usize) -> String {
        STANDARD.encode(vec![0xfb; len])
    }

    #[test]
    fn only_the_spelling_that_vault_writes_is_taken() {
        let good = format!("vault:v1:{}", sealed(60));
        assert_eq!(text(good.as_bytes()), Some(good.as_str()));
        assert!(text(format!("vault:v4294967295:{}", sealed(72)).as_bytes()).is_some());
        let heads =
            ["vault:v01:", "vault:v0:", "vault:v+1:", "vault:v-1:", "vault:v 1:", "vault:v:"];
        let more =
            ["vault:v4294967296:", "Vault:v1:", "vault:1:", "vault:v1", "v1:", "", "vault:v1::"];
        for head in heads.iter().chain(&more) {
            assert!(text(format!("{head}{}", sealed(60)).as_bytes()).is_none(), "{head}");
        }
        for len in [0, 28, 59, 61, 71, 73, 92] {
            assert!(text(format!("vault:v1:{}", sealed(len)).as_bytes()).is_none(), "{len}");
        }
    }

    #[test]
    fn newlines_missing_padding_and_bits_past_the_end_are_refused() {
        // 60 bytes have no padding, 72 neither: so these are of other lengths, and refused before they are measured.
        let good = format!("vault:v1:{}", sealed(60));
        for at in 0..=good.len() {
            for extra in ["\n", "\r", " ", "="] {
                let mut changed = good.clone();
                changed.insert_str(at, extra);
                assert!(text(changed.as_bytes()).is_none(), "{extra:?} at {at}");
            }
        }
        assert!(text(&[good.as_bytes(), &[0xff]].concat()).is_none());
    }
}
