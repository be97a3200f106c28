//! The log as a whole: what is appended is there, in order, and holds against its tree.

use std::sync::Arc;
use std::time::Duration;

use super::testing::{AuditedLog, Place, files};
use super::*;
use crate::clock::Clock as _;

mod counts;
mod recovery;
mod trouble;
mod upkeep;

#[tokio::test]
async fn what_is_appended_is_there_in_order_and_the_log_is_closed() {
    let place = Place::new();
    let (log, start) = place.open().await;
    assert_eq!((start.number, &start.previous), (1, &None));
    for index in 1..=600_u64 {
        let receipt = log.append(format!("entry {index}").into_bytes()).await.unwrap();
        assert_eq!((receipt.index(), receipt.log()), (index, &*start.origin));
    }
    log.close(b"close".to_vec()).await.unwrap();
    assert_eq!(log.append(b"late".to_vec()).await, Err(AppendError::Closed));
    let [audited] = &place.audit()[..] else { panic!() };
    assert_eq!(audited.origin, *start.origin);
    assert_eq!((audited.checkpoint_size, audited.closed), (602, true));
    let texts = audited.texts();
    assert_eq!((texts.len(), &*texts[0], &*texts[601]), (602, "start", "close"));
    assert_eq!(texts[17], "entry 17");
}

#[tokio::test]
async fn the_folder_of_a_closed_log_has_these_files_and_no_other() {
    let place = Place::new();
    let (log, _) = place.open().await;
    for _ in 0..300 {
        log.append(b"x".to_vec()).await.unwrap();
        place.clock.advance(Duration::from_millis(100));
    }
    log.close(b"close".to_vec()).await.unwrap();
    assert_eq!(
        files(&place.logs()[0]),
        [
            "certificate",
            "checkpoint",
            "tile/0/000",
            "tile/0/001.p/46",
            "tile/1/000.p/1",
            "tile/entries/000",
            "tile/entries/001.p/46"
        ]
    );
    let mut above = files(&place.top());
    above.retain(|path| !path.contains("00001-"));
    assert_eq!(above, ["authorities", "lock"]);
    let keys = std::fs::read_to_string(place.top().join("authorities")).unwrap();
    assert_eq!(keys, place.root.verification_key() + "\n");
}

#[tokio::test]
async fn files_and_folders_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let (log, _) = place.open().await;
    for _ in 0..257 {
        log.append(b"x".to_vec()).await.unwrap();
    }
    log.checkpoint().await.unwrap();
    for found in walkdir::WalkDir::new(place.top()) {
        let found = found.unwrap();
        let mode = found.metadata().unwrap().permissions().mode() & 0o7777;
        let wanted = if found.file_type().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{}", found.path().display());
    }
}

#[tokio::test]
async fn a_checkpoint_is_signed_when_it_is_due_and_not_before() {
    let place = Place::new();
    let (log, _) = place.open().await;
    let mut events = log.subscribe(10);
    for entry in [b"one", b"two"] {
        log.append(entry.to_vec()).await.unwrap();
    }
    // The writer has looked at the clock since the first of them, and may yet since the second.
    assert_eq!(log.status().checkpoint_size, 1);
    place.clock.advance(Duration::from_secs(1));
    log.append(b"three".to_vec()).await.unwrap();
    let mut entries = Vec::new();
    let signed = loop {
        match events.next().await.unwrap() {
            Event::Entry { index, entry, .. } => entries.push((index, entry.to_vec())),
            Event::Checkpoint { size, .. } => break size,
        }
    };
    assert!(signed == 3 || signed == 4, "{signed}");
    let expected = [(0, b"start".to_vec()), (1, b"one".to_vec()), (2, b"two".to_vec())];
    assert_eq!(entries[..3], expected);
    assert_eq!(log.status().checkpoint_size, signed);
    assert_eq!(place.audit()[0].checkpoint_size, signed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_each_get_a_place_of_their_own() {
    const TASKS: usize = 64;
    const APPENDS: usize = 500;
    let place = Place::new();
    let (log, _) = place.open().await;
    let log = Arc::new(log);
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let log = Arc::clone(&log);
        tasks.push(tokio::spawn(async move {
            let mut receipts = Vec::new();
            for number in 0..APPENDS {
                let entry = format!("{task}/{number}");
                receipts.push((log.append(entry.clone().into_bytes()).await.unwrap(), entry));
            }
            receipts
        }));
    }
    let mut receipts = Vec::new();
    for task in tasks {
        let of_one = task.await.unwrap();
        assert!(of_one.is_sorted_by_key(|(receipt, _)| receipt.index()));
        receipts.extend(of_one);
    }
    log.close(b"close".to_vec()).await.unwrap();
    let [audited] = &place.audit()[..] else { panic!() };
    assert_eq!(audited.entries.len(), TASKS * APPENDS + 2);
    let mut indexes: Vec<_> = receipts.iter().map(|(receipt, _)| receipt.index()).collect();
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), TASKS * APPENDS);
    for (receipt, entry) in receipts {
        assert_eq!(audited.entries[usize::try_from(receipt.index()).unwrap()], entry.as_bytes());
    }
}

#[tokio::test]
async fn an_entry_is_in_the_queue_before_anybody_polls() {
    let place = Place::new();
    let (log, _) = place.open().await;
    let never_polled = log.append(b"one".to_vec());
    log.enqueue(b"two");
    let receipt = log.append_all(vec![b"three".to_vec(), b"four".to_vec()]).await.unwrap();
    assert_eq!(receipt.index(), 4);
    drop(never_polled);
    log.close(b"close".to_vec()).await.unwrap();
    assert_eq!(place.audit()[0].texts(), ["start", "one", "two", "three", "four", "close"]);
}

#[tokio::test]
async fn what_is_too_long_or_too_much_is_refused_whole() {
    let mut place = Place::new();
    place.settings.queue_max = 3;
    let (log, _) = place.open().await;
    let bytes = 65_536;
    assert_eq!(log.append(vec![b'x'; bytes]).await, Err(AppendError::TooLong { bytes }));
    let four = vec![b"x".to_vec(); 4];
    assert_eq!(log.append_all(four).await, Err(AppendError::QueueFull));
    log.enqueue(&vec![b'x'; bytes]);
    assert_eq!(log.status().lost, 1);
    log.append(vec![b'x'; 65_535]).await.unwrap();
    log.close(b"close".to_vec()).await.unwrap();
    assert_eq!(place.audit()[0].entries.len(), 3);
}

#[tokio::test]
async fn each_durability_comes_to_the_same_files() {
    for durability in [Durability::Sync, Durability::Group, Durability::Async] {
        let mut place = Place::new();
        place.settings.durability = durability;
        let (log, _) = place.open().await;
        let entries = (0..600).map(|number| format!("{number}").into_bytes()).collect();
        assert_eq!(log.append_all(entries).await.unwrap().index(), 600);
        log.close(b"close".to_vec()).await.unwrap();
        assert_eq!(place.audit()[0].entries.len(), 602, "{durability:?}");
    }
}

#[tokio::test]
async fn a_log_that_is_long_or_old_is_followed_by_another() {
    let mut place = Place::new();
    place.settings.rotate_bytes = 1_000;
    place.settings.rotate_after = Duration::from_secs(60);
    let (log, first) = place.open().await;
    let mut events = log.subscribe(100);
    let rotate = async |now| {
        log.rotate_if_due(now, b"close".to_vec(), |start| start.origin.as_bytes().to_vec()).await
    };
    assert_eq!(rotate(place.clock.now()).await.unwrap(), None);
    log.append(vec![b'x'; 1_000]).await.unwrap();
    let rotated = rotate(place.clock.now()).await.unwrap().unwrap();
    assert_eq!(rotated.closed.origin, *first.origin);
    assert_eq!((rotated.closed.found_size, rotated.closed.ended), (3, Ended::Clean));
    assert_eq!(rotated.begun.number, 2);
    let receipt = log.append(b"after".to_vec()).await.unwrap();
    assert_eq!((receipt.log(), receipt.index()), (&*rotated.begun.origin, 1));
    place.clock.advance(Duration::from_secs(60));
    assert_eq!(rotate(place.clock.now()).await.unwrap().unwrap().begun.number, 3);
    log.close(b"end".to_vec()).await.unwrap();

    let logs = place.audit();
    assert!(logs.iter().all(|log| log.closed));
    let texts: Vec<_> = logs.iter().map(AuditedLog::texts).collect();
    assert_eq!((texts[0].len(), &*texts[0][2]), (3, "close"));
    assert_eq!(texts[1], [&*rotated.begun.origin, "after", "close"]);
    assert_eq!(texts[2][1], "end");
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Event::Entry { log, index, .. } => seen.push((log, index)),
            Event::Checkpoint { .. } => {}
        }
    }
    let expected: Vec<_> = logs
        .iter()
        .flat_map(|log| {
            (0..log.entries.len() as u64).map(|index| (log.origin.as_str().into(), index))
        })
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn while_the_root_is_away_the_old_log_goes_on() {
    let mut place = Place::new();
    place.settings.rotate_bytes = 1;
    let (log, first) = place.open().await;
    place.root.is_away(true);
    let refused = log
        .rotate_if_due(place.clock.now(), b"close".to_vec(), |_| b"start".to_vec())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("the root is away"), "{refused}");
    assert_eq!(log.append(b"on".to_vec()).await.unwrap().log(), &*first.origin);
    place.root.is_away(false);
    log.rotate_if_due(place.clock.now(), b"close".to_vec(), |_| b"start".to_vec())
        .await
        .unwrap()
        .unwrap();
    log.close(b"end".to_vec()).await.unwrap();
    assert_eq!(place.audit()[0].texts(), ["start", "on", "close"]);
}

#[tokio::test]
async fn a_root_that_hangs_while_entries_wait_does_not_hold_them_for_long() {
    let mut place = Place::new();
    place.settings.rotate_bytes = 1;
    place.settings.commit_timeout = Duration::from_millis(400);
    let (log, first) = place.open().await;
    // It answers when it is asked the first time, and not when entries wait for it.
    place.root.hangs_after(1);
    let rotation = log.rotate_if_due(place.clock.now(), b"close".to_vec(), |_| b"start".to_vec());
    let waiting = async {
        while !log.is_held() {
            tokio::task::yield_now().await;
        }
        log.append(b"waits".to_vec()).await
    };
    let (refused, waited) = tokio::join!(rotation, waiting);
    assert!(matches!(refused, Err(LogError::NotCertified { .. })), "{refused:?}");
    assert_eq!(waited.unwrap().log(), &*first.origin);
    // One that is given up half way holds nobody up either.
    place.root.hangs_after(1);
    {
        let rotation = log.rotate_if_due(place.clock.now(), b"close".to_vec(), |_| b"s".to_vec());
        let mut rotation = std::pin::pin!(rotation);
        while !log.is_held() {
            tokio::select! {
                biased;
                done = &mut rotation => panic!("{done:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    log.append(b"goes on".to_vec()).await.unwrap();
    log.close(b"close".to_vec()).await.unwrap();
    assert_eq!(place.audit()[0].texts(), ["start", "waits", "goes on", "close"]);
}

#[tokio::test]
async fn without_an_authority_no_log_is_begun() {
    let place = Place::new();
    place.root.is_away(true);
    let refused = place.try_open(|_| b"start".to_vec()).await.unwrap_err();
    assert!(matches!(refused, LogError::NotCertified { .. }), "{refused}");
    assert!(place.logs().is_empty());
    place.root.is_away(false);
    place.open().await;
}

#[tokio::test]
async fn a_witness_signs_the_newest_checkpoint_and_no_other() {
    let place = Place::new();
    let (log, start) = place.open().await;
    log.append(b"x".to_vec()).await.unwrap();
    log.checkpoint().await.unwrap();
    let line = "\u{2014} witness.example/w1 AAAAAQIDBAUGBwg=\n";
    assert!(!log.add_cosignature(&start.origin, 1, line).await.unwrap());
    assert!(log.add_cosignature(&start.origin, 2, line).await.unwrap());
    assert!(log.add_cosignature(&start.origin, 2, line).await.unwrap());
    let refused = log.add_cosignature(&start.origin, 2, "no line").await;
    assert!(matches!(refused, Err(LogError::Cosignature)));
    let note = std::fs::read_to_string(place.logs()[0].join("checkpoint")).unwrap();
    assert_eq!(note.matches(line).count(), 1);
    assert_eq!(place.audit()[0].checkpoint_size, 2);
    // That of a log that is over, too.
    log.close(b"close".to_vec()).await.unwrap();
    let (next, _) = place.open().await;
    assert!(next.add_cosignature(&start.origin, 3, line).await.unwrap());
    assert!(!next.add_cosignature("keypod.test/orders/0000000000000000", 3, line).await.unwrap());
    let note = std::fs::read_to_string(place.logs()[0].join("checkpoint")).unwrap();
    assert_eq!(note.matches(line).count(), 1);
    place.audit();
}

#[tokio::test]
async fn old_logs_are_compressed_and_in_time_pruned() {
    let place = Place::new();
    let (log, first) = place.open().await;
    let entries = (0..600).map(|number| format!("entry {number}").into_bytes()).collect();
    log.append_all(entries).await.unwrap();
    log.close(b"close".to_vec()).await.unwrap();
    let (log, _) = place.open().await;
    let compressed = log.compress().await.unwrap();
    assert_eq!(compressed.bundles, 2);
    assert!(compressed.bytes_after < compressed.bytes_before);
    assert_eq!(log.compress().await.unwrap(), Compressed::default());
    assert!(place.logs()[0].join("tile/entries/000.gz").exists());
    assert!(!place.logs()[0].join("tile/entries/000").exists());
    place.audit();

    assert!(log.due_for_pruning(place.clock.now()).await.unwrap().is_empty());
    place.clock.advance(Duration::from_secs(1_001));
    let due = log.due_for_pruning(place.clock.now()).await.unwrap();
    let [old] = &due[..] else { panic!("{due:?}") };
    assert_eq!((old.number, &*old.origin, old.size), (1, &*first.origin, 602));
    let kept = Duration::from_secs(1_000);
    assert_eq!((old.retention, old.ended.after(kept) < place.clock.now().wall), (kept, true));
    log.delete(old.clone()).await.unwrap();
    assert_eq!(files(&place.logs()[0]), ["certificate", "checkpoint"]);
    assert!(log.due_for_pruning(place.clock.now()).await.unwrap().is_empty());
}
