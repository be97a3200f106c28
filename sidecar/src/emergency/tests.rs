//! Beginnings, ends and bounds, under a clock that moves when it is told to.

mod alarms;

use super::*;
use crate::clock::{Clock as _, ManualClock, SystemClock};
use crate::policy::{
    AccessRequest, Caller, CallerKind, Document, Identity, Policies, Resource, Transport, decide,
};

const REASON: &str = "the patient is unconscious";

struct World {
    clock: ManualClock,
    policies: Policies,
    emergencies: Emergencies,
}

impl World {
    fn new() -> Self {
        let text = "permit (principal, action, resource);".to_owned();
        let document = Document { name: "a.cedar".to_owned(), text };
        Self {
            clock: ManualClock::at(SystemClock.now()),
            policies: Policies::load(&[document], &[], &[]).unwrap(),
            emergencies: Emergencies::new(60),
        }
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    /// As any permit: from `policy::decide`.
    fn permit(&self, caller: &str, action: Action) -> Permit<'static> {
        let identity = Identity::new(name(caller), CallerKind::Person, Vec::new());
        let caller = Caller { identity: identity.into(), transport: Transport::Tcp, mfa: true };
        let key = "a".parse().unwrap();
        let resource = if action.is_about_a_key() { Resource::Key(&key) } else { Resource::Server };
        let request = AccessRequest {
            caller: &caller,
            action,
            resource,
            context: None,
            approved: false,
            emergency: self.emergencies.covers(caller.name(), self.now()),
            now: self.now().wall,
        };
        decide(&self.policies, &request).unwrap()
    }

    fn begin(&self, caller: &str, minutes: u32) -> Result<Emergency, EmergencyError> {
        self.because(caller, REASON, minutes)
    }

    fn because(&self, caller: &str, why: &str, minutes: u32) -> Result<Emergency, EmergencyError> {
        let permit = self.permit(caller, Action::BreakGlass);
        self.emergencies.begin(&permit, why.parse()?, minutes, self.now())
    }

    fn covers(&self, caller: &str) -> bool {
        self.emergencies.covers(&name(caller), self.now())
    }

    fn active(&self) -> usize {
        self.emergencies.counts(self.now()).active
    }
}

fn name(caller: &str) -> CallerName {
    caller.parse().unwrap()
}

fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

#[test]
fn an_emergency_covers_its_own_caller_alone() {
    let world = World::new();
    let begun = world.begin("alice", 60).unwrap();
    assert_eq!((begun.caller.as_str(), begun.reason.as_str()), ("alice", REASON));
    assert_eq!(begun.until.0 - begun.since.0, 3600);
    assert!(world.covers("alice") && !world.covers("bob") && !world.covers("alic"));
    assert!(matches!(
        world.emergencies.end(&name("bob"), world.now()),
        Err(EmergencyError::NotUnderWay)
    ));
    assert!(world.covers("alice"), "nobody else ends it");
}

#[test]
fn it_ends_to_the_second_when_its_time_is_up_whether_or_not_anybody_looks() {
    let world = World::new();
    let begun = world.begin("alice", 10).unwrap();
    world.clock.advance(minutes(10) - Duration::from_secs(1));
    assert!(world.covers("alice"));
    assert_eq!(world.emergencies.list(world.now()), [begun]);
    world.clock.advance(Duration::from_secs(1));
    assert!(!world.covers("alice"));
    assert_eq!((world.emergencies.list(world.now()), world.active()), (vec![], 0));
    let late = world.emergencies.end(&name("alice"), world.now());
    assert_eq!(late, Err(EmergencyError::NotUnderWay), "it cannot be ended twice");
    assert!(world.begin("alice", 10).is_ok(), "and another can begin");
}

#[test]
fn a_wall_clock_that_is_set_back_lengthens_nothing() {
    let world = World::new();
    world.begin("alice", 10).unwrap();
    world.clock.jump_wall(UnixSeconds(1_000));
    assert!(world.covers("alice"));
    world.clock.advance(minutes(10));
    assert!(!world.covers("alice"));
    world.emergencies.end_due(world.now());
    assert_eq!(world.emergencies.kept.load(Ordering::Relaxed), 0);
}

#[test]
fn a_wall_clock_that_is_set_forward_ends_it_early() {
    let world = World::new();
    let begun = world.begin("alice", 10).unwrap();
    world.clock.jump_wall(begun.until);
    assert!(!world.covers("alice"));
}

#[test]
fn whoever_ends_it_is_out_at_once() {
    let world = World::new();
    world.begin("alice", 60).unwrap();
    world.begin("bob", 60).unwrap();
    assert_eq!(world.emergencies.end(&name("alice"), world.now()).unwrap().reason.as_str(), REASON);
    assert!(!world.covers("alice") && world.covers("bob"));
    let again = world.emergencies.end(&name("alice"), world.now());
    assert_eq!(again, Err(EmergencyError::NotUnderWay));
    world.emergencies.end_all();
    assert!(!world.covers("bob"));
}

#[test]
fn whoever_ends_one_begins_the_next_after_a_pause_alone() {
    let world = World::new();
    let end = |who: &str| world.emergencies.end(&name(who), world.now()).unwrap();
    world.begin("alice", 60).unwrap();
    world.begin("bob", 60).unwrap();
    end("alice");
    assert_eq!(world.begin("alice", 60), Err(EmergencyError::Pause { wait: PAUSE }));
    assert!(!world.covers("alice"));
    world.clock.jump_wall(world.now().wall.after(minutes(30)));
    assert!(
        matches!(world.begin("alice", 60), Err(EmergencyError::Pause { .. })),
        "by no set clock"
    );
    world.clock.advance(PAUSE - Duration::from_secs(1));
    let wait = Duration::from_secs(1);
    assert_eq!(
        world.begin("alice", 60),
        Err(EmergencyError::Pause { wait }),
        "to ask moves nothing"
    );
    assert!(world.begin("carol", 60).is_ok(), "nobody else waits for that");
    world.clock.advance(Duration::from_secs(1));
    assert!(world.begin("alice", 60).is_ok());
    assert_eq!(world.emergencies.counts(world.now()).begun, 4);
    // However many end theirs, no more are remembered than can be.
    world.emergencies.end_all();
    for number in 0..EMERGENCIES_MAX {
        let who = format!("c{number}");
        world.begin(&who, 1).unwrap();
        end(&who);
    }
    assert_eq!(world.begin("one-more", 1), Err(EmergencyError::TooMany));
    world.clock.advance(PAUSE);
    assert!(world.begin("one-more", 1).is_ok());
    assert_eq!(world.emergencies.lock().pauses.len(), 0);
}

#[test]
fn a_second_beginning_neither_lengthens_nor_replaces_the_first() {
    let world = World::new();
    let first = world.begin("alice", 10).unwrap();
    world.clock.advance(minutes(9));
    assert_eq!(world.because("alice", "another reason", 60), Err(EmergencyError::UnderWay));
    assert_eq!(world.emergencies.list(world.now()), [first]);
    world.clock.advance(minutes(1));
    assert!(!world.covers("alice"));
}

#[test]
fn a_reason_says_something_and_cannot_disguise_itself_in_a_log() {
    let world = World::new();
    let longest = "ä".repeat(500);
    for (caller, good) in [("a", "0123456789"), ("b", &*longest), ("c", "  padded reason \n")] {
        assert_eq!(world.because(caller, good, 1).unwrap().reason.as_str(), good.trim());
    }
    let (spaces, too_long) = (" ".repeat(100), "a".repeat(501));
    for bad in [
        "",
        "012345678",
        "012345678 ",
        "äöüäöüäöü",
        &spaces,
        &too_long,
        "two lines\nof a reason",
        "a reason\u{0}with a nul",
        "a reason \u{1b}[2J and more",
        "a reason \u{202e}and more",
        "a reason \u{2028}and more",
    ] {
        assert_eq!(world.because("alice", bad, 1), Err(EmergencyError::Reason), "{bad:?}");
    }
    assert!(!world.covers("alice"));
}

#[test]
fn a_reason_that_cannot_be_seen_is_none_and_nothing_invisible_hides_in_one() {
    let world = World::new();
    let invisible =
        ['\u{ad}', '\u{61c}', '\u{115f}', '\u{1160}', '\u{180e}', '\u{2800}', '\u{3164}'];
    let invisible = invisible.into_iter().chain(['\u{feff}', '\u{ffa0}', '\u{e000}', '\u{10fffd}']);
    let ranges = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
    let ranges = ranges.into_iter().chain(['\u{fff9}'..='\u{fffb}', '\u{e0000}'..='\u{e01ef}']);
    for c in invisible.chain(ranges.flatten()) {
        for bad in [c.to_string().repeat(10), format!("{REASON}{c}{REASON}")] {
            assert_eq!(world.because("alice", &bad, 1), Err(EmergencyError::Reason), "{c:?}");
        }
    }
    // Blanks and marks are text, and say nothing: only what can be seen counts.
    for bad in [
        "a         b",
        "a\u{a0}\u{2003}\u{3000}      b",
        "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    ] {
        assert_eq!(world.because("alice", bad, 1), Err(EmergencyError::Reason), "{bad:?}");
    }
    for (caller, good) in [
        ("a", "пациент без сознания"),
        ("b", "患者は意識がありません。"),
        ("c", "Bett 7: keine Vitalzeichen ❤\u{fe0f}!"),
    ] {
        assert_eq!(world.because(caller, good, 1).unwrap().reason.as_str(), good);
    }
}

#[test]
fn it_lasts_at_least_a_minute_and_at_most_what_the_configuration_says() {
    let world = World::new();
    for bad in [0, 61, u32::MAX] {
        let refused = world.begin("alice", bad);
        assert_eq!(refused, Err(EmergencyError::Minutes { minutes_max: 60 }), "{bad}");
    }
    assert!(world.begin("alice", 60).is_ok() && world.begin("bob", 1).is_ok());
}

#[test]
fn no_other_permit_breaks_the_glass() {
    let world = World::new();
    for action in Action::ALL.into_iter().filter(|action| *action != Action::BreakGlass) {
        let permit = world.permit("alice", action);
        let begun = world.emergencies.begin(&permit, REASON.parse().unwrap(), 1, world.now());
        assert_eq!(begun, Err(EmergencyError::WrongPermit), "{action:?}");
    }
    assert_eq!(world.active(), 0);
}

#[test]
fn there_are_only_so_many_and_those_that_have_ended_make_room() {
    let world = World::new();
    for number in 0..EMERGENCIES_MAX {
        world.begin(&format!("c{number}"), 10).unwrap();
    }
    assert_eq!(world.begin("one-more", 10), Err(EmergencyError::TooMany));
    assert_eq!(world.active(), EMERGENCIES_MAX);
    world.clock.advance(minutes(10));
    assert!(world.begin("one-more", 10).is_ok());
    assert_eq!(world.emergencies.kept.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_permitted_in_an_emergency_is_counted_and_nothing_else_is() {
    let world = World::new();
    world.emergencies.note(&world.permit("alice", Action::Decrypt));
    world.begin("alice", 1).unwrap();
    world.emergencies.note(&world.permit("alice", Action::Decrypt));
    world.emergencies.note(&world.permit("alice", Action::ReadStatus));
    world.emergencies.note(&world.permit("bob", Action::Decrypt));
    // A second beginning is refused, so nothing was permitted.
    world.emergencies.note(&world.permit("alice", Action::BreakGlass));
    world.clock.advance(minutes(1));
    world.emergencies.note(&world.permit("alice", Action::Decrypt));
    let expected = EmergencyCounts { active: 0, begun: 1, decisions: 2 };
    assert_eq!(world.emergencies.counts(world.now()), expected);
}
