//! What other processes of the same machine can see of a running sidecar: nothing of its memory, its
//! environment or its keys.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use keypod_tests::{Sidecar, SidecarBuilder};
use serde_json::json;

/// Root's capabilities (`CAP_SYS_PTRACE`, `CAP_PERFMON`) open every process, dumpable or not: this takes them away,
/// and leaves a plain user whose number is 0.
const PLAIN: &[&str] = &["setpriv", "--bounding-set=-all"];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a process of the same user, without the right to trace others, can read this file.
fn same_user_reads(path: &str) -> bool {
    let mut command = Command::new(if is_root() { "setpriv" } else { "head" });
    if is_root() {
        command.args(PLAIN.iter().skip(1)).arg("head");
    }
    let output = command.args(["-c", "1", path]).output().unwrap();
    output.status.success() && !output.stdout.is_empty()
}

fn has_setpriv() -> bool {
    let there = Command::new("setpriv").arg("--version").output().is_ok();
    if !there {
        keypod_tests::skip("setpriv (util-linux) is not there");
    }
    there
}

#[tokio::test]
async fn another_process_of_the_same_user_reads_neither_its_environment_nor_its_maps() {
    if is_root() && !has_setpriv() {
        return;
    }
    let mut builder = SidecarBuilder::new().key("demo");
    if is_root() {
        builder = builder.under(PLAIN);
    }
    let sidecar = builder.start().await;
    // What can be read of an ordinary process, so that this test would notice.
    let mut ordinary = if is_root() {
        Command::new("setpriv").args(PLAIN.iter().skip(1)).args(["sleep", "60"]).spawn().unwrap()
    } else {
        Command::new("sleep").arg("60").spawn().unwrap()
    };
    let environment = format!("/proc/{}/environ", ordinary.id());
    keypod_tests::until("an ordinary process can be read", async || same_user_reads(&environment))
        .await;
    for file in ["environ", "maps", "mem", "auxv"] {
        let path = format!("/proc/{}/{file}", sidecar.pid());
        assert!(!same_user_reads(&path), "{path}");
    }
    ordinary.kill().unwrap();
    ordinary.wait().unwrap();
}

#[tokio::test]
async fn another_user_reads_nothing_of_it() {
    if !is_root() || !has_setpriv() {
        keypod_tests::skip("only root can become another user");
        return;
    }
    let sidecar = Sidecar::start().await;
    for file in ["environ", "maps", "mem"] {
        let path = format!("/proc/{}/{file}", sidecar.pid());
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "head", "-c", "1", &path];
        let output = Command::new("setpriv").args(nobody).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("denied") || errors.contains("not permitted"), "{path}: {errors}");
    }
    let files = ["root.key", "keys.db", "admin.token"].map(|name| sidecar.folder().join(name));
    for path in files {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[tokio::test]
async fn it_leaves_no_core_and_gains_no_privileges() {
    let sidecar = Sidecar::start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", sidecar.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let fields: Vec<_> = core.split_whitespace().collect();
    assert_eq!(fields.get(4..6), Some(&["0", "0"][..]), "{core}");
    assert_eq!(sidecar.process_status("NoNewPrivs"), "1");
    assert_eq!(sidecar.process_status("Umask"), "0077");
    assert_eq!(sidecar.process_status("TracerPid"), "0");
}

/// One mapping of a process.
struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

/// The mappings that its own process may read.
fn readable_mappings(pid: u32) -> io::Result<Vec<Mapping>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mapping = |line: &str| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let readable = fields.next()?.starts_with('r');
        let name = fields.nth(3).unwrap_or_default().to_owned();
        let number = |text| u64::from_str_radix(text, 16).ok();
        readable.then_some(Mapping { start: number(start)?, end: number(end)?, name })
    };
    Ok(maps.lines().filter_map(mapping).collect())
}

/// In which mappings these bytes stand, as read from outside; and which could not be read.
fn search(pid: u32, needle: &[u8]) -> io::Result<(Vec<String>, Vec<String>)> {
    const STEP: usize = 1 << 20;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; STEP + needle.len()];
    for mapping in readable_mappings(pid)? {
        let mut at = mapping.start;
        while at < mapping.end {
            let wanted = buffer.len().min(usize::try_from(mapping.end - at).unwrap());
            let Ok(read) = memory.read_at(&mut buffer[..wanted], at) else {
                refused.push(mapping.name.clone());
                break;
            };
            if buffer[..read].windows(needle.len()).any(|window| window == needle) {
                found.push(mapping.name.clone());
            }
            at += STEP as u64;
        }
    }
    Ok((found, refused))
}

#[tokio::test]
async fn not_even_root_finds_the_root_key_in_its_memory() {
    let sidecar = Sidecar::start().await;
    let context = json!({ "tenant": "clinic-7" });
    let ciphertext = sidecar.client().encrypt("demo", b"hello", &context).await;
    sidecar.client().decrypt(&ciphertext, &context).await;
    let rotate = json!({ "key": "demo" });
    assert_eq!(sidecar.client().post_json("/v1/rotate", &rotate).await.status, 200);
    let protection =
        sidecar.client().get("/v1/status").await.json()["memory"]["protection"].clone();

    let root_key = std::fs::read(sidecar.folder().join("root.key")).unwrap();
    let (found, refused) = match search(sidecar.pid(), &root_key) {
        Ok(searched) => searched,
        Err(error) if !is_root() => {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            return;
        }
        Err(error) => panic!("root cannot search: {error}"),
    };
    if protection != "secretmem" {
        keypod_tests::skip(&format!(
            "this kernel has no memfd_secret, so root may read {protection}"
        ));
        return;
    }
    assert_eq!(found, [""; 0], "the root key stands in memory that root can read");
    assert!(refused.iter().any(|name| name.contains("secretmem")), "{refused:?}");
    // The search would find it: the path of its file stands in ordinary memory.
    let path = sidecar.folder().join("root.key").display().to_string();
    assert!(!search(sidecar.pid(), path.as_bytes()).unwrap().0.is_empty());
}
