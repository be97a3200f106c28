//! Reads and writes JSON bodies. An error about a body names a field or a place, never a value: values are
//! plaintext.

use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

use super::answer::Answer;
use super::error::Failure;
use super::wire;
use crate::audit::Receipt;
use crate::secret::WipedBytes;
use crate::service::Code;

/// Parses a whole body.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice::<wire::Object<T>>(body)
        .map(|wire::Object(value)| value)
        .map_err(|error| Failure::new(Code::InvalidRequest, describe(&error)))
}

/// What to do about `error`, without any value of the body. Only texts that are known to hold none go out.
pub(super) fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = text.strip_suffix(&place).unwrap_or(&text);
    let names_a_field = ["missing field `", "duplicate field `", "unknown field `"];
    if error.is_data() {
        if names_a_field.iter().any(|start| message.starts_with(start)) {
            return format!("{}{place}", shortened(message));
        }
        if wire::is_own_text(message) {
            return format!("{message}{place}");
        }
        // What was expected is a text of this program; what came instead stands before it and stays here.
        let expected =
            message.rsplit_once(", expected ").map_or("see /openapi.json", |(_, text)| text);
        return format!("a value is of the wrong kind{place}: {expected}");
    }
    format!("the body is not valid JSON in UTF-8{place}")
}

/// A message that names an unknown field, with that name cut: it is the caller's, of any length.
fn shortened(message: &str) -> String {
    let Some((start, rest)) = message.split_once('`') else { return message.to_owned() };
    let Some((name, rest)) = rest.split_once("`, expected") else { return message.to_owned() };
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("{start}`{name}`, expected{rest}")
}

/// An answer without secrets.
pub(super) fn answer(receipt: &Receipt, status: StatusCode, body: &impl Serialize) -> Answer {
    let mut bytes = Vec::new();
    write(&mut bytes, body);
    Answer::new(receipt, with_body(status, Body::from(bytes)))
}

/// A success without secrets, of about `size_hint` bytes.
pub(super) fn sized_answer(receipt: &Receipt, body: &impl Serialize, size_hint: usize) -> Answer {
    let mut bytes = Vec::with_capacity(size_hint);
    write(&mut bytes, body);
    Answer::new(receipt, with_body(StatusCode::OK, Body::from(bytes)))
}

/// An answer with plaintext in it, wiped once it is sent. It has at most `size_max` bytes: if it grew, plaintext
/// would stay behind.
pub(super) fn secret_answer(receipt: &Receipt, body: &impl Serialize, size_max: usize) -> Answer {
    let mut bytes = WipedBytes::with_capacity(size_max);
    write(&mut bytes, body);
    Answer::new(receipt, with_body(StatusCode::OK, Body::from(Bytes::from_owner(bytes))))
}

/// Bytes of the base64 of `bytes` bytes, with what may stand around it.
pub(super) fn text_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4 + 8
}

/// Writes `body` as JSON.
fn write(bytes: &mut Vec<u8>, body: &impl Serialize) {
    let mut serializer = serde_json::Serializer::with_formatter(bytes, BytesAreText);
    // Serialising these types into memory cannot fail; an empty body would be noticed.
    let _ = body.serialize(&mut serializer);
}

/// JSON in which bytes are a string as they stand: only the texts of `wire` are serialised as bytes, and base64 has
/// nothing in it to escape. A string would be searched for that byte by byte.
struct BytesAreText;

impl Formatter for BytesAreText {
    fn write_byte_array<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        text: &[u8],
    ) -> io::Result<()> {
        writer.write_all(b"\"")?;
        writer.write_all(text)?;
        writer.write_all(b"\"")
    }
}

fn with_body(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(body: &str) -> String {
        let error = serde_json::from_str::<wire::EncryptRequest<'_>>(body).err().unwrap();
        describe(&error)
    }

    #[test]
    fn an_unknown_field_is_named() {
        let text = error_of(r#"{"key":"a","plaintext":"","contxt":{}}"#);
        assert!(text.contains("`contxt`") && text.contains("`context`"), "{text}");
        let long = format!(r#"{{"key":"a","plaintext":"","{}":1}}"#, "x".repeat(1000));
        assert!(error_of(&long).len() < 200);
    }

    #[test]
    fn no_error_repeats_a_value() {
        for body in [
            r#"{"key":"CANARY","plaintext":""}"#,
            r#"{"key":"a","plaintext":"CANARY"}"#,
            r#"{"key":"a","plaintext":["CANARY"]}"#,
            r#"{"key":"a","plaintext":"","context":"CANARY"}"#,
            r#"{"key":"a","plaintext":"","context":{"CANARY":"x"}}"#,
            r#"{"key":"a","plaintext":"","context":{"a":["CANARY"]}}"#,
            r#"["CANARY"]"#,
            r#""CANARY""#,
            r#"{"key":"a","plaintext":"CANARY"#,
            r#"{"key":{"CANARY":1}}"#,
            r#"{"key":["x, expected CANARY"]}"#,
            r#"{"key":"a","plaintext":"","context":"x, expected CANARY"}"#,
            r#"{"key":"a","plaintext":"","context":{"a":1},"x, expected CANARY":1}"#,
        ] {
            if let Err(error) = serde_json::from_str::<wire::EncryptRequest<'_>>(body) {
                assert!(!describe(&error).contains("CANARY"), "{body}: {}", describe(&error));
            }
        }
    }

    #[test]
    fn an_array_does_not_stand_for_an_object_nor_an_object_for_a_state() {
        assert!(parse::<wire::EncryptRequest<'_>>(br#"["demo","aGVsbG8="]"#).is_err());
        assert!(parse::<wire::StateRequest>(br#"{"state":{"enabled":null}}"#).is_err());
        assert!(parse::<wire::StateRequest>(br#"{"state":"destroyed"}"#).is_err());
        assert!(parse::<wire::StateRequest>(br#"{"state":"decrypt_only"}"#).is_ok());
        let batch = |items: &str| {
            let body = format!(r#"{{"key":"demo","items":[{items}]}}"#);
            parse::<wire::EncryptBatchRequest<'_>>(body.as_bytes()).map(drop)
        };
        assert!(batch(r#"["aGVsbG8="]"#).is_err());
        assert!(batch(r#"{"plaintext":"aGVsbG8="}"#).is_ok());
        let many = vec![r#"{"plaintext":""}"#; 16_385].join(",");
        assert!(batch(&many).is_err());
    }

    #[test]
    fn an_error_says_where_and_what() {
        assert!(error_of(r#"{"key":"a"}"#).contains("missing field `plaintext`"));
        assert!(error_of(r#"{"key":"a","key":"b"}"#).contains("duplicate field `key`"));
        assert!(error_of("{").contains("not valid JSON"));
        assert!(error_of(r#"{"key":"A"}"#).contains("a key name is 1 to 64"));
        let text = error_of(r#"{"key":"a","plaintext":"","context":{"A":"x"}}"#);
        assert!(text.contains("a name in a context"), "{text}");
        assert!(error_of(r#"{"key":"a","plaintext":"","context":null}"#).contains("context"));
    }
}
