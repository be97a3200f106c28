//! Looks for secrets from outside: scans the memory of a process that has held one of every kind.
//!
//! A helper (this test binary again, running one ignored test) holds the secrets; this process knows them and
//! scans it, so that the searching leaves no copies where it searches. The helper never has a secret in the open
//! but in the types under test: it draws and tells masked bytes, and unmasks each byte as it writes it in place.

mod helper;
pub(crate) mod needles;
pub(crate) mod scan;

use keypod::secret::Protection;

use helper::Helper;
use needles::{Needle, RootFiles};

/// How the helper under scan protects its key pages: so that they are readable, and the scan sees whether they were
/// wiped. (`/proc/PID/mem` shows nothing of secretmem; what it hides is the subject of the other tests.)
const SCANNED: Protection = Protection::Heap;

#[test]
fn nothing_secret_is_left_in_memory_once_it_is_dropped() {
    let files = RootFiles::random();
    let mut helper = Helper::start("holds_one_of_each_kind");
    helper.say(files.folder());
    let told = helper.hear();
    let mut needles = files.needles();
    needles.extend(needles::told(&told));
    needles.extend(needles::derived(&told, &files));

    let mut found = scan::find(helper.pid(), &needles);
    for held in needles.iter().filter(|needle| needle.is_held) {
        // Without this, a scan that sees nothing would pass.
        assert!(found.remove(held.name).is_some(), "{} is held and not seen", held.name);
    }
    assert!(found.is_empty(), "in memory in the open: {found:#?}");

    helper.say("drop");
    helper.hear();
    let mut left = scan::find(helper.pid(), &needles);
    // The control was made without care, to show how that looks.
    left.remove(needles::CONTROL);
    assert!(left.is_empty(), "left in memory: {left:#?}");
}

#[test]
fn a_hardened_process_is_closed_to_its_own_user_and_secretmem_even_to_root() {
    for kind in [Protection::Secretmem, Protection::Mlock, Protection::Heap] {
        let mut holder = Helper::start("holds_a_key_hardened");
        holder.say(kind.as_str());
        let told = holder.hear();
        let [held_as, address, masked] = told.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{told}");
        };
        if held_as != kind.as_str() {
            continue; // This system does not offer it.
        }
        let address = u64::from_str_radix(address, 16).unwrap();
        let key = needles::unmasked(masked);
        let read = scan::read(holder.pid(), address, key.len());
        if !rustix::process::geteuid().is_root() {
            // A process of the same user, without privileges.
            assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        } else if kind == Protection::Secretmem {
            assert!(read.is_err(), "root reads secretmem");
        } else {
            assert_eq!(read.unwrap(), key, "root reads everything but secretmem");
        }
        let secret = [Needle::held("the key", key)];
        let found = scan::find_if_allowed(holder.pid(), &secret);
        if kind == Protection::Secretmem {
            assert!(found.is_none_or(|found| found.is_empty()), "a copy outside of secretmem");
        }
    }
}

#[test]
fn a_process_of_the_same_user_cannot_read_a_hardened_one() {
    if !rustix::process::geteuid().is_root() {
        return; // The test above is this one already: its scanner is that process.
    }
    for (orders, expected) in [("harden", "refused"), ("stay open", "read")] {
        let mut holder = Helper::start_as_nobody("holds_a_key_as_told");
        holder.say(orders);
        let told = holder.hear();
        let mut reader = Helper::start_as_nobody("reads_a_neighbour");
        reader.say(&format!("{} {told}", holder.pid()));
        let answer = reader.hear();
        // Where Yama forbids neighbours to look at each other, the open one is closed as well.
        assert!(answer == expected || (orders == "stay open" && scan::yama_forbids()), "{answer}");
    }
}
