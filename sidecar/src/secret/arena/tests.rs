use std::collections::HashSet;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::*;

/// One arena of each kind that this system offers. Ordinary memory always is one of them.
fn arenas() -> Vec<Arena> {
    let arenas: Vec<_> = Protection::BEST_FIRST
        .into_iter()
        .map(|kind| (kind, Arena::with_protection_at_most(kind).unwrap()))
        .filter_map(|(kind, arena)| (arena.protection() == kind).then_some(arena))
        .collect();
    assert!(arenas.iter().any(|arena| arena.protection() == Protection::Heap));
    arenas
}

/// The lines of `/proc/self/smaps` about the mapping that holds `address`, and the head of the one before it.
fn mapping_of(address: usize) -> Option<(String, Vec<String>)> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let range = |line: &str| {
        let (range, _) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    };
    let lines: Vec<_> = smaps.lines().collect();
    let heads: Vec<_> = (0..lines.len()).filter(|&line| range(lines[line]).is_some()).collect();
    let found = heads.iter().position(|&head| range(lines[head]).unwrap().contains(&address))?;
    let end = heads.get(found + 1).copied().unwrap_or(lines.len());
    let own = lines[heads[found]..end].iter().map(|&line| line.to_owned()).collect();
    Some((lines[heads[found - 1]].to_owned(), own))
}

/// Runs one of the ignored tests of this file in a process of its own.
fn run_alone(name: &str) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("secret::arena::tests::{name}"), "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("1 passed"), "{output}{errors}");
}

/// Limits what may be locked, as for a user without `CAP_IPC_LOCK`.
fn limit_locked(bytes: u64) {
    let mut own = capabilities(None).unwrap();
    own.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, own).unwrap();
    let maximum = rustix::process::getrlimit(Resource::Memlock).maximum;
    let limit = Rlimit { current: Some(bytes), maximum };
    rustix::process::setrlimit(Resource::Memlock, limit).unwrap();
}

#[test]
fn each_kind_gives_ten_thousand_slots_of_their_own() {
    for arena in arenas() {
        let slots: Vec<_> = (0..10_000_u16)
            .map(|number| {
                let mut slot = arena.take().unwrap();
                assert_eq!(slot.expose_bytes(), &[0; 32]);
                slot.expose_bytes_mut()[..2].copy_from_slice(&number.to_be_bytes());
                slot.expose_bytes_mut()[31] = 0xff;
                slot
            })
            .collect();
        for (number, slot) in (0..10_000_u16).zip(&slots) {
            assert_eq!(slot.expose_bytes()[..2], number.to_be_bytes());
        }
        assert_eq!(arena.slots_used(), 10_000);
        drop(slots);
        assert_eq!(arena.slots_used(), 0);
    }
}

#[test]
fn a_slot_given_back_is_zero_when_it_is_taken_again() {
    for arena in arenas() {
        let mut slot = arena.take().unwrap();
        slot.expose_bytes_mut().fill(0xa5);
        let address = slot.expose_bytes().as_ptr().addr();
        drop(slot);
        let again = arena.take().unwrap();
        assert_eq!(again.expose_bytes().as_ptr().addr(), address);
        assert_eq!(again.expose_bytes(), &[0; 32]);
    }
}

#[test]
fn a_slot_outlives_every_handle_of_its_arena() {
    for arena in arenas() {
        let mut slot = arena.clone().take().unwrap();
        drop(arena);
        slot.expose_bytes_mut().fill(7);
        assert_eq!(slot.expose_bytes(), &[7; 32]);
    }
}

#[test]
fn threads_that_take_and_drop_at_once_never_share_a_slot() {
    for arena in arenas() {
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for thread in 0..8_u8 {
                let (arena, start) = (arena.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    let mut held = Vec::new();
                    for round in 0..2_000_usize {
                        let mut slot = arena.take().unwrap();
                        assert_eq!(slot.expose_bytes(), &[0; 32]);
                        slot.expose_bytes_mut().fill(thread + 1);
                        held.push(slot);
                        if round % 3 == 0 {
                            let given_back = held.swap_remove(round % held.len());
                            assert_eq!(given_back.expose_bytes(), &[thread + 1; 32]);
                        }
                    }
                    // Slots are given back by another thread than the one that took them.
                    held
                });
            }
        });
        assert_eq!(arena.slots_used(), 0);
        let all: Vec<_> = (0..2_000).map(|_| arena.take().unwrap()).collect();
        let distinct: HashSet<_> = all.iter().map(|slot| slot.expose_bytes().as_ptr()).collect();
        assert_eq!(distinct.len(), 2_000);
    }
}

#[test]
fn pages_are_neither_swapped_nor_dumped_nor_forked_and_stand_between_guards() {
    for arena in arenas() {
        let slot = arena.take().unwrap();
        let (before, own) = mapping_of(slot.expose_bytes().as_ptr().addr()).unwrap();
        assert!(before.contains(" ---p "), "{before}");
        let flags = own.iter().find(|line| line.starts_with("VmFlags:")).unwrap();
        let has = |flag: &str| flags.split_whitespace().any(|one| one == flag);
        assert!(has("dc") && has("dd"), "{own:?}");
        assert_eq!(has("lo"), arena.protection() > Protection::Heap, "{own:?}");
        let secret = own[0].contains("secretmem");
        assert_eq!(secret, arena.protection() == Protection::Secretmem, "{own:?}");
    }
}

#[test]
fn pages_are_unmapped_with_the_last_slot() {
    run_alone("an_arena_unmaps_its_pages");
}

#[test]
#[ignore = "must not share its process: pages_are_unmapped_with_the_last_slot starts it"]
fn an_arena_unmaps_its_pages() {
    for arena in arenas() {
        let slots: Vec<_> = (0..1_000).map(|_| arena.take().unwrap()).collect();
        let addresses: Vec<_> =
            slots.iter().map(|slot| slot.expose_bytes().as_ptr().addr()).collect();
        drop(arena);
        assert!(addresses.iter().all(|&address| mapping_of(address).is_some()));
        drop(slots);
        assert!(addresses.iter().all(|&address| mapping_of(address).is_none()));
    }
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut open = descriptors.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    assert!(open.all(|path| !path.to_string_lossy().contains("secretmem")));
}

#[test]
fn a_required_protection_is_never_undercut() {
    run_alone("a_required_arena_fails_at_the_limit");
}

#[test]
#[ignore = "limits the process that it runs in: a_required_protection_is_never_undercut starts it"]
fn a_required_arena_fails_at_the_limit() {
    let best = Arena::new(Protection::Heap).unwrap().protection();
    limit_locked(64 * 1024);
    for required in [Protection::Mlock, Protection::Secretmem] {
        if required > best {
            continue;
        }
        let arena = Arena::new(required).unwrap();
        let slots: Vec<_> = (0..4_096).map_while(|_| arena.take().ok()).collect();
        assert_eq!(slots.len(), 64 * 1024 / 32, "every byte that the limit allows is a slot");
        assert!(matches!(arena.take(), Err(ArenaError::Exhausted)));
        assert!(arena.protection() >= required);
        drop(slots);
        assert!(arena.take().is_ok(), "a slot given back can be had again");
    }
    limit_locked(0);
    let refused = Arena::new(Protection::Mlock).unwrap_err();
    let offered = Protection::Heap;
    let required = Protection::Mlock;
    assert_eq!(refused.to_string(), ArenaError::Unprotected { required, offered }.to_string());
}

#[test]
fn without_a_requirement_the_arena_goes_on_and_names_the_weakest() {
    run_alone("an_arena_falls_back_at_the_limit");
}

#[test]
#[ignore = "limits the process that it runs in: without_a_requirement_the_arena_goes_on_... starts it"]
fn an_arena_falls_back_at_the_limit() {
    let best = Arena::new(Protection::Heap).unwrap().protection();
    limit_locked(20 * 1024);
    let arena = Arena::new(Protection::Heap).unwrap();
    assert_eq!(arena.protection(), best);
    let slots: Vec<_> = (0..2_048).map(|_| arena.take().unwrap()).collect();
    assert_eq!((arena.protection(), slots.len()), (Protection::Heap, arena.slots_used()));
}
