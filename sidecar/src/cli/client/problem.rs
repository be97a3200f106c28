//! Reads `application/problem+json` (RFC 9457; API.md, "Errors").

use std::fmt;

use http::StatusCode;
use serde::Deserialize;

/// What the sidecar answered instead of doing it.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    request_id: String,
}

impl Problem {
    /// The problem in `body`, or one that says only the status if there is none to read.
    pub(super) fn parse(status: StatusCode, body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| Self {
            title: format!("the answer is {status}"),
            detail: "it is not from a Keypod sidecar, or not whole".to_owned(),
            code: String::new(),
            request_id: String::new(),
        })
    }

    /// The code of API.md, such as `key_not_found`.
    pub(in crate::cli) fn code(&self) -> &str {
        &self.code
    }

    /// Whether the next file would be answered the same.
    pub(in crate::cli) fn concerns_every_request(&self) -> bool {
        matches!(self.code.as_str(), "unauthenticated" | "proxied_request" | "route_not_found")
    }
}

impl std::error::Error for Problem {}

/// `title: detail (code, request ID)`, without what is missing.
impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.title)?;
        if !self.detail.is_empty() {
            write!(formatter, ": {}", self.detail)?;
        }
        match (self.code.is_empty(), self.request_id.is_empty()) {
            (false, false) => write!(formatter, " ({}, request {})", self.code, self.request_id),
            (false, true) => write!(formatter, " ({})", self.code),
            (true, false) => write!(formatter, " (request {})", self.request_id),
            (true, true) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_with_its_code_and_request() {
        let body = br#"{"type":"urn:keypod:error:forbidden","title":"Not allowed","status":403,
            "code":"forbidden","detail":"Ask for it.","request_id":"r1"}"#;
        let problem = Problem::parse(StatusCode::FORBIDDEN, body);
        assert_eq!(problem.to_string(), "Not allowed: Ask for it. (forbidden, request r1)");
        let problem = Problem::parse(StatusCode::BAD_GATEWAY, b"<html>");
        assert!(problem.to_string().contains("502 Bad Gateway"));
    }
}
