//! Whatever a crash leaves, the next log begins, and nothing that was committed is gone.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use crate::audit::testing::{Place, files};
use crate::audit::*;
use crate::clock::Clock as _;

/// Which entries were answered for, in order.
type Committed = Vec<String>;

async fn append(log: &Log, committed: &mut Committed, entries: &[String]) -> bool {
    let bytes = entries.iter().map(|entry| entry.clone().into_bytes()).collect();
    let done = log.append_all(bytes).await.is_ok();
    if done {
        committed.extend_from_slice(entries);
    }
    done
}

fn names(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|number| format!("entry {number}")).collect()
}

/// A log that is begun, fills bundles, has checkpoints, is followed by another and closed, as far as the disk lets it.
async fn life(place: &Place) -> Committed {
    let mut committed = Committed::new();
    let Ok(log) = place.try_open(|_| b"start".to_vec()).await else { return committed };
    'life: {
        if !append(&log, &mut committed, &names(0, 3)).await || log.checkpoint().await.is_err() {
            break 'life;
        }
        if !append(&log, &mut committed, &names(100, 250)).await
            || !append(&log, &mut committed, &names(400, 5)).await
            || log.checkpoint().await.is_err()
            || !append(&log, &mut committed, &names(500, 10)).await
        {
            break 'life;
        }
        let rotated =
            log.rotate_if_due(place.clock.now(), b"close".to_vec(), |_| b"start".to_vec());
        if rotated.await.is_err() || !append(&log, &mut committed, &names(600, 2)).await {
            break 'life;
        }
        let _ = log.close(b"close".to_vec()).await;
    }
    log.abandon();
    committed
}

/// All entries of all logs that are not the sidecar's own.
fn found(place: &Place) -> Vec<String> {
    let texts = place.audit().iter().flat_map(testing::AuditedLog::texts).collect::<Vec<_>>();
    texts.into_iter().filter(|text| text.starts_with("entry")).collect()
}

/// `committed` is in `found`, in order and once, whatever else is there.
fn holds(found: &[String], committed: &[String]) {
    let mut once = found.to_vec();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), found.len(), "an entry is there twice");
    let kept: Vec<_> = found.iter().filter(|entry| committed.contains(entry)).collect();
    assert_eq!(kept, committed.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_kill_at_any_step_loses_nothing_that_was_committed() {
    let mut place = Place::new();
    place.settings.rotate_bytes = 100;
    assert_eq!(life(&place).await.len(), 270);
    let steps = place.disk.faults.steps();
    assert!(steps > 150, "{steps}");
    for step in 0..steps {
        let mut place = Place::new();
        place.disk.faults.skip_flushes();
        place.settings.rotate_bytes = 100;
        place.disk.faults.stop_at(step);
        let committed = life(&place).await;
        assert!(place.disk.faults.has_stopped(), "{step}");
        place.disk.faults.heal();
        let (log, start) = place.open().await;
        if let Some(previous) = start.previous {
            assert!(!matches!(previous.ended, Ended::Damaged(_)), "{step}: {previous:?}");
        }
        log.append(b"entry after".to_vec()).await.unwrap();
        log.close(b"close".to_vec()).await.unwrap();
        let mut expected = committed;
        expected.push("entry after".to_owned());
        holds(&found(&place), &expected);
        let left: Vec<_> =
            files(&place.top()).into_iter().filter(|path| path.contains("/.")).collect();
        assert!(left.iter().all(|path| path.ends_with(".new")), "{step}: {left:?}");
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Append(usize),
    Checkpoint,
    Rotate,
    Close,
    Kill,
    /// The disk stops so many steps from now.
    Stop(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1_usize..300).prop_map(Deed::Append),
        2 => Just(Deed::Checkpoint),
        1 => Just(Deed::Rotate),
        1 => Just(Deed::Close),
        1 => Just(Deed::Kill),
        2 => (0_u64..40).prop_map(Deed::Stop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_life_with_crashes_leaves_a_chain_that_holds(
        deeds in proptest::collection::vec(deed(), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut place = Place::new();
            place.settings.rotate_bytes = 0;
            place.disk.faults.skip_flushes();
            let mut committed = Committed::new();
            let (mut log, _) = place.open().await;
            let mut number = 0;
            for deed in deeds {
                let done = match deed {
                    Deed::Append(count) => {
                        number += count;
                        append(&log, &mut committed, &names(number - count, count)).await
                    }
                    Deed::Checkpoint => log.checkpoint().await.is_ok(),
                    Deed::Rotate => {
                        let now = place.clock.now();
                        let first = |_: &LogStart| b"start".to_vec();
                        log.rotate_if_due(now, b"close".to_vec(), first).await.is_ok()
                    }
                    Deed::Close => {
                        let _ = log.close(b"close".to_vec()).await;
                        false
                    }
                    Deed::Kill => false,
                    Deed::Stop(steps) => {
                        place.disk.faults.stop_at(steps);
                        true
                    }
                };
                if !done {
                    log.abandon();
                    // What stopped may stop the next start as well, and the one after that.
                    if place.disk.faults.has_stopped() {
                        place.disk.faults.stop_at(7);
                        if let Ok(log) = place.try_open(|_| b"start".to_vec()).await {
                            log.abandon();
                        }
                        place.disk.faults.heal();
                    }
                    log = match place.try_open(|_| b"start".to_vec()).await {
                        Ok(log) => log,
                        Err(_) => {
                            place.disk.faults.heal();
                            place.open().await.0
                        }
                    };
                }
            }
            place.disk.faults.heal();
            log.abandon();
            place.open().await.0.close(b"close".to_vec()).await.unwrap();
            holds(&found(&place), &committed);
        });
    }
}

/// A log with 300 entries, a checkpoint over 290 of them, killed.
async fn killed() -> Place {
    let place = Place::new();
    let (log, _) = place.open().await;
    append(&log, &mut Vec::new(), &names(1, 289)).await;
    log.checkpoint().await.unwrap();
    append(&log, &mut Vec::new(), &names(290, 10)).await;
    log.abandon();
    place
}

async fn how_it_ended(place: &Place) -> Previous {
    let (log, start) = place.open().await;
    log.close(b"close".to_vec()).await.unwrap();
    start.previous.unwrap()
}

#[tokio::test]
async fn entries_after_the_last_checkpoint_are_vouched_for_by_the_next_certificate() {
    let place = killed().await;
    let previous = how_it_ended(&place).await;
    assert_eq!((previous.checkpoint_size, previous.found_size), (290, 300));
    assert_eq!(previous.ended, Ended::Unclean { vouched_for: 10 });
    let logs = place.audit();
    assert_eq!((logs[0].entries.len(), logs[0].closed), (300, false));
    // Everything there is, in tiles, for the size that was found.
    let folder = &place.logs()[0];
    for path in ["tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1", "tail"] {
        assert!(folder.join(path).is_file(), "{path}");
    }
    // Those of the checkpoint stay too.
    assert!(folder.join("tile/0/001.p/34").is_file());
    let closed = how_it_ended(&place).await;
    assert_eq!((closed.ended, closed.found_size), (Ended::Clean, 2));
}

#[tokio::test]
async fn an_entry_that_is_cut_off_was_never_committed_and_is_cut_away() {
    let place = killed().await;
    let tail = place.logs()[0].join("tail");
    let whole = fs::read(&tail).unwrap();
    for torn in [&[0][..], &[0, 9], &[0, 9, b'x']] {
        fs::write(&tail, [&whole, torn].concat()).unwrap();
        let place_of_a_copy = &place;
        let (log, start) = place_of_a_copy.open().await;
        log.abandon();
        if start.number == 2 {
            assert_eq!(start.previous.unwrap().ended, Ended::Unclean { vouched_for: 10 });
            assert_eq!(fs::read(&tail).unwrap(), whole);
        }
    }
}

#[tokio::test]
async fn tiles_that_are_gone_or_wrong_are_made_again_from_the_entries() {
    let spoils: [fn(&std::path::Path); 4] = [
        |folder| fs::remove_dir_all(folder.join("tile/1")).unwrap(),
        |folder| fs::remove_dir_all(folder.join("tile/0")).unwrap(),
        |folder| fs::write(folder.join("tile/1/000.p/1"), [0; 32]).unwrap(),
        |folder| fs::write(folder.join("tail"), b"").unwrap(),
    ];
    for (number, spoil) in spoils.iter().enumerate() {
        let place = killed().await;
        spoil(&place.logs()[0]);
        let previous = how_it_ended(&place).await;
        assert!(matches!(previous.ended, Ended::Unclean { .. }), "{number}: {previous:?}");
        let kept = if number == 3 { 290 } else { 300 };
        assert_eq!(previous.found_size, kept, "{number}");
        place.audit();
    }
}

#[tokio::test]
async fn what_was_tampered_with_is_said_left_alone_and_keeps_no_log_from_beginning() {
    type Spoil = fn(&std::path::Path);
    let spoils: [(Damage, Spoil); 8] = [
        (Damage::Altered, |folder| {
            let path = folder.join("tile/entries/000");
            let mut bytes = fs::read(&path).unwrap();
            bytes[20] ^= 1;
            fs::write(path, bytes).unwrap();
            fs::remove_dir_all(folder.join("tile/0")).unwrap();
        }),
        (Damage::Altered, |folder| {
            let path = folder.join("tail");
            let mut bytes = fs::read(&path).unwrap();
            bytes[20] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        (Damage::Missing, |folder| {
            fs::remove_file(folder.join("tail")).unwrap();
            fs::remove_dir_all(folder.join("tile/entries/001.p")).unwrap();
        }),
        (Damage::Missing, |folder| fs::remove_dir_all(folder.join("tile")).unwrap()),
        (Damage::Checkpoint, |folder| fs::remove_file(folder.join("checkpoint")).unwrap()),
        (Damage::Certificate, |folder| fs::write(folder.join("certificate"), "x").unwrap()),
        (Damage::Unreadable, |folder| {
            let tail = folder.join("tail");
            fs::rename(&tail, folder.join("elsewhere")).unwrap();
            std::os::unix::fs::symlink("elsewhere", tail).unwrap();
        }),
        (Damage::Checkpoint, |folder| {
            let path = folder.join("checkpoint");
            let text = fs::read_to_string(&path).unwrap().replacen("\n290\n", "\n289\n", 1);
            fs::write(path, text).unwrap();
        }),
    ];
    for (number, (damage, spoil)) in spoils.iter().enumerate() {
        let place = killed().await;
        let folder = place.logs()[0].clone();
        spoil(&folder);
        let before = files(&folder);
        let (log, start) = place.open().await;
        assert_eq!(start.previous.unwrap().ended, Ended::Damaged(*damage), "{number}");
        log.append(b"on".to_vec()).await.unwrap();
        log.close(b"close".to_vec()).await.unwrap();
        assert_eq!(files(&folder), before, "{number}");
    }
}

#[tokio::test]
async fn a_long_log_is_looked_at_by_its_edge_alone() {
    let place = Place::new();
    let (log, _) = place.open().await;
    for _ in 0..4 {
        append(&log, &mut Vec::new(), &names(0, 2_560)).await;
    }
    log.checkpoint().await.unwrap();
    log.abandon();
    // Whoever read this bundle would find it broken; nothing but its being there is looked at.
    fs::write(place.logs()[0].join("tile/entries/003"), b"x").unwrap();
    let previous = how_it_ended(&place).await;
    assert_eq!(previous.ended, Ended::Unclean { vouched_for: 0 });
    assert_eq!(previous.found_size, 10_241);
}

#[tokio::test]
async fn compression_and_pruning_that_are_cut_short_are_done_the_next_time() {
    let mut step = 0;
    loop {
        let place = Place::new();
        let (log, _) = place.open().await;
        append(&log, &mut Vec::new(), &names(1, 600)).await;
        log.close(b"close".to_vec()).await.unwrap();
        let (log, _) = place.open().await;
        place.disk.faults.stop_at(step);
        let compressed = log.compress().await;
        place.disk.faults.heal();
        assert_eq!(place.audit()[0].entries.len(), 602);
        log.compress().await.unwrap();
        assert_eq!(place.audit()[0].entries.len(), 602);
        assert!(!place.logs()[0].join("tile/entries/001").exists());

        place.clock.advance(Duration::from_secs(2_000));
        let due = log.due_for_pruning(place.clock.now()).await.unwrap();
        place.disk.faults.stop_at(step);
        let deleted = log.delete(due[0].clone()).await;
        place.disk.faults.heal();
        if deleted.is_err() {
            let again = log.due_for_pruning(place.clock.now()).await.unwrap();
            for old in again {
                log.delete(old).await.unwrap();
            }
        }
        assert_eq!(files(&place.logs()[0]), ["certificate", "checkpoint"]);
        if compressed.is_ok() && deleted.is_ok() {
            break;
        }
        step += 1;
    }
    assert!(step > 10, "{step}");
}
