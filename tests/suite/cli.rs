//! The command line against a running sidecar: files, keys, probes, and what each command ends with.

mod audit_hash;
mod dev;
mod emergency;
mod files;
mod keys;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use keypod_tests::{Sidecar, SidecarBuilder, keypod};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// What a command ended with.
struct Ended {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ended {
    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    fn text(&self) -> String {
        format!("{}: {}{}", self.code, String::from_utf8_lossy(&self.stdout), self.stderr)
    }

    fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.text());
        self
    }
}

/// `keypod` in this folder, in an environment that names no sidecar.
fn bare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(keypod());
    for name in ["KEYPOD_SOCKET", "KEYPOD_ADDR", "KEYPOD_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `keypod` for the administrator of this sidecar, in its folder.
fn command(sidecar: &Sidecar, arguments: &[&str]) -> Command {
    let mut command = bare(sidecar.folder(), arguments);
    command.env("KEYPOD_SOCKET", sidecar.socket());
    command.env("KEYPOD_TOKEN_FILE", sidecar.token_file("admin"));
    command
}

async fn end(mut command: Command, input: &[u8]) -> Ended {
    let mut child = command.spawn().expect("keypod runs");
    let mut stdin = child.stdin.take().expect("its standard input");
    let input = input.to_vec();
    // Beside: it may write before it has read all. Where it reads nothing, the pipe breaks.
    let feeding = tokio::spawn(async move { drop(stdin.write_all(&input).await) });
    let output = child.wait_with_output().await.expect("keypod ends");
    feeding.await.expect("fed");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn run(sidecar: &Sidecar, arguments: &[&str]) -> Ended {
    end(command(sidecar, arguments), b"").await
}

/// The names in a folder that are not the sidecar's own.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.retain(|name| name != OsStr::new("log"));
    names.sort();
    names.iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn the_health_listener_is_asked_by_the_healthcheck() {
    let mut sidecar = Sidecar::start().await;
    let health = sidecar.health().to_string();
    for arguments in
        [&["healthcheck", "--addr", &health][..], &["healthcheck", "--ready", "--addr", &health]]
    {
        let ended = end(bare(sidecar.folder(), arguments), b"").await.succeeded();
        assert_eq!(ended.text(), "0: ", "silent when all is well");
    }
    sidecar.kill().await;
    let ended = end(bare(sidecar.folder(), &["healthcheck", "--addr", &health]), b"").await;
    assert_eq!((ended.code, ended.stdout.len()), (1, 0), "{}", ended.text());
    assert!(ended.stderr.contains(&health), "{}", ended.stderr);
}

#[tokio::test]
async fn completions_are_printed_for_each_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ended = end(bare(folder.path(), &["completions", shell]), b"").await.succeeded();
        let text = ended.text();
        assert!(text.contains("healthcheck") && text.contains("rewrap"), "{shell}");
    }
    let script = end(bare(folder.path(), &["completions", "bash"]), b"").await.stdout;
    let mut bash = Command::new("bash");
    bash.arg("-n").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    end(bash, &script).await.succeeded();
}

#[tokio::test]
async fn each_kind_of_failure_has_its_exit_code() {
    let sidecar = Sidecar::start().await;
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&[], 2),
        (&["nonsense"], 2),
        (&["encrypt"], 2),
        (&["encrypt", "--key", "Not A Name"], 2),
        (&["keys", "show"], 2),
        (&["keys", "destroy", "demo", "1"], 2),
        (&["keys", "destroy", "demo", "1", "--confirm", "demo/2"], 2),
        (&["decrypt", "root.key"], 2),
        (&["keys", "show", "nothing"], 1),
        (&["encrypt", "--key", "nothing", "--text"], 1),
        (&["decrypt", "--text"], 1),
        (&["keys", "list", "--token-file", "no-such-file"], 78),
        (&["keys", "list", "--socket", "/no/such.sock"], 1),
        (&["serve", "--config", "no-such-file"], 78),
    ] {
        let ended = run(&sidecar, arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.text());
        let quiet = ended.stderr.trim().is_empty();
        assert_eq!(quiet, code == 0, "{arguments:?}: {}", ended.text());
    }
    let alone = tempfile::tempdir().unwrap();
    let ended = end(bare(alone.path(), &["status"]), b"").await;
    // There may be a sidecar of this machine's at the usual place: then it is asked.
    if !Path::new("/run/keypod/keypod.sock").exists() {
        assert_eq!(ended.code, 78, "{}", ended.text());
        assert!(ended.stderr.contains("keypod dev"), "it says what to do: {}", ended.stderr);
    }
}

#[test]
fn a_configuration_is_checked_without_being_served() {
    let builder = SidecarBuilder::new();
    builder.write();
    let (status, text) = builder.run_serve(&["--check"]);
    assert!(status.success(), "{text}");
    assert!(!builder.folder().join("keypod.sock").exists());
    let file = builder.folder().join("keypod.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    for (from, to, words) in [
        ("[listen]", "[lisen]", "did you mean `listen`"),
        ("sqlite =", "sqlit =", "did you mean"),
        ("tcp = \"127.0.0.1:0\"", "tcp = \"0.0.0.0:0\"", "loopback"),
        ("root.key", "no-such.key", "no-such.key"),
        ("\"encrypt\"", "\"encript\"", "callers"),
    ] {
        std::fs::write(&file, good.replacen(from, to, 1)).unwrap();
        let (status, text) = builder.run_serve(&["--check"]);
        assert_eq!(status.code(), Some(78), "{to}: {text}");
        assert!(text.contains(words), "{to}: {text}");
    }
}

#[tokio::test]
async fn the_status_is_for_people_and_for_scripts() {
    let sidecar = Sidecar::start().await;
    sidecar.client().encrypt("demo", b"x", &serde_json::json!({})).await;
    let words = run(&sidecar, &["status"]).await.succeeded().text();
    assert!(words.contains("sqlite") && words.contains("local"), "{words}");
    let status = run(&sidecar, &["status", "--json"]).await.succeeded().json();
    assert_eq!(status["store"]["healthy"], true);
    assert_eq!(status["cache"]["versions"][0]["key"], "demo");
}
