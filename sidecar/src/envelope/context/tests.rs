use proptest::prelude::*;

use super::super::testing::context_of;
use super::*;

fn refused(name: &str, value: &str) -> Option<ContextError> {
    Context::new([(name.to_owned(), value.to_owned())]).err()
}

fn numbered(names: std::ops::Range<usize>) -> impl Iterator<Item = (String, String)> {
    names.map(|number| (format!("n{number}"), String::new()))
}

#[test]
fn names_and_values_keep_to_the_limits_of_the_api() {
    let longest = "n".repeat(64);
    for name in ["a", "z", "0", "9", "_", ".", "-", longest.as_str()] {
        assert_eq!(refused(name, ""), None, "{name:?}");
    }
    let too_long = "n".repeat(65);
    for name in ["", "A", "a b", "a/b", "ä", "a\n", "`", "{", ":", ",", too_long.as_str()] {
        assert_eq!(refused(name, ""), Some(ContextError::Name), "{name:?}");
    }
    assert_eq!(refused("a", &"v".repeat(1_024)), None);
    assert_eq!(refused("a", &"v".repeat(1_025)), Some(ContextError::Value));
    assert_eq!(refused("a", &"ä".repeat(513)), Some(ContextError::Value));
}

#[test]
fn a_context_has_at_most_32_pairs() {
    assert_eq!(Context::new(numbered(0..32)).unwrap().len(), 32);
    assert_eq!(Context::new(numbered(0..33)), Err(ContextError::TooManyPairs));
}

#[test]
fn the_order_of_giving_does_not_matter() {
    let one = context_of(&[("b", "1"), ("a-b", "3"), ("a", "2")]);
    let other = context_of(&[("a", "2"), ("b", "1"), ("a-b", "3")]);
    assert_eq!(one, other);
    assert_eq!(one.pairs().collect::<Vec<_>>(), [("a", "2"), ("a-b", "3"), ("b", "1")]);
    assert_eq!(one.digest(), other.digest());
}

#[test]
fn a_name_given_twice_is_refused_wherever_it_stands() {
    let twice = |second: &str, value: &str| {
        let pairs = [("m", "1"), ("a", "2"), (second, value), ("z", "3")];
        Context::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    for name in ["m", "a", "z"] {
        assert_eq!(twice(name, "9"), Err(ContextError::NameTwice));
    }
    assert_eq!(twice("m", "1"), Err(ContextError::NameTwice), "with the same value too");
    assert!(twice("b", "1").is_ok());
}

#[test]
fn a_value_is_found_by_its_name() {
    let context = context_of(&[("tenant", "clinic-7"), ("record", "r-1"), ("subject", "")]);
    assert_eq!(context.value("tenant"), Some("clinic-7"));
    assert_eq!(context.value("record"), Some("r-1"));
    assert_eq!(context.value("subject"), Some(""));
    assert_eq!(context.value("subjec"), None);
    assert_eq!(Context::empty().value("tenant"), None);
}

#[test]
fn an_items_context_adds_to_its_batchs() {
    let batch = context_of(&[("tenant", "clinic-7")]);
    let item = context_of(&[("record", "r-1")]);
    let both = context_of(&[("tenant", "clinic-7"), ("record", "r-1")]);
    assert_eq!(batch.joined(&item), Ok(both.clone()));
    assert_eq!(item.joined(&batch), Ok(both));
    assert_eq!(batch.joined(&Context::empty()), Ok(batch.clone()));
    assert_eq!(Context::empty().joined(&batch), Ok(batch.clone()));
    assert_eq!(batch.joined(&batch), Err(ContextError::NameTwice));
}

#[test]
fn joined_contexts_keep_to_the_limit_of_pairs() {
    let most = Context::new(numbered(0..31)).unwrap();
    assert_eq!(most.joined(&context_of(&[("a", "")])).unwrap().len(), 32);
    let two = context_of(&[("a", ""), ("b", "")]);
    assert_eq!(most.joined(&two), Err(ContextError::TooManyPairs));
}

#[test]
fn emptiness_and_length_are_those_of_the_pairs() {
    assert!(Context::empty().is_empty());
    assert_eq!(Context::default(), Context::empty());
    assert_eq!(Context::new([]), Ok(Context::empty()), "with the digest of no pairs");
    let one = context_of(&[("a", "")]);
    assert!(!one.is_empty());
    assert_eq!((one.len(), one.pairs().len()), (1, 1));
}

#[test]
fn debug_shows_how_many_pairs_and_nothing_of_them() {
    let context = context_of(&[("mrn", "4711"), ("subject", "jane")]);
    assert_eq!(format!("{context:?}"), "Context(2 pairs)");
}

#[test]
fn no_refusal_repeats_what_was_refused() {
    let long = "4711".repeat(300);
    let many = format!("{{{}}}", (0..33).map(|n| format!("\"4711{n}\":\"\",")).collect::<String>());
    let inputs = [
        "4711".to_owned(),
        "-4711".to_owned(),
        "4711.5".to_owned(),
        "47114711471147114711".to_owned(),
        "\"4711\"".to_owned(),
        "[\"4711\"]".to_owned(),
        "{\"a\": 4711}".to_owned(),
        "{\"a\": -4711}".to_owned(),
        "{\"a\": 4711.5}".to_owned(),
        "{\"a\": true}".to_owned(),
        "{\"a\": [\"4711\"]}".to_owned(),
        "{\"a\": {\"4711\": \"4711\"}}".to_owned(),
        "{\"4711A\": \"x\"}".to_owned(),
        "{\"4711\": \"x\", \"4711\": \"4711\"}".to_owned(),
        format!("{{\"a\": \"{long}\"}}"),
        many,
    ];
    for input in inputs {
        let error = serde_json::from_str::<Context>(&input).unwrap_err().to_string();
        // serde_json adds the place itself: "at line 1 column 2".
        assert!(!error.contains("4711") && !error.contains("true"), "{error}");
    }
}

#[test]
fn json_refusals_say_what_is_wrong() {
    let error = |json: &str| serde_json::from_str::<Context>(json).unwrap_err().to_string();
    for json in ["5", "\"x\"", "true", "null", "[]", "1.5", "-5"] {
        assert!(error(json).contains(&ContextError::NotAnObject.to_string()), "{}", error(json));
    }
    for json in ["5", "-5", "1.5", "true", "null", "[]", "{}"] {
        let error = error(&format!("{{\"a\":{json}}}"));
        assert!(error.contains(&ContextError::NotAString.to_string()), "{error}");
    }
}

#[test]
fn a_field_left_out_is_no_context_and_null_is_refused() {
    #[derive(serde::Deserialize)]
    struct Request {
        #[serde(default)]
        context: Context,
    }
    assert!(serde_json::from_str::<Request>("{}").unwrap().context.is_empty());
    assert!(serde_json::from_str::<Request>("{\"context\":{}}").unwrap().context.is_empty());
    assert!(serde_json::from_str::<Request>("{\"context\":null}").is_err());
}

proptest! {
    #[test]
    fn two_contexts_have_one_encoding_only_if_they_are_equal(
        one in proptest::collection::btree_map("[ab]{1,3}", "[ab]{0,3}", 0..4),
        other in proptest::collection::btree_map("[ab]{1,3}", "[ab]{0,3}", 0..4),
    ) {
        let same = one == other;
        let (one, other) = (Context::new(one).unwrap(), Context::new(other).unwrap());
        prop_assert_eq!(one.encoded() == other.encoded(), same);
        prop_assert_eq!(one.digest() == other.digest(), same);
    }
}
