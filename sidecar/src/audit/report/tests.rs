use serde_json::json;

use super::tally::Counter;
use super::*;
use crate::audit::verify::{Entry, Gather as _, LogReport, LogState, Place, Verdict};

/// The page of a clean log with these entries.
fn page_of(entries: &[serde_json::Value]) -> String {
    let mut counter = Counter::default();
    for (at, bundle) in (0..).zip(entries.chunks(2)) {
        let mut found = Box::default();
        for (place, entry) in (0..).zip(bundle) {
            let text = entry.to_string();
            let place = Place { log: 1, entry: at * 2 + place };
            counter.look(
                place,
                &Entry::parse(text.as_bytes()).unwrap(),
                text.as_bytes(),
                &mut found,
            );
        }
        counter.keep(found);
    }
    let verification = Verification {
        verdict: Verdict::Clean,
        trusts_itself: true,
        authorities: vec!["root<b>+00000000".to_owned()],
        logs: vec![LogReport {
            number: 1,
            origin: Some("a<i>/b".to_owned()),
            state: LogState::Closed,
            entries: entries.len() as u64,
            signed: entries.len() as u64,
            vouched_by_next: 0,
            vouched_by_nothing: 0,
            times_ms: None,
        }],
        more_logs: 0,
        entries: entries.len() as u64,
        times_ms: None,
        problems: Vec::new(),
        more_problems: 0,
        remarks: Vec::new(),
    };
    let report = Report { verification, tally: counter.into_tally() };
    report.to_html(UnixSeconds(1_795_500_000), &Trust::default())
}

fn entry(operation: &str, fields: serde_json::Value) -> serde_json::Value {
    let mut all =
        json!({ "time": "2026-11-25T08:00:00.000Z", "operation": operation, "outcome": "ok" });
    for (name, value) in fields.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

#[test]
fn what_an_entry_says_is_text_on_the_page_and_nothing_else() {
    let nasty = "<script>alert(1)</script>\"'&\u{0}\u{1b}]\n\u{202e}<img src=x onerror=y>";
    let fields = json!({
        "caller": nasty, "key": nasty, "code": nasty, "emergency": true,
        "detail": { "reason": nasty, nasty: nasty },
    });
    let mut entries: Vec<_> = [
        nasty,
        "start",
        "close",
        "begin_emergency",
        "emergency_end",
        "rotate",
        "destroy",
        "policies",
        "gap",
        "sink_lost",
        "prune",
        "refused",
    ]
    .iter()
    .map(|operation| entry(operation, fields.clone()))
    .collect();
    for outcome in ["denied", "failed", nasty] {
        let mut other = entry("decrypt", fields.clone());
        other["outcome"] = json!(outcome);
        entries.push(other);
    }
    let page = page_of(&entries);
    for bad in ["<script", "<img", "alert(1)<", "\u{0}", "\u{1b}", "\u{202e}", "root<b>", "a<i>"] {
        assert!(!page.contains(bad), "{bad:?}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
    // Every tag is one of ours, and none has an attribute that acts or fetches.
    for tag in page.split('<').skip(1) {
        let name: String =
            tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let known = "DOCTYPE html head meta title style body main header footer section h1 h2 h3 p b i span div dl dt dd code table thead tbody tr th td svg g rect line text";
        assert!(known.contains(&name) || tag.starts_with('!'), "{tag}");
        let inside = tag.split('>').next().unwrap();
        assert!(
            !inside.contains("src=") && !inside.contains("href=") && !inside.contains(" on"),
            "{inside}"
        );
    }
}

#[test]
fn requests_are_counted_once() {
    let caller = json!({ "caller": "billing", "key": "cards" });
    let mut begun = entry("rotate", caller.clone());
    begun["outcome"] = json!("begun");
    let mut second = entry("decrypt_batch", caller.clone());
    second["part"] = json!([2, 2]);
    let mut first = second.clone();
    first["part"] = json!([1, 2]);
    let mut denied = entry("decrypt", caller.clone());
    denied["outcome"] = json!("denied");
    denied["code"] = json!("forbidden");
    let entries =
        [begun, entry("rotate", caller), first, second, denied, entry("start", json!({}))];
    let page = page_of(&entries);
    assert!(page.contains("<b>3</b><span>requests</span>"), "{page}");
    assert!(page.contains("<b>1</b><span>denied</span>"));
    let denied = "<td>billing</td><td>cards</td><td>forbidden</td><td class=\"number\">1</td>";
    assert!(page.contains(denied), "{page}");
    assert!(page.contains("<b>1</b><span>changes of keys</span>"));
}

#[test]
fn an_item_that_was_denied_counts_though_its_batch_went_well() {
    let denied = json!({ "outcome": "denied", "code": "forbidden", "key": "patients" });
    let batch = |part: u64, items: serde_json::Value| {
        let fields = json!({ "caller": "billing", "part": [part, 2], "items": items });
        entry("decrypt_batch", fields)
    };
    let first = batch(1, json!([{ "key": "cards" }, denied, denied]));
    let failed = json!({ "outcome": "failed", "code": "decryption_failed", "key": "cards" });
    let second = batch(2, json!([denied, failed]));
    let page = page_of(&[first, second]);
    let row = "<td>billing</td><td>patients</td><td>forbidden</td><td class=\"number\">3</td>";
    assert!(page.contains(row), "{page}");
    let row = "<td>decrypt_batch</td><td>decryption_failed</td><td class=\"number\">1</td>";
    assert!(page.contains(row), "{page}");
    assert!(page.contains("<b>1</b><span>requests</span>"));
    // A batch that was denied as a whole: its items say no outcome of their own.
    let fields = json!({
        "caller": "intake", "key": "cards", "outcome": "denied", "code": "forbidden", "items": [{}, {}],
    });
    let page = page_of(&[entry("encrypt_batch", fields)]);
    let row = "<td>intake</td><td>cards</td><td>forbidden</td><td class=\"number\">2</td>";
    assert!(page.contains(row), "{page}");
}

#[test]
fn names_without_end_are_counted_as_others() {
    let entries: Vec<_> = (0..counts::NAMES_MAX * 2)
        .map(|at| {
            entry("decrypt", json!({ "caller": format!("caller-{at:05}-{}", "x".repeat(500)) }))
        })
        .collect();
    let page = page_of(&entries);
    assert!(page.contains("all others"));
    assert!(page.contains(&format!("over {}", counts::NAMES_MAX)));
    assert!(page.len() < 200_000, "{}", page.len());
}

#[test]
fn times_far_apart_make_no_endless_chart() {
    let mut entries = Vec::new();
    for time in ["1970-01-01T00:00:00Z", "2026-11-25T08:00:00Z", "9999-12-31T23:59:59Z"] {
        let mut one = entry("decrypt", json!({ "caller": "a" }));
        one["time"] = json!(time);
        entries.push(one);
    }
    let page = page_of(&entries);
    assert!(page.matches("<rect").count() < 200);
}

#[test]
fn a_scale_is_of_round_steps() {
    let bar = |value| chart::Bar { name: "a".to_owned(), value, dark: 0, says: "a".to_owned() };
    for (most, top) in
        [(1, "1"), (7, "8"), (10, "10"), (99, "100"), (101, "150"), (12_345, "15\u{202f}000")]
    {
        let svg = chart::bars("a", &[bar(most)]);
        assert!(svg.contains(&format!(">{top}</text>")), "{most}: {svg}");
    }
    assert!(chart::bars("a", &[bar(u64::MAX)]).len() < 10_000);
    assert!(chart::bars("a", &[]).contains("svg"));
}
