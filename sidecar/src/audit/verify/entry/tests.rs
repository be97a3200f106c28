use super::*;

const WHOLE: &str = r#"{"time":"2026-11-25T08:00:00.123Z","operation":"decrypt","outcome":"ok","code":"c","request":"r","caller":"billing","proof":"token","transport":"unix","mfa":true,"key":"cards","version":3,"bytes":12,"subject":"1:abc","context":"1:def","ciphertext":"ghi","from":{"version":2,"ciphertext":"old"},"new_subject":"1:new","new_context":"1:newer","policies":["a","b"],"policy_set":"0011223344556677","emergency":true,"approved":false,"items":[{"outcome":"failed","subject":"1:xyz"}],"counts":{"ok":1},"part":[1,3],"detail":{"reason":"é\n\u001b"}}"#;

#[test]
fn every_field_of_the_format_is_read() {
    let entry = Entry::parse(WHOLE.as_bytes()).unwrap();
    assert_eq!(rfc3339(entry.time_ms), "2026-11-25T08:00:00.123Z");
    assert_eq!((&*entry.operation, &*entry.outcome), ("decrypt", "ok"));
    let texts =
        [&entry.whole.code, &entry.request, &entry.caller, &entry.whole.key, &entry.whole.subject];
    let texts: Vec<_> = texts.into_iter().flatten().map(|text| &**text).collect();
    assert_eq!(texts, ["c", "r", "billing", "cards", "1:abc"]);
    assert!(entry.emergency && !entry.approved && entry.part == Some([1, 3]));
    assert_eq!((entry.version, entry.bytes), (Some(3), Some(12)));
    let moved = entry.whole.from.as_ref().unwrap();
    assert_eq!((moved.version, moved.ciphertext.as_deref()), (Some(2), Some("old")));
    assert_eq!(entry.whole.new_subject.as_deref(), Some("1:new"));
    assert_eq!(entry.items[0].subject.as_deref(), Some("1:xyz"));
    assert_eq!(entry.detail_text("reason"), Some("é\n\u{1b}"));
    assert_eq!(entry.unknown, None);
    assert!(matches!(entry.caller, Some(Cow::Borrowed(_))), "nothing is copied");
}

#[test]
fn an_unknown_field_or_outcome_is_an_entry_all_the_same() {
    let with = |from, to| WHOLE.replacen(from, to, 1);
    for (text, unknown) in [
        (with("\"code\"", "\"flags\":{\"a\":[1]},\"code\""), "flags"),
        (with("\"outcome\":\"ok\"", "\"outcome\":\"deferred\""), "outcome"),
    ] {
        assert_eq!(Entry::parse(text.as_bytes()).unwrap().unknown.as_deref(), Some(unknown));
    }
}

#[test]
fn what_is_no_entry_is_told_and_placed() {
    let with = |from, to| WHOLE.replacen(from, to, 1);
    let form = |text: String| {
        let problem = Entry::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(problem, EntryProblem::Form(_)), "{text}: {problem}");
    };
    form(with("\"operation\":\"decrypt\",", ""));
    form(with("\"code\":\"c\"", "\"code\":\"c\",\"code\":\"d\""));
    form(with("\"version\":3", "\"version\":\"3\""));
    form(with("\"version\":3", "\"version\":-3"));
    form(with("\"mfa\":true", "\"mfa\":1"));
    form(with("\"policies\":[\"a\",\"b\"]", "\"policies\":\"a\""));
    form(with("\"part\":[1,3]", "\"part\":[1]"));
    form(with("\"caller\":\"billing\"", "\"caller\":null"));
    form(with("{\"outcome\":\"failed\",\"subject\":\"1:xyz\"}", "1"));
    for (text, problem) in [
        (with("decrypt", "de\ncrypt"), EntryProblem::Control(50)),
        (with("\"code\"", "\t\"code\""), EntryProblem::Control(72)),
        (with("}}", "}"), EntryProblem::NotAnObject),
        (format!("{WHOLE} "), EntryProblem::NotAnObject),
        (format!("{WHOLE}{WHOLE}"), EntryProblem::NotAnObject),
        ("[]".to_owned(), EntryProblem::NotAnObject),
        (String::new(), EntryProblem::NotAnObject),
        (with("08:00:00.123Z", "08:00:00.123+01:00"), EntryProblem::Time),
        (with("2026-11-25T08", "2026-13-25T08"), EntryProblem::Time),
    ] {
        assert_eq!(Entry::parse(text.as_bytes()).unwrap_err(), problem, "{text}");
    }
    assert_eq!(Entry::parse(b"{\"time\":\"\xff\"}").unwrap_err(), EntryProblem::NotAnObject);
    let deep = format!("{}{}{}", "{\"detail\":{\"a\":", "[".repeat(100_000), "}");
    assert!(Entry::parse(deep.as_bytes()).is_err(), "no stack is used up");
}
