//! The form of a copy: what every sink says of an entry and of a checkpoint (`docs/audit-log.md`, "Copies").
//!
//! Touches nothing. The bytes of an entry are never changed: a copy as a line has two members put before them, and whoever
//! takes those off again has what the log hashes (`an_entry_can_be_had_back_from_its_line`).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;

use crate::audit::Event;

/// The operation of entries that say that copies were lost.
pub(super) const SINK_LOST: &str = "sink_lost";

/// How much somebody should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// It is as it should be.
    Usual,
    /// It was denied, failed, or was permitted in an emergency alone.
    Notable,
    /// The log was tampered with, has a gap, or somebody has broken the glass.
    Alarming,
}

/// What sinks need to know of an entry. Of one that does not read, nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) operation: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) caller: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
    emergency: bool,
    /// Of a batch: what its items came to.
    counts: Counts,
    #[serde(skip)]
    tampered: bool,
}

/// The outcomes of items that somebody may want to look at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    denied: u64,
    failed: u64,
}

/// The first entry of a log, as far as it says how the log before ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Start {
    detail: StartDetail,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StartDetail {
    previous: Before,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Before {
    ended: String,
}

impl<'a> Head<'a> {
    pub(super) fn of(entry: &'a [u8]) -> Self {
        let mut head: Self = serde_json::from_slice(entry).unwrap_or_default();
        if head.operation == "start" {
            let start: Start = serde_json::from_slice(entry).unwrap_or_default();
            head.tampered = start.detail.previous.ended == "damaged";
        }
        head
    }

    pub(super) fn weight(&self) -> Weight {
        let begun = self.operation == "begin_emergency" && self.outcome == "ok";
        if begun || self.tampered || self.operation == "gap" {
            Weight::Alarming
        } else if self.emergency
            || self.counts.denied > 0
            || self.counts.failed > 0
            || matches!(&*self.outcome, "denied" | "failed")
        {
            Weight::Notable
        } else {
            Weight::Usual
        }
    }
}

/// Whether `event` is an entry that should arrive, and not one that says that others did not.
pub(super) fn is_to_be_missed(event: &Event) -> bool {
    match event {
        Event::Entry { entry, .. } => Head::of(entry).operation != SINK_LOST,
        Event::Checkpoint { .. } => false,
    }
}

/// One JSON object, without a line end.
pub(super) fn line(event: &Event) -> Vec<u8> {
    match event {
        Event::Entry { log, index, entry } => entry_line(log, *index, entry),
        Event::Checkpoint { log, size, note } => {
            let note = String::from_utf8_lossy(note);
            json!({ "log": &**log, "size": size, "checkpoint": note }).to_string().into_bytes()
        }
    }
}

fn entry_line(log: &str, index: u64, entry: &[u8]) -> Vec<u8> {
    let mut line = format!("{{\"log\":{},\"index\":{index}", json!(log)).into_bytes();
    match entry.strip_prefix(b"{") {
        Some(b"}") => line.push(b'}'),
        Some(members) => {
            line.push(b',');
            line.extend_from_slice(members);
        }
        // Not an entry as the log has them; only that there is something is said.
        None => line.push(b'}'),
    }
    line
}

/// In the place of the line of an entry that is too long for a target: who reads it knows what to ask the log for.
pub(super) fn stub(log: &str, index: u64, entry: &[u8]) -> Vec<u8> {
    let Head { time, operation, outcome, .. } = Head::of(entry);
    let bytes = entry.len();
    json!({
        "log": log, "index": index, "time": time, "operation": operation, "outcome": outcome, "entry_bytes": bytes,
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::sinks::testing::{checkpoint, entry};

    #[test]
    fn an_entry_can_be_had_back_from_its_line() {
        let text = r#"{"time":"2026-11-24T06:00:00.000Z","operation":"encrypt","caller":"a\nb","x":{"log":1}}"#;
        let line = line(&entry(41, text));
        let said: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&said["log"], &said["index"]), (&json!("keypod/test/1"), &json!(41)));
        assert_eq!(said["caller"], "a\nb");
        assert!(!line.contains(&b'\n'), "a line end in a name is no line end in a line");
        let members =
            line.strip_prefix(br#"{"log":"keypod/test/1","index":41,"#.as_slice()).unwrap();
        assert_eq!([b"{", members].concat(), text.as_bytes());
        for odd in ["{}", "", "no object"] {
            let line = super::line(&entry(0, odd));
            assert!(serde_json::from_slice::<Value>(&line).is_ok(), "{odd}");
        }
    }

    #[test]
    fn a_checkpoint_is_a_line_that_holds_the_whole_note() {
        let line = line(&checkpoint(7, "keypod/test/1\n7\nroot\n\n\u{2014} name sig\n"));
        assert!(!line.contains(&b'\n'));
        let said: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(said["size"], 7);
        assert_eq!(said["checkpoint"], "keypod/test/1\n7\nroot\n\n\u{2014} name sig\n");
    }

    #[test]
    fn what_nobody_should_overlook_weighs_more() {
        for (text, weight) in [
            (r#"{"operation":"encrypt","outcome":"ok"}"#, Weight::Usual),
            (r#"{"operation":"rotate","outcome":"begun"}"#, Weight::Usual),
            (r#"{"operation":"encrypt","outcome":"denied"}"#, Weight::Notable),
            (r#"{"operation":"encrypt","outcome":"failed"}"#, Weight::Notable),
            (r#"{"operation":"decrypt","outcome":"ok","emergency":true}"#, Weight::Notable),
            (r#"{"operation":"begin_emergency","outcome":"denied"}"#, Weight::Notable),
            (r#"{"operation":"begin_emergency","outcome":"ok"}"#, Weight::Alarming),
            (r#"{"operation":"gap","outcome":"failed"}"#, Weight::Alarming),
            (
                r#"{"operation":"start","outcome":"ok","detail":{"previous":{"ended":"damaged"}}}"#,
                Weight::Alarming,
            ),
            (
                r#"{"operation":"start","outcome":"ok","detail":{"previous":{"ended":"clean"}}}"#,
                Weight::Usual,
            ),
        ] {
            assert_eq!(Head::of(text.as_bytes()).weight(), weight, "{text}");
        }
        assert_eq!(Head::of(b"\xff").operation, "");
    }

    #[test]
    fn the_detail_of_other_operations_does_not_hide_their_head() {
        let text = r#"{"operation":"x","outcome":"denied","detail":{"previous":{"ended":"e"},"counts":[1]}}"#;
        assert_eq!(Head::of(text.as_bytes()).operation, "x");
    }
}
