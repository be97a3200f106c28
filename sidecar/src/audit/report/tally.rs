//! What the page shows, counted entry by entry.

use std::collections::BTreeMap;

use serde_json::Value;

use super::counts::{Counts, Sum, name};
use crate::audit::verify::{Entry, Gather, Place};

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
/// Events of one kind that are shown one by one.
const EVENTS_MAX: usize = 500;

/// How often something was done, and with which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) all: u64,
    pub(super) denied: u64,
    pub(super) failed: u64,
    /// When first and last, in milliseconds since 1970.
    pub(super) times_ms: Option<[u64; 2]>,
}

impl Sum for Row {
    fn add(&mut self, other: Self) {
        self.all.add(other.all);
        self.denied.add(other.denied);
        self.failed.add(other.failed);
        self.times_ms = match (self.times_ms, other.times_ms) {
            (Some([first, last]), Some([begin, end])) => Some([first.min(begin), last.max(end)]),
            (one, other) => one.or(other),
        };
    }
}

/// Something that happened once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) place: Place,
    pub(super) time_ms: u64,
    pub(super) operation: String,
    pub(super) outcome: String,
    pub(super) who: String,
    pub(super) what: String,
}

/// Events in their order, up to a bound.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    pub(super) list: Vec<Event>,
    pub(super) more: u64,
}

impl Events {
    fn add(&mut self, event: Event) {
        if self.list.len() < EVENTS_MAX {
            self.list.push(event);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    fn append(&mut self, other: Self) {
        other.list.into_iter().for_each(|event| self.add(event));
        self.more = self.more.saturating_add(other.more);
    }
}

/// All that is counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Requests of callers: each once, whatever the number of its entries.
    pub(super) requests: Row,
    pub(super) callers: Counts<String, Row>,
    pub(super) keys: Counts<String, Row>,
    pub(super) operations: Counts<String, Row>,
    /// By days since 1970.
    pub(super) days: Counts<u64, Row>,
    /// By the hour of the day, in UTC.
    pub(super) hours: [u64; 24],
    /// By caller, key and code: what policy or Keypod refused, a batch's items one by one.
    pub(super) denials: Counts<[String; 3], Row>,
    /// By operation and code: what failed, a batch's items one by one.
    pub(super) failures: Counts<[String; 2], Row>,
    /// By code: what was turned away before anybody knew what it was.
    pub(super) refused: Counts<String, u64>,
    /// Entries that callers made while they had broken the glass.
    pub(super) in_emergency: Counts<String, Row>,
    pub(super) emergencies: Events,
    pub(super) emergencies_begun: u64,
    pub(super) key_changes: Events,
    pub(super) keys_changed: u64,
    pub(super) life: Events,
    pub(super) policies: Events,
    pub(super) losses: Events,
}

impl Tally {
    fn count(&mut self, place: Place, entry: &Entry<'_>) {
        let done = u64::from(entry.outcome == "ok");
        match &*entry.operation {
            "start" | "close" => self.life.add(event(place, entry)),
            "begin_emergency" | "end_emergency" | "emergency_end" => {
                self.emergencies.add(event(place, entry));
                self.emergencies_begun.add(done * u64::from(entry.operation == "begin_emergency"));
            }
            "create_key" | "rotate" | "set_state" | "destroy" | "cancel_destroy" | "approve" => {
                self.key_changes.add(event(place, entry));
                self.keys_changed.add(done);
            }
            "policies" | "tokens" => self.policies.add(event(place, entry)),
            "gap" | "sink_lost" | "prune" => self.losses.add(event(place, entry)),
            "refused" => self.refuse(entry),
            _ => {}
        }
        // What a change or a stream came to is another entry.
        let Some(caller) = entry.caller.as_deref().filter(|_| entry.outcome != "begun") else {
            return;
        };
        self.unwell(caller, entry);
        // A long batch has several entries, each with items of its own, and is one request.
        if entry.part.is_none_or(|[part, _]| part <= 1) {
            self.request(caller, entry);
        }
    }

    fn request(&mut self, caller: &str, entry: &Entry<'_>) {
        let times_ms = Some([entry.time_ms, entry.time_ms]);
        let (denied, failed) = (entry.outcome == "denied", entry.outcome == "failed");
        let row = Row { all: 1, denied: denied.into(), failed: failed.into(), times_ms };
        self.requests.add(row);
        self.callers.add(name(caller), row);
        self.operations.add(name(&entry.operation), row);
        self.days.add(entry.time_ms / DAY_MS, row);
        let hour = usize::try_from(entry.time_ms / HOUR_MS % 24).unwrap_or_default();
        if let Some(count) = self.hours.get_mut(hour) {
            count.add(1);
        }
        if let Some(key) = &entry.whole.key {
            self.keys.add(name(key), row);
        }
        if entry.emergency {
            self.in_emergency.add(name(caller), row);
        }
    }

    /// Counts what was denied and what failed. What an item does not say itself, its entry says.
    fn unwell(&mut self, caller: &str, entry: &Entry<'_>) {
        let items = match &*entry.items {
            [] => std::slice::from_ref(&entry.whole),
            items => items,
        };
        let row = Row { all: 1, times_ms: Some([entry.time_ms; 2]), ..Row::default() };
        for item in items {
            let code = item.code.as_ref().or(entry.whole.code.as_ref());
            let code = name(code.map_or("no code", |code| code));
            match item.outcome.as_ref().unwrap_or(&entry.outcome).as_ref() {
                "denied" => {
                    let key = item.key.as_ref().or(entry.whole.key.as_ref());
                    let key = name(key.map_or("no key", |key| key));
                    self.denials.add([name(caller), key, code], row);
                }
                "failed" => self.failures.add([name(&entry.operation), code], row),
                _ => {}
            }
        }
    }

    fn refuse(&mut self, entry: &Entry<'_>) {
        let counted = entry.detail.iter().flatten();
        for (code, counts) in counted {
            let count = match counts {
                Value::Object(by) => {
                    by.values().filter_map(Value::as_u64).fold(0, u64::saturating_add)
                }
                other => other.as_u64().unwrap_or_default(),
            };
            self.refused.add(name(code), count);
        }
    }

    fn append(&mut self, other: Self) {
        self.requests.add(other.requests);
        self.callers.append(other.callers);
        self.keys.append(other.keys);
        self.operations.append(other.operations);
        self.days.append(other.days);
        for (count, more) in self.hours.iter_mut().zip(other.hours) {
            count.add(more);
        }
        self.denials.append(other.denials);
        self.failures.append(other.failures);
        self.refused.append(other.refused);
        self.in_emergency.append(other.in_emergency);
        self.emergencies.append(other.emergencies);
        self.emergencies_begun.add(other.emergencies_begun);
        self.key_changes.append(other.key_changes);
        self.keys_changed.add(other.keys_changed);
        self.life.append(other.life);
        self.policies.append(other.policies);
        self.losses.append(other.losses);
    }

    /// Callers by the day on which each was first seen, the newest days first.
    pub(super) fn first_seen(&self) -> Vec<(u64, Vec<&str>)> {
        let mut days: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for (caller, row) in &self.callers.known {
            if let Some([first, _]) = row.times_ms {
                days.entry(first / DAY_MS).or_default().push(caller);
            }
        }
        days.into_iter().rev().collect()
    }
}

fn event(place: Place, entry: &Entry<'_>) -> Event {
    let mut what: Vec<String> = entry.whole.key.iter().map(|key| name(key)).collect();
    what.extend(entry.version.map(|version| format!("version {version}")));
    what.extend(entry.whole.code.as_ref().map(|code| name(code)));
    // The fields of a detail that people ask for; hashes are for programs.
    for (field, value) in entry.detail.iter().flatten().take(12) {
        let shown = match value {
            Value::String(text) if text.len() < 200 && !is_hash(field) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => continue,
        };
        what.push(format!("{}: {}", name(field), name(&shown)));
    }
    if entry.approved {
        what.push("approved by a second person".to_owned());
    }
    Event {
        place,
        time_ms: entry.time_ms,
        operation: name(&entry.operation),
        outcome: name(&entry.outcome),
        who: name(entry.caller.as_deref().unwrap_or("the sidecar")),
        what: what.join(", "),
    }
}

fn is_hash(field: &str) -> bool {
    matches!(field, "certificate" | "configuration" | "root" | "hash" | "policy_set")
}

/// Counts while a log is verified.
#[derive(Debug, Default)]
pub(super) struct Counter(Tally);

impl Counter {
    pub(super) fn into_tally(self) -> Tally {
        self.0
    }
}

impl Gather for Counter {
    type Found = Box<Tally>;

    fn look(&self, place: Place, entry: &Entry<'_>, _: &[u8], found: &mut Box<Tally>) {
        found.count(place, entry);
    }

    fn keep(&mut self, found: Box<Tally>) {
        self.0.append(*found);
    }
}
