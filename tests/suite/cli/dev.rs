//! `keypod dev`: what it prints can be pasted, and works.

use std::process::Stdio;

use keypod_tests::{WAIT_MAX, keypod, skip};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Ended, bare, end};

/// A running `keypod dev` in a folder of its own, and what it printed.
struct Dev {
    folder: TempDir,
    child: Child,
    printed: Vec<String>,
}

async fn start(folder: TempDir) -> Dev {
    let mut command = Command::new(keypod());
    command.args(["dev", "--port", "0"]).current_dir(folder.path()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("keypod runs");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed: Vec<String> = Vec::new();
    let read = async {
        // The last thing that it prints is how to rotate.
        while !printed.last().is_some_and(|line| line.contains("/v1/rotate")) {
            printed.push(lines.next_line().await.unwrap().expect("it goes on"));
        }
    };
    tokio::time::timeout(WAIT_MAX, read).await.expect("it prints what to paste");
    Dev { folder, child, printed }
}

impl Dev {
    /// The lines that are to be pasted, as they are.
    fn commands(&self) -> Vec<&str> {
        self.printed
            .iter()
            .map(|line| line.trim())
            .filter(|line| line.starts_with("curl "))
            .collect()
    }

    async fn paste(&self, line: &str) -> Value {
        let mut bash = Command::new("bash");
        bash.args(["-c", line]).current_dir(self.folder.path());
        bash.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        end(bash, b"").await.succeeded().json()
    }

    async fn keypod(&self, arguments: &[&str], input: &[u8]) -> Ended {
        end(bare(self.folder.path(), arguments), input).await
    }

    async fn stop(mut self) -> TempDir {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let ended = tokio::time::timeout(WAIT_MAX, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "Ctrl-C ends it in order");
        self.folder
    }
}

fn has_curl() -> bool {
    let found = std::process::Command::new("curl").arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        skip("curl is not on this machine: the pasted lines are not tried");
    }
    found.is_ok()
}

#[tokio::test]
async fn the_printed_lines_work_when_they_are_pasted() {
    if !has_curl() {
        return;
    }
    let dev = start(tempfile::tempdir().unwrap()).await;
    let commands = dev.commands();
    let [encrypt, there_and_back, rotate] = commands[..] else { panic!("{:?}", dev.printed) };
    let sealed = dev.paste(encrypt).await;
    assert_eq!((&sealed["key"], &sealed["key_version"]), (&json!("demo"), &json!(1)));
    let opened = dev.paste(there_and_back).await;
    assert_eq!(opened["plaintext"], "aGVsbG8=", "{opened}");
    assert_eq!(dev.paste(rotate).await, json!({ "key": "demo", "key_version": 2 }));
    let sealed = dev.paste(encrypt).await;
    assert_eq!(sealed["key_version"], 2);
}

#[tokio::test]
async fn a_second_run_goes_on_with_the_same_key_and_token() {
    let dev = start(tempfile::tempdir().unwrap()).await;
    let token = |dev: &Dev| {
        dev.printed.iter().find_map(|line| line.trim().strip_prefix("token ")).map(str::to_owned)
    };
    let before = token(&dev).unwrap();
    let sealed = dev.keypod(&["encrypt", "--key", "demo", "--text"], b"secret").await.succeeded();
    let dev = start(dev.stop().await).await;
    assert_eq!(token(&dev).unwrap(), before);
    let opened = dev.keypod(&["decrypt"], &sealed.stdout).await.succeeded();
    assert_eq!(opened.stdout, b"secret");
}

#[tokio::test]
async fn it_says_that_it_is_for_one_machine_and_keeps_its_folder_to_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let dev = start(tempfile::tempdir().unwrap()).await;
    let printed = dev.printed.join("\n");
    assert!(printed.contains("FOR THIS MACHINE ONLY"), "{printed}");
    let folder = dev.folder.path().join("keypod-dev");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in ["root.key", "token", "curl-headers", "keypod.toml", "keys.db", "keypod.sock"] {
        assert_eq!(mode(&folder.join(file)) & 0o077, 0, "{file}");
    }
    // Not in an argument, where every user of the machine could see it.
    let token = std::fs::read_to_string(folder.join("token")).unwrap();
    assert!(dev.commands().iter().all(|line| !line.contains(token.trim())), "{printed}");
}
