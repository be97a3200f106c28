//! Takes out of somebody else's words what could be a credential. Depends on nothing.

/// More of a message is not shown.
const CHARS_MAX: usize = 400;

/// A run of this many letters, digits and signs of base64 could be a key, a token or a signature.
const RUN_MIN: usize = 32;

const REDACTED: &str = "[redacted]";

/// `text` on one line, without what could be a key, a token, a signature or an address with a user part. ARNs and
/// key ids stay: they name the key and the caller to the operator.
pub(super) fn redacted(text: &str) -> String {
    let words = text.split(|char: char| char.is_whitespace() || char.is_control());
    let words = words.filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(|word| if is_risky(word) { REDACTED } else { word }).collect();
    let line = words.join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn is_risky(word: &str) -> bool {
    let bare = word.trim_matches(|char: char| !char.is_ascii_alphanumeric());
    if word.contains("://") && word.contains('@') {
        return true;
    }
    if bare.starts_with("arn:") || is_key_id(bare.trim_start_matches("key/")) {
        return false;
    }
    let of_a_run = |char: char| char.is_ascii_alphanumeric() || "+/=_-".contains(char);
    word.split(|char| !of_a_run(char)).any(|run| run.len() >= RUN_MIN || is_access_key_id(run))
}

/// A UUID, or the `mrk-` and 32 digits of a multi-Region key.
fn is_key_id(word: &str) -> bool {
    let digits = word.strip_prefix("mrk-").unwrap_or(word);
    word.len() == 36 && digits.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn is_access_key_id(run: &str) -> bool {
    ["AKIA", "ASIA"].iter().any(|prefix| run.starts_with(prefix))
        && run.len() >= 16
        && run.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
