//! What a caller asks for, from the moment that they are known to the entry that says what came of it.
//!
//! Invariant: an attempt becomes an entry whatever happens: it succeeds, it fails, or it is dropped because its client went
//! away or its handler panicked (`an_attempt_that_is_dropped_is_recorded_as_cancelled`). A success is given a
//! [`Receipt`] once the entry is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::entry::{Asker, ENTRY_BYTES_MAX, Entry, Millis, Outcome, add_members, part_member};
use super::facts::{Facts, Moved};
use super::hash::{AuditHash, CiphertextHash};
use super::{AppendError, Audit, Receipt};
use crate::envelope::Context;
use crate::names::{KeyName, KeyVersion};
use crate::policy::{Caller, Denied, Permit};

/// The name in a context of whom a message is about.
const SUBJECT: &str = "subject";
/// Codes that say that somebody was not allowed to, rather than that something did not work.
const DENIALS: [&str; 2] = ["forbidden", "unauthenticated"];
/// Bytes of items in one entry, with room for what else it says.
const ITEMS_BYTES_MAX: usize = ENTRY_BYTES_MAX - (16 << 10);

/// One attempt of a caller at an operation.
#[derive(Debug)]
pub struct Attempt {
    audit: Audit,
    caller: Caller,
    operation: &'static str,
    request: Arc<str>,
    facts: Facts,
    /// The first 16 digits of the hash of the policies that decided last.
    policy_set: Option<Arc<str>>,
    items: Vec<Item>,
    /// The item that is spoken of now, if not the whole.
    item: Option<usize>,
    detail: Map<String, Value>,
    is_ended: bool,
}

/// One item of a batch.
#[derive(Clone, Debug, Default, Serialize)]
struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(flatten)]
    facts: Facts,
}

impl Attempt {
    pub(super) fn new(
        audit: Audit,
        caller: Caller,
        operation: &'static str,
        request: Arc<str>,
    ) -> Self {
        Self {
            audit,
            caller,
            operation,
            request,
            facts: Facts::default(),
            policy_set: None,
            items: Vec::new(),
            item: None,
            detail: Map::new(),
            is_ended: false,
        }
    }

    /// Who.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// It is about this key.
    pub fn about_key(&mut self, key: &KeyName) {
        self.facts().key = Some(key.clone());
    }

    /// This version of the key seals or opens, or is changed.
    pub fn about_version(&mut self, version: KeyVersion) {
        self.facts().version = Some(version);
    }

    /// It is about this many bytes.
    pub fn about_bytes(&mut self, bytes: usize) {
        self.facts().bytes = Some(bytes);
    }

    /// It is about a message of this many bytes, with this context: kept as hashes alone.
    pub fn about_message(&mut self, bytes: usize, context: &Context) {
        let (subject, context) = self.hashes(context);
        let facts = self.facts();
        facts.bytes = Some(bytes);
        (facts.subject, facts.context) = (subject, context);
    }

    /// It is about whom this is the hash of.
    pub fn about_subject(&mut self, subject: AuditHash) {
        self.facts().subject = Some(subject);
    }

    /// It is about the context that this is the hash of.
    pub fn about_whole_context(&mut self, context: AuditHash) {
        self.facts().context = Some(context);
    }

    /// The message is to have this context from now on.
    pub fn about_new_context(&mut self, context: &Context) {
        let (subject, context) = self.hashes(context);
        let facts = self.facts();
        (facts.new_subject, facts.new_context) = (subject, context);
    }

    /// What was said of a version and a ciphertext is of one that was opened, to be sealed again.
    pub fn was_rewrapped(&mut self) {
        let facts = self.facts();
        let (version, ciphertext) = (facts.version.take(), facts.ciphertext.take());
        facts.from = Some(Moved { version, ciphertext });
    }

    /// It is about this ciphertext.
    pub fn about_ciphertext(&mut self, ciphertext: &[u8]) {
        self.facts().ciphertext = Some(CiphertextHash::of(ciphertext));
    }

    /// Policy permitted it.
    pub fn permitted(&mut self, permit: &Permit<'_>) {
        self.policy_set = Some(Arc::clone(permit.policy_set()));
        let facts = self.facts();
        facts.policies = Some(Arc::clone(permit.by()));
        (facts.emergency, facts.approved) = (permit.in_emergency(), permit.needs_approval());
    }

    /// Policy denied it.
    pub fn denied(&mut self, denied: &Denied) {
        self.policy_set = Some(Arc::clone(denied.policy_set()));
        self.facts().policies = Some(Arc::clone(denied.by()));
    }

    /// Something else that its entry is to say.
    pub fn detail(&mut self, name: &str, value: impl Into<Value>) {
        self.detail.insert(name.to_owned(), value.into());
    }

    /// From now on the item of this number is spoken of.
    pub fn on_item(&mut self, index: usize) {
        if self.items.len() <= index {
            self.items.resize_with(index + 1, Item::default);
        }
        self.item = Some(index);
    }

    /// From now on the whole is spoken of.
    pub fn on_the_whole(&mut self) {
        self.item = None;
    }

    /// The item that is spoken of came to this: a code of the API if it failed.
    pub fn item_came_to(&mut self, code: Option<&'static str>) {
        let outcome = code.map_or(Outcome::Ok, outcome_of);
        if let Some(item) = self.item.and_then(|index| self.items.get_mut(index)) {
            (item.outcome, item.code) = (Some(outcome), code);
        }
        self.item = None;
    }

    /// Commits an entry that says that it begins; it has yet to end.
    ///
    /// # Errors
    /// [`AppendError`]: then it must not begin.
    pub async fn begin(&mut self) -> Result<Receipt, AppendError> {
        self.write(Outcome::Begun, None, Audit::commit).await
    }

    /// Commits an entry that says that it was done. The entry is on its way when this returns, and the future waits for it;
    /// an [`AppendError`] from it means that it must not be answered as done.
    pub fn succeed(&mut self) -> impl Future<Output = Result<Receipt, AppendError>> + use<> {
        self.end(Outcome::Ok, None)
    }

    /// Commits an entry that says why it was not done: a code of the API. As for a success, nobody needs to wait. It can
    /// follow a success that did not get into the log, and says again what that was about.
    pub fn fail(
        &mut self,
        code: &'static str,
    ) -> impl Future<Output = Result<Receipt, AppendError>> + use<> {
        self.end(outcome_of(code), Some(code))
    }

    /// The rest of it, for whoever carries it on, as a stream does after its first answer. This one is over.
    #[must_use]
    pub fn hand_over(&mut self) -> Self {
        let (caller, request) = (self.caller.clone(), Arc::clone(&self.request));
        let over = Self::new(self.audit.clone(), caller, self.operation, request);
        let rest = std::mem::replace(self, over);
        self.is_ended = true;
        rest
    }

    /// Whom a context names, and the context.
    fn hashes(&self, context: &Context) -> (Option<AuditHash>, Option<AuditHash>) {
        if context.is_empty() {
            return (None, None);
        }
        let key = self.audit.0.hash_key.load();
        let subject = context.value(SUBJECT).map(|subject| key.entry(key.subject(subject)));
        (subject, Some(key.entry(key.context(&context.digest()))))
    }

    fn facts(&mut self) -> &mut Facts {
        match self.item.and_then(|index| self.items.get_mut(index)) {
            Some(item) => &mut item.facts,
            None => &mut self.facts,
        }
    }

    fn end(
        &mut self,
        outcome: Outcome,
        code: Option<&'static str>,
    ) -> impl Future<Output = Result<Receipt, AppendError>> + use<> {
        let committed = self.write(outcome, code, Audit::commit);
        self.is_ended = true;
        committed
    }

    /// Gives `to` what it has come to, as one entry, or as more if its items do not fit into one.
    fn write<T>(
        &mut self,
        outcome: Outcome,
        code: Option<&'static str>,
        to: impl FnOnce(&Audit, &[&[u8]]) -> T,
    ) -> T {
        let mut items = std::mem::take(&mut self.items);
        let common = Facts::in_common(items.iter_mut().map(|item| &mut item.facts));
        let facts = std::mem::take(&mut self.facts).or(common);
        let detail = std::mem::take(&mut self.detail);
        let detail = (!detail.is_empty()).then_some(Value::Object(detail));
        let whole = Entry {
            time: Millis(self.audit.unix_millis()),
            operation: self.operation,
            outcome,
            code,
            request: Some(&self.request),
            asker: Some(Asker::of(&self.caller)),
            facts: &facts,
            policy_set: self.policy_set.as_deref(),
            detail: detail.as_ref(),
        };
        let written = whole.written(|whole| {
            if items.is_empty() {
                return to(&self.audit, &[whole]);
            }
            let parts = in_parts(whole, &items, outcome);
            to(&self.audit, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
        });
        // The entry that ends it says it again, and so does one that there was no answer for want of this one.
        (self.facts, self.items) = (facts, items);
        if let Some(Value::Object(detail)) = detail {
            self.detail = detail;
        }
        written
    }
}

/// The entry `whole` with its items; as many entries as they need.
fn in_parts(whole: &[u8], items: &[Item], outcome: Outcome) -> Vec<Vec<u8>> {
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    let mut parts = vec![String::new()];
    for item in items {
        *counts.entry(item.outcome.unwrap_or(outcome)).or_default() += 1;
        let same = item.outcome.filter(|of_item| *of_item != outcome);
        let text = serde_json::to_string(&Item { outcome: same, ..item.clone() });
        let text = text.unwrap_or_else(|_| "{}".to_owned());
        match parts.last_mut() {
            Some(part) if part.is_empty() => part.push_str(&text),
            Some(part) if part.len() + text.len() < ITEMS_BYTES_MAX => {
                part.push(',');
                part.push_str(&text);
            }
            _ => parts.push(text),
        }
    }
    let counts = serde_json::to_string(&counts).unwrap_or_else(|_| "{}".to_owned());
    let of = parts.len();
    let entry = |(index, part): (usize, String)| {
        let mut bytes = whole.to_vec();
        if index == 0 {
            add_members(&mut bytes, &format!("\"counts\":{counts}"));
        }
        if of > 1 {
            add_members(&mut bytes, &part_member(index + 1, of));
        }
        add_members(&mut bytes, &format!("\"items\":[{part}]"));
        bytes
    };
    parts.into_iter().enumerate().map(entry).collect()
}

fn outcome_of(code: &'static str) -> Outcome {
    if DENIALS.contains(&code) { Outcome::Denied } else { Outcome::Failed }
}

/// Whoever drops it has not said what came of it: its client has gone away, or it panicked.
impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        self.is_ended = true;
        let (outcome, code) = match std::thread::panicking() {
            true => (Outcome::Failed, Some("internal")),
            false => (Outcome::Cancelled, None),
        };
        self.write(outcome, code, Audit::enqueue);
    }
}

#[cfg(test)]
mod tests;
