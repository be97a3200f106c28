//! What every refusal must look like (API.md, "Errors"; RFC 9457).

use crate::Answer;

impl Answer {
    /// Checks that this is the problem `code` with `status`, in all its parts.
    ///
    /// # Panics
    /// If a part is missing or wrong.
    pub fn assert_problem(&self, status: u16, code: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!((self.status, self.code().as_str()), (status, code), "{text}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{code}");
        assert_eq!(self.header("cache-control"), "no-store", "{code}");
        let problem = self.json();
        let problem = problem.as_object().expect("an object");
        let mut fields: Vec<_> = problem.keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["code", "detail", "request_id", "status", "title", "type"], "{code}");
        let field = |name: &str| problem.get(name).and_then(|value| value.as_str()).unwrap_or("");
        assert_eq!(field("type"), format!("urn:keypod:error:{code}"));
        assert_eq!(problem.get("status").and_then(serde_json::Value::as_u64), Some(status.into()));
        assert!(!field("title").is_empty() && !field("detail").is_empty(), "{text}");
        assert!(!field("request_id").is_empty(), "{text}");
        assert_eq!(field("request_id"), self.header("x-request-id"), "{code}");
        self.assert_headers_of(status, code);
    }

    fn assert_headers_of(&self, status: u16, code: &str) {
        let seconds = self.header("retry-after").parse::<u64>();
        let wants_retry = matches!(status, 429 | 503);
        assert_eq!(seconds.is_ok_and(|seconds| seconds > 0), wants_retry, "Retry-After of {code}");
        assert_eq!(!self.header("allow").is_empty(), status == 405, "Allow of {code}");
        let challenge = if status == 401 { "Bearer" } else { "" };
        assert_eq!(self.header("www-authenticate"), challenge, "WWW-Authenticate of {code}");
    }
}
