//! The parts of the page that tell what the verification found.

use super::{escape, grouped, moment, none, section, table};
use crate::audit::report::tally::Tally;
use crate::audit::verify::{LogState, Trust, Verdict, Verification};
use crate::clock::UnixSeconds;

/// Problems and remarks that are shown.
const SHOWN_MAX: usize = 200;
/// Logs that are shown one by one.
const LOGS_MAX: usize = 400;

pub(super) fn head(
    verification: &Verification,
    tally: &Tally,
    made: UnixSeconds,
    trust: &Trust,
) -> String {
    let (class, says) = match verification.verdict {
        Verdict::Clean => ("good", "Every log ended in order, and everything is as it was signed."),
        Verdict::Open => {
            ("good", "Everything is as it was signed, and a sidecar is writing the last log.")
        }
        Verdict::UncleanEnd => (
            "fair",
            "Everything is as it was signed. A sidecar was killed, or its machine failed: see the unclean ends below.",
        ),
        Verdict::Tampered => {
            ("bad", "Something contradicts a signature, or is missing: see below.")
        }
    };
    let range = verification.times_ms.map_or("no entry".to_owned(), |[first, last]| {
        format!("{} to {} UTC", moment(first), moment(last))
    });
    let origin = verification.logs.iter().find_map(|log| log.origin.as_deref());
    let origin =
        origin.and_then(|origin| origin.rsplit_once('/')).map_or("unknown", |(prefix, _)| prefix);
    let facts = [
        ("Origin", escape(origin)),
        ("Time", range),
        ("Logs", grouped(verification.log_count())),
        ("Entries", grouped(verification.entries)),
        ("Verified", "the signature of each certificate and of each checkpoint, the hash of every entry and the tree over them, the tiles of hashes, the chain from log to log, and the form of each entry".to_owned()),
        ("By", trusted(verification, trust)),
        ("Requests of callers", grouped(tally.requests.all)),
        ("Report made", escape(&made.to_string())),
    ];
    let rows = facts.map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n"));
    format!(
        "<header>\n<h1>Audit report</h1>\n<p class=\"verdict {class}\"><b>{}</b> {says}</p>\n<dl>\n{}</dl>\n{}</header>\n",
        verification.verdict,
        rows.concat(),
        warning(verification)
    )
}

fn trusted(verification: &Verification, trust: &Trust) -> String {
    let whose =
        if verification.trusts_itself { "the folder's own list" } else { "keys that were given" };
    let keys: Vec<_> = verification
        .authorities
        .iter()
        .take(20)
        .map(|key| format!("<code>{}</code>", escape(key)))
        .collect();
    let mut text = format!("{whose}: {}", keys.join(", "));
    if trust.witnessed > 0 {
        text.push_str(&format!(
            "; {} of {} witnesses on each checkpoint",
            trust.witnessed,
            trust.witnesses.len()
        ));
    }
    match trust.kept.len() {
        0 => {}
        1 => text.push_str("; a checkpoint that was kept elsewhere"),
        count => text.push_str(&format!("; {count} checkpoints that were kept elsewhere")),
    }
    text
}

fn warning(verification: &Verification) -> String {
    if !verification.trusts_itself {
        return String::new();
    }
    "<p class=\"warning\">The keys of the authorities came with the folder. This shows only that the folder agrees with itself: \
     whoever could write to it could have replaced both.</p>\n"
        .to_owned()
}

pub(super) fn problems(verification: &Verification) -> String {
    let mut html = String::new();
    if !verification.problems.is_empty() {
        let rows = verification.problems.iter().take(SHOWN_MAX).map(|problem| {
            let number =
                |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
            let file = problem.file.as_deref().unwrap_or_default();
            vec![
                number(problem.log),
                number(problem.entry),
                format!("<code>{}</code>", escape(file)),
                escape(&problem.what),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let mut body = table(&["log", "entry", "file", "what is wrong"], &rows);
        let more = verification.problems.len().saturating_sub(SHOWN_MAX) as u64;
        let more = more.saturating_add(verification.more_problems);
        if more > 0 {
            body.push_str(&none(&format!("And {} more.", grouped(more))));
        }
        html.push_str(&section("What is wrong", &body));
    }
    if !verification.remarks.is_empty() {
        let rows = verification.remarks.iter().take(SHOWN_MAX).map(|remark| {
            let number =
                |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
            vec![number(remark.log), number(remark.entry), escape(&remark.what)]
        });
        let rows: Vec<_> = rows.collect();
        html.push_str(&section("Worth knowing", &table(&["log", "entry", "what"], &rows)));
    }
    html
}

pub(super) fn logs(verification: &Verification) -> String {
    let rows = verification.logs.iter().take(LOGS_MAX).map(|log| {
        let state = match log.state {
            LogState::Closed => "closed",
            LogState::Open => "open",
            LogState::UncleanEnd => "unclean end",
            LogState::Pruned => "pruned",
            LogState::Tampered => "<b>tampered</b>",
        };
        let [first, last] =
            log.times_ms.map_or([String::new(), String::new()], |times| times.map(moment));
        let id = log
            .origin
            .as_deref()
            .and_then(|origin| origin.rsplit_once('/'))
            .map_or("", |(_, id)| id);
        vec![
            log.number.to_string(),
            format!("<code>{}</code>", escape(id)),
            state.to_owned(),
            grouped(log.entries),
            grouped(log.signed),
            first,
            last,
        ]
    });
    let rows: Vec<_> = rows.collect();
    let mut body = table(&["log", "id", "state", "#entries", "#signed", "first", "last"], &rows);
    let more = verification.log_count().saturating_sub(LOGS_MAX as u64);
    if more > 0 {
        body.push_str(&none(&format!("And {more} more.")));
    }
    section("Logs", &body)
}

pub(super) fn foot() -> String {
    "<footer><p>Made by <code>keypod audit report</code>. All times are UTC. A request is one call of the sidecar by a caller, \
     a batch of any length too; what the sidecar does by itself is not among them. Names and texts are those of the entries. \
     A verdict can be had again by <code>keypod audit verify</code>, and by another program: the form of the log is public.</p></footer>\n"
        .to_owned()
}
