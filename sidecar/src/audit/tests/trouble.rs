//! A disk that is full, fails, hangs or goes away: nobody is told that an entry is in if it is not, and the log heals.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;

use crate::audit::faults::Step;
use crate::audit::testing::Place;
use crate::audit::*;
use crate::clock::Clock as _;

async fn refused(log: &Log, entry: &str) -> String {
    match log.append(entry.as_bytes().to_vec()).await {
        Err(AppendError::Refused { reason }) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_disk_that_fails_refuses_says_why_and_heals_by_itself() {
    let troubles = [
        (Step::Write, Errno::NOSPC, "make room"),
        (Step::Write, Errno::IO, "Input/output error"),
        (Step::Write, Errno::ROFS, "mount it to be written"),
        (Step::Flush, Errno::IO, "Input/output error"),
        (Step::Flush, Errno::NOSPC, "make room"),
    ];
    for durability in [Durability::Group, Durability::Sync] {
        for (step, errno, said) in troubles {
            let mut place = Place::new();
            place.settings.durability = durability;
            let (log, _) = place.open().await;
            log.append(b"before".to_vec()).await.unwrap();
            place.disk.faults.fail(step, errno);
            for _ in 0..2 {
                let reason = refused(&log, "refused").await;
                assert!(reason.contains(said) && reason.contains("tail"), "{reason}");
                assert_eq!(log.status().failing.as_deref(), Some(&*reason));
            }
            log.enqueue(b"refused");
            let _ = refused(&log, "refused").await;
            assert_eq!((log.status().lost, log.status().size), (1, 2));
            place.disk.faults.heal();
            assert_eq!(log.append(b"after".to_vec()).await.unwrap().index(), 2);
            assert_eq!(log.status().failing, None);
            log.close(b"close".to_vec()).await.unwrap();
            assert_eq!(place.audit()[0].texts(), ["start", "before", "after", "close"]);
        }
    }
}

#[tokio::test]
async fn a_checkpoint_or_a_tile_that_fails_loses_no_entry_and_is_tried_again() {
    for step in [Step::Create, Step::Rename] {
        let place = Place::new();
        let (log, _) = place.open().await;
        place.disk.faults.fail(step, Errno::NOSPC);
        assert_eq!(log.append(b"x".to_vec()).await.unwrap().index(), 1);
        assert!(log.checkpoint().await.is_err());
        assert!(log.status().failing.is_some());
        let all = vec![b"x".to_vec(); 254];
        assert_eq!(log.append_all(all).await.unwrap().index(), 255);
        // The tail is full: until it is a bundle, there is room for nothing.
        let _ = refused(&log, "refused").await;
        place.disk.faults.heal();
        assert_eq!(log.append(b"x".to_vec()).await.unwrap().index(), 256);
        log.checkpoint().await.unwrap();
        assert_eq!(log.status().failing, None);
        assert_eq!(place.audit()[0].checkpoint_size, 257, "{step:?}");
        log.close(b"close".to_vec()).await.unwrap();
        assert_eq!(place.audit()[0].entries.len(), 258);
    }
}

#[tokio::test]
async fn a_disk_that_hangs_is_too_slow_and_the_late_entry_is_there_once() {
    let mut place = Place::new();
    place.settings.commit_timeout = Duration::from_millis(50);
    let (log, _) = place.open().await;
    place.disk.faults.hang(Step::Flush);
    assert_eq!(log.append(b"late".to_vec()).await, Err(AppendError::TooSlow));
    place.disk.faults.wait_until_it_hangs();
    assert_eq!(log.append(b"later".to_vec()).await, Err(AppendError::TooSlow));
    assert_eq!(log.status().queued, 1);
    place.disk.faults.heal();
    log.close(b"close".to_vec()).await.unwrap();
    assert_eq!(place.audit()[0].texts(), ["start", "late", "later", "close"]);
}

#[tokio::test]
async fn files_that_are_removed_or_changed_under_it_are_noticed() {
    let spoils: [fn(&Place); 5] = [
        |place| fs::write(place.logs()[0].join("tail"), "").unwrap(),
        |place| fs::remove_dir_all(place.top()).unwrap(),
        |place| fs::remove_file(place.logs()[0].join("tail")).unwrap(),
        |place| fs::rename(place.top(), place.top().with_extension("away")).unwrap(),
        |place| {
            let tail = place.logs()[0].join("tail");
            let mut bytes = fs::read(&tail).unwrap();
            bytes.extend_from_slice(b"more than the next entry is long");
            fs::write(&tail, bytes).unwrap();
        },
    ];
    for (number, spoil) in spoils.iter().enumerate() {
        let place = Place::new();
        let (log, _) = place.open().await;
        log.append(b"x".to_vec()).await.unwrap();
        spoil(&place);
        let reason = refused(&log, "refused").await;
        assert!(reason.contains("removed, replaced or changed"), "{number}: {reason}");
        assert!(reason.contains("start the sidecar again"), "{number}: {reason}");
        assert!(log.close(b"close".to_vec()).await.is_err() || number == 4);
    }
}

#[tokio::test]
async fn a_rotation_that_the_disk_refuses_leaves_the_old_log_open_and_nothing_behind() {
    let mut place = Place::new();
    place.settings.rotate_bytes = 1;
    let (log, first) = place.open().await;
    for (step, errno) in [(Step::Write, Errno::NOSPC), (Step::Rename, Errno::IO)] {
        place.disk.faults.fail(step, errno);
        let now = place.clock.now();
        let refused = log.rotate_if_due(now, b"close".to_vec(), |_| b"start".to_vec()).await;
        assert!(matches!(refused, Err(LogError::Disk(_))), "{refused:?}");
        place.disk.faults.heal();
        let receipt = log.append(b"on".to_vec()).await.unwrap();
        assert_eq!(receipt.log(), &*first.origin);
        assert_eq!(place.logs().len(), 1, "{:?}", place.logs());
    }
    log.close(b"close".to_vec()).await.unwrap();
    assert_eq!(place.audit()[0].texts(), ["start", "on", "on", "close"]);
}

#[tokio::test]
async fn sync_flushes_each_entry_group_all_of_them_at_once_and_async_none() {
    for (durability, wanted) in
        [(Durability::Sync, 5), (Durability::Group, 1), (Durability::Async, 0)]
    {
        let mut place = Place::new();
        place.settings.durability = durability;
        let (log, _) = place.open().await;
        let before = place.disk.faults.taken(Step::Flush);
        log.append_all(vec![b"x".to_vec(); 5]).await.unwrap();
        assert_eq!(place.disk.faults.taken(Step::Flush) - before, wanted, "{durability:?}");
    }
}

#[tokio::test]
async fn two_writers_do_not_share_a_folder() {
    let place = Place::new();
    let (log, _) = place.open().await;
    let second = place.try_open(|_| b"start".to_vec()).await.unwrap_err();
    assert!(matches!(second, LogError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("audit.folder"));
    log.close(b"close".to_vec()).await.unwrap();
    place.open().await;
}

#[tokio::test]
async fn a_folder_that_others_can_write_to_or_that_is_a_link_is_refused() {
    let place = Place::new();
    let elsewhere = place.top().with_extension("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for mode in [0o777, 0o770, 0o702] {
        fs::create_dir_all(place.top()).unwrap();
        fs::set_permissions(place.top(), fs::Permissions::from_mode(mode)).unwrap();
        let refused = place.try_open(|_| b"start".to_vec()).await.unwrap_err();
        assert!(refused.to_string().contains("chmod go-w"), "{refused}");
    }
    fs::remove_dir(place.top()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.top()).unwrap();
    let refused = place.try_open(|_| b"start".to_vec()).await.unwrap_err();
    assert!(refused.to_string().contains("no link"), "{refused}");
    fs::remove_file(place.top()).unwrap();
    // A lock that leads elsewhere makes no file there.
    fs::create_dir(place.top()).unwrap();
    fs::set_permissions(place.top(), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("lock"), place.top().join("lock")).unwrap();
    assert!(place.try_open(|_| b"start".to_vec()).await.is_err());
    assert!(!elsewhere.join("lock").exists());
}

/// A limit on the size of files is a full disk that needs no privilege: a write is cut short, and the next one fails.
#[test]
fn a_real_full_disk_refuses_and_heals() {
    let test = "audit::tests::trouble::fills_its_own_limit";
    let command = "trap '' XFSZ; exec \"$0\" --exact \"$1\" --ignored";
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

#[tokio::test]
#[ignore = "limits the files of the process that it runs in: a_real_full_disk_refuses_and_heals starts it"]
async fn fills_its_own_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let place = Place::new();
    let (log, _) = place.open().await;
    log.append(b"before".to_vec()).await.unwrap();
    let before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(40_000), ..before }).unwrap();
    for size in [39_000, 45_000, 60_000] {
        let result = log.append(vec![b'x'; size]).await;
        assert_eq!(result.is_ok(), size == 39_000, "{size}: {result:?}");
    }
    let reason = log.status().failing.unwrap();
    assert!(reason.contains("raise the limit"), "{reason}");
    assert_eq!(log.append(b"small".to_vec()).await.unwrap().index(), 3);
    setrlimit(Resource::Fsize, before).unwrap();
    log.append(vec![b'y'; 60_000]).await.unwrap();
    log.close(b"close".to_vec()).await.unwrap();
    assert_eq!(place.audit()[0].entries.len(), 6);
}
