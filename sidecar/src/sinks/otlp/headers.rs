//! Reads the headers that go with each request out of a file: they may hold a token.

use std::path::Path;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::NAME;
use crate::sinks::{SinkError, tls};

const FILE_BYTES_MAX: u64 = 64 << 10;
const HEADERS_MAX: usize = 32;
/// What Keypod itself, or HTTP, says in them.
const NOT_TO_BE_SET: [&str; 9] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const WANTED: &str = "lines of `Name: value`, up to 32, of headers that are not HTTP's own; lines that are empty or begin with `#` are left out";

/// The headers in `path`, as values that no log shows.
pub(super) fn read(path: &Path) -> Result<HeaderMap, SinkError> {
    let bytes = tls::read(NAME, path, FILE_BYTES_MAX)?;
    let wrong = || SinkError::Content { sink: NAME, path: path.to_owned(), wanted: WANTED };
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    let mut headers = HeaderMap::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        if NOT_TO_BE_SET.contains(&name.as_str()) || headers.len() >= HEADERS_MAX {
            return Err(wrong());
        }
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<HeaderMap, SinkError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn headers_are_read_and_not_shown() {
        let headers =
            read_text("# of the collector\n\nAuthorization: Bearer a:b c\r\nX-Scope: clinic\n");
        let headers = headers.unwrap();
        assert_eq!(headers["authorization"], "Bearer a:b c");
        assert_eq!((&headers["x-scope"], headers.len()), (&HeaderValue::from_static("clinic"), 2));
        assert!(!format!("{headers:?}").contains("Bearer"), "{headers:?}");
    }

    #[test]
    fn what_is_no_header_or_one_of_https_own_is_refused_and_not_repeated() {
        let many = "X: y\n".repeat(33);
        for text in
            ["secret", "a b: secret", "A: sec\u{1}ret", "Host: secret", "content-type: x", &many]
        {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.contains("Name: value") && !error.contains("secret"), "{error}");
        }
        let long = "x".repeat(70_000);
        assert!(matches!(read_text(&long), Err(SinkError::Unreadable { .. })));
    }
}
