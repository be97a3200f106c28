//! What committing an entry costs with 1, 16 and 64 who wait, beside a bare write and flush of the same bytes as a
//! measure of this disk.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make items without documentation; a benchmark may stop"
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use keypod::audit::{Durability, Log, LogSettings};
use keypod::clock::SystemClock;
use keypod::root::local::LocalRoot;
use keypod::secret::{Arena, Protection};
use tokio::runtime::Runtime;

/// An entry of a usual length.
const ENTRY: &[u8] = &[b'x'; 400];

/// On the disk of the build, which is a disk: `/tmp` may be memory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

async fn open(folder: &tempfile::TempDir, durability: Durability) -> Log {
    let settings = LogSettings {
        folder: folder.path().join("audit"),
        origin: "keypod.bench".parse().unwrap(),
        durability,
        commit_timeout: Duration::from_secs(10),
        checkpoint_every: Duration::from_secs(1),
        queue_max: 4_096,
        rotate_bytes: u64::MAX,
        rotate_after: Duration::MAX,
        retention: Duration::MAX,
    };
    let root = folder.path().join("root.key");
    LocalRoot::create_key_file(&root).unwrap();
    let arena = Arena::with_protection_at_most(Protection::Heap).unwrap();
    let authority = LocalRoot::from_key_file(&root, &arena).unwrap().authority().unwrap();
    Log::open(settings, vec![Arc::new(authority)], Arc::new(SystemClock), |_| b"{}".to_vec())
        .await
        .unwrap()
}

/// The time for `appends` appends by `waiters` tasks.
async fn append(log: &Arc<Log>, waiters: u64, appends: u64) -> Duration {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..waiters)
        .map(|waiter| {
            let log = Arc::clone(log);
            let share = appends / waiters + u64::from(waiter < appends % waiters);
            tokio::spawn(async move {
                for _ in 0..share {
                    log.append(ENTRY.to_vec()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    begun.elapsed()
}

fn audit(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("audit");
    group.measurement_time(Duration::from_secs(4)).sample_size(20);
    let beside = folder();
    let file = std::fs::File::create(beside.path().join("bare")).unwrap();
    let mut offset = 0;
    group.bench_function("measure/write+fdatasync", |bencher| {
        bencher.iter(|| {
            file.write_all_at(ENTRY, offset).unwrap();
            file.sync_data().unwrap();
            offset += ENTRY.len() as u64;
        });
    });
    for (durability, waiters) in [
        (Durability::Group, 1),
        (Durability::Group, 16),
        (Durability::Group, 64),
        (Durability::Sync, 64),
        (Durability::Async, 64),
    ] {
        let folder = folder();
        let log = Arc::new(runtime.block_on(open(&folder, durability)));
        let name = format!("{durability:?}/{waiters}-waiters").to_lowercase();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|appends| runtime.block_on(append(&log, waiters, appends)));
        });
        runtime.block_on(log.close(b"{}".to_vec())).unwrap();
    }
    group.finish();
}

criterion_group!(benches, audit);
criterion_main!(benches);
