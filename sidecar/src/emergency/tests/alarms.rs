//! The lines of the log, in a process of their own: which places log at all is decided once for a whole process.

use super::*;
use crate::alone;

#[test]
#[ignore = "the test below runs it"]
fn child() {
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::stdout).init();
    let world = World::new();
    world.begin("alice", 10).unwrap();
    world.begin("bob", 20).unwrap();
    world.emergencies.note(&world.permit("alice", Action::Decrypt));
    world.begin("alice", 10).unwrap_err();
    world.emergencies.end(&name("bob"), world.now()).unwrap();
    world.emergencies.end(&name("bob"), world.now()).unwrap_err();
    world.clock.advance(minutes(10));
    world.emergencies.end_due(world.now());
    world.emergencies.end_due(world.now());
    world.begin("carol", 10).unwrap();
    world.emergencies.end_all();
}

#[test]
fn every_beginning_and_every_end_is_an_alarm_once() {
    let said = alone::text(&alone::run("emergency::tests::alarms::child").stdout);
    let lines =
        said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut seen = Vec::new();
    for line in lines {
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        if field("alert") == "break_glass" {
            assert_eq!(field("reason"), REASON);
            assert!(UnixSeconds::parse(&field("until")).is_some(), "{line}");
        } else {
            assert_eq!((field("action"), field("key")), ("decrypt".into(), "a".into()), "{line}");
        }
        seen.push((field("level"), field("caller"), field("message")));
    }
    let seen: Vec<_> =
        seen.iter().map(|(level, caller, text)| (&**level, &**caller, &**text)).collect();
    let expected = [
        ("ERROR", "alice", "the glass is broken"),
        ("ERROR", "bob", "the glass is broken"),
        ("INFO", "alice", "permitted in an emergency"),
        ("WARN", "bob", "the emergency was ended by its caller"),
        ("WARN", "alice", "the emergency has ended: its time is up"),
        ("ERROR", "carol", "the glass is broken"),
        ("WARN", "carol", "the emergency has ended: the sidecar stops"),
    ];
    assert_eq!(seen, expected);
}
