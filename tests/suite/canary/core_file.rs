//! Core files: there is none, and the memory that one would hold has no key in it.
//!
//! What it would hold of requests that are over is another matter: the HTTP library and the JSON parser leave pieces of
//! plaintext, contexts and tokens in memory that they have given back (ARCHITECTURE.md). So no core file is the rule that
//! keeps people's data out of one, and the kernel is asked here to break it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};

use keypod::envelope::data_key;
use keypod::names::{KeyName, KeyRef};
use keypod::root::local::LocalRoot;
use keypod::root::{Binding, Root as _};
use keypod::secret::{Arena, Protection};
use keypod::store::KeyStore as _;
use keypod::store::sqlite::SqliteStore;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::*;
use crate::memory::{needles, scan};

/// Starts a process in a folder, with core files as large as they like.
fn with_cores(folder: &Path) -> [&str; 4] {
    let script = "ulimit -c unlimited; cd \"$0\" && exec \"$@\"";
    ["sh", "-c", script, folder.to_str().unwrap()]
}

/// A sidecar that has been asked for everything, in a folder and with limits that invite a core file.
async fn has_worked() -> Sidecar {
    let builder = SidecarBuilder::new().key("demo").caller("reader", r#""decrypt""#, r#""*""#);
    let folder = builder.folder().to_owned();
    let builder = builder.variable("KEYPOD_LIMITS__BODY_TIMEOUT", "200ms");
    let sidecar = builder.under(&with_cores(&folder)).start().await;
    work(&sidecar).await;
    sidecar
}

async fn work(sidecar: &Sidecar) {
    let (ciphertext, sealed) = go_through_successes(&sidecar.client()).await;
    go_through_failures(sidecar, &ciphertext, &sealed).await;
}

fn core_files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.into_string().unwrap())
        .filter(|name| name.starts_with("core") || name.ends_with("core"))
        .collect()
}

/// Whether a process that is not hardened leaves a core file here: where this system hinders that, for whatever reason,
/// the tests below see less.
fn ordinary_process_dumps(signal: Signal) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let [shell, arguments @ ..] = with_cores(folder.path());
    let mut child = Command::new(shell).args(arguments).args(["sleep", "600"]).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let is_sleep = || {
        let command = std::fs::read_to_string(format!("/proc/{}/comm", child.id()));
        command.is_ok_and(|command| command.trim() == "sleep")
    };
    while !is_sleep() {
        std::thread::yield_now();
    }
    kill_process(pid, signal).unwrap();
    child.wait().unwrap().core_dumped()
}

fn has_no_core(status: ExitStatus, signal: Signal, folder: &Path) {
    assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
    // This is the kernel's word, wherever its core_pattern leads.
    assert!(!status.core_dumped(), "{status}");
    assert_eq!(core_files(folder), [""; 0]);
}

#[tokio::test]
async fn a_crash_leaves_no_core_file_though_limits_and_folder_invite_one() {
    // Not SEGV: the handler of the standard library takes the first that is sent, and waits for a second.
    for signal in [Signal::ABORT, Signal::ILL] {
        if !ordinary_process_dumps(signal) {
            keypod_tests::skip("this system writes no core file of any process");
        }
        let mut sidecar = has_worked().await;
        sidecar.signal(signal);
        has_no_core(sidecar.wait().await, signal, sidecar.folder());
    }
}

#[tokio::test]
async fn a_crash_leaves_no_core_file_even_where_its_limit_was_taken_away() {
    let signal = Signal::ABORT;
    let mut sidecar = has_worked().await;
    let pid = Pid::from_raw(i32::try_from(sidecar.pid()).unwrap());
    let unlimited = Rlimit { current: None, maximum: None };
    if prlimit(pid, Resource::Core, unlimited).is_err() {
        keypod_tests::skip("only root can give a process back what it has renounced");
        return;
    }
    if !ordinary_process_dumps(signal) {
        keypod_tests::skip("this system writes no core file of any process");
    }
    sidecar.signal(signal);
    // It is not dumpable, which no limit changes.
    has_no_core(sidecar.wait().await, signal, sidecar.folder());
}

/// The secrets of every version that the sidecar has, and what they are derived to.
async fn keys_of(sidecar: &Sidecar) -> Vec<needles::Needle> {
    let arena = Arena::with_protection_at_most(Protection::Heap).unwrap();
    let path = sidecar.folder().join("root.key");
    let root = LocalRoot::from_key_file(&path, &arena).unwrap();
    let store = SqliteStore::open(&sidecar.folder().join("keys.db")).await.unwrap();
    let mut needles = vec![needles::Needle::passing("root key", std::fs::read(&path).unwrap())];
    for name in ["demo", "keypod.audit"] {
        let name: KeyName = name.parse().unwrap();
        let record = store.key_by_name(&name).await.unwrap().unwrap();
        for version in &record.versions {
            let key = KeyRef { id: record.id, version: version.version };
            let wrapped = &version.wrappings[0].wrapped;
            let secret = root.unwrap_key(wrapped, Binding { key, domain: "default" }).await;
            let secret = secret.unwrap();
            let derived = data_key(&arena, key, &secret, None).unwrap();
            let secret = secret.expose_bytes().to_vec();
            needles.push(needles::Needle::passing("secret of a version", secret));
            let derived = derived.expose_bytes().to_vec();
            needles.push(needles::Needle::passing("data key", derived));
        }
    }
    store.close().await;
    needles
}

#[tokio::test]
async fn the_memory_that_a_core_file_would_hold_has_no_key_in_it() {
    let mut sidecar = has_worked().await;
    assert!(sidecar.stop().await.success());
    let mut wanted = keys_of(&sidecar).await;
    assert_eq!(wanted.len(), 5, "a root key, and two keys of one version");
    // What is in ordinary memory for sure, so that a search that sees nothing would not pass.
    let folder = sidecar.folder().join("audit").display().to_string();
    wanted.push(needles::Needle::held("folder", folder.into_bytes()));
    sidecar.restart().await;
    work(&sidecar).await;
    let Some(mut found) = scan::find_if_allowed(sidecar.pid(), &wanted) else {
        assert!(!rustix::process::geteuid().is_root(), "root may read it");
        keypod_tests::skip("only root may read its memory");
        return;
    };
    found.values_mut().for_each(|places| places.retain(|at| !at.ends_with(scan::NOT_DUMPED)));
    found.retain(|_, places| !places.is_empty());
    assert!(found.remove("folder").is_some(), "the search sees what is there");
    assert!(found.is_empty(), "a core file would have {found:#?}");
}
