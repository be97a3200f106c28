//! What an answer says, whichever way was asked.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keypod::http;
use keypod::policy::Action;
use keypod::service::Code;
use keypod_tests::Answer;
use serde_json::Value;

use super::asks::{Ask, Way};
use super::keys::MESSAGE;

/// The outcome of one request.
pub(super) struct Said {
    /// Of the answer, or what the code of the only item of a batch has for its status.
    pub(super) status: u16,
    code: String,
    title: Value,
    detail: Value,
    /// The headers' names; none of an item.
    headers: Option<BTreeSet<String>>,
}

impl Said {
    pub(super) fn of(ask: Ask, way: Way, answer: &Answer) -> Self {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let item = &body["items"][0]["error"];
        let is_item = way == Way::Batch && answer.status == 200 && item.is_object();
        let problem = if is_item { item } else { &body };
        let mut code = problem["code"].as_str().unwrap_or_default().to_owned();
        let opens = ask.action() == Action::Decrypt;
        if opens && code.is_empty() && !is_the_message(way, answer, &body) {
            "and another message".clone_into(&mut code);
        }
        Self {
            status: if is_item { status_of(&code) } else { answer.status },
            code,
            title: problem["title"].clone(),
            detail: problem["detail"].clone(),
            headers: (!is_item).then(|| answer.headers.keys().map(ToString::to_string).collect()),
        }
    }

    /// As the table writes it: the status, and the code unless it is the one that the table's head says for that status.
    pub(super) fn text(&self) -> String {
        match (self.status, self.code.as_str()) {
            (status @ 200..300, "")
            | (status @ 401, "unauthenticated")
            | (status @ 403, "forbidden")
            | (status @ 404, "key_not_found")
            | (status @ 410, "version_destroyed") => status.to_string(),
            (status, code) => format!("{status} {code}"),
        }
    }

    /// Everything that tells it from another refusal, but for what names this one request.
    pub(super) fn words(&self) -> String {
        format!("{} {} {}", self.code, self.title, self.detail)
    }

    /// The names of its headers, if it is a whole answer.
    pub(super) fn headers(&self) -> Option<&BTreeSet<String>> {
        self.headers.as_ref()
    }
}

fn is_the_message(way: Way, answer: &Answer, body: &Value) -> bool {
    let text = Value::from(STANDARD.encode(MESSAGE));
    match way {
        Way::Json => body["plaintext"] == text,
        Way::Octets => answer.body == MESSAGE,
        Way::Batch => body["items"][0]["plaintext"] == text,
    }
}

fn status_of(code: &str) -> u16 {
    let known = Code::ALL.into_iter().find(|known| known.as_str() == code);
    known.map_or(0, |known| http::status_of(known).as_u16())
}
