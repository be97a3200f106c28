//! `keypod witness` as a process: a log whose key a root has certified is cosigned as it grows, over a crash of the witness,
//! and one that was rolled back is not.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};
use keypod::clock::UnixSeconds;
use keypod::root::authority::Authority as _;
use keypod::root::local::LocalRoot;
use keypod::secret::{Arena, Protection};
use keypod::witness::client::{
    AskError, Proofs, Source, SourceError, WitnessClient, WitnessSettings,
};
use keypod::witness::{AuthorityKey, Certificate, CosignatureKey, LogKey, Previous};
use keypod_tests::{SidecarBuilder, keypod, until};
use serde_json::json;
use tlog_tiles::{Checkpoint, Error, Hash, HashReader, prove_tree, stored_hashes, tree_hash};

struct Hashes(Vec<Hash>);

impl HashReader for Hashes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

/// A log in memory, as a sidecar has one on disk.
struct Log {
    origin: String,
    key: SigningKey,
    hashes: Hashes,
    size: u64,
}

impl Log {
    fn of(origin: &str, seed: u8, size: u64) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let mut log = Self { origin: origin.to_owned(), key, hashes: Hashes(Vec::new()), size: 0 };
        while log.size < size {
            let entry = format!("entry {}", log.size);
            let new = stored_hashes(log.size, entry.as_bytes(), &log.hashes).unwrap();
            log.hashes.0.extend(new);
            log.size += 1;
        }
        log
    }

    async fn certificate(
        &self,
        authority: &LocalRoot,
        number: u64,
        previous: Option<&Self>,
    ) -> Vec<u8> {
        let key = self.key.verifying_key();
        let key = signed_note::new_ed25519_verifier_key(&self.origin, &key);
        let previous = previous.map(|log| Previous {
            origin: log.origin.clone(),
            size: log.size,
            root: tree_hash(log.size, &log.hashes).unwrap(),
        });
        let time = UnixSeconds(1_795_500_000);
        let certificate = Certificate { key: LogKey::parse(&key).unwrap(), time, number, previous };
        let text = certificate.text();
        let signed = authority.authority().unwrap().sign(text.as_bytes()).await.unwrap();
        format!("{text}\n{}", AuthorityKey::line_of(&signed)).into_bytes()
    }
}

#[async_trait]
impl Proofs for Log {
    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, SourceError> {
        Ok(prove_tree(new, old, &self.hashes).unwrap())
    }
}

#[async_trait]
impl Source for Log {
    async fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        let root = tree_hash(self.size, &self.hashes).unwrap();
        let text = Checkpoint::new(&self.origin, self.size, root, "").unwrap().to_bytes();
        let key = [&[1], self.key.verifying_key().as_bytes().as_slice()].concat();
        let id = signed_note::key_id(&self.origin, &key);
        let signature = self.key.sign(&text).to_bytes().to_vec();
        let line = signed_note::Signature::new(self.origin.clone(), id, signature).unwrap();
        Ok([&text[..], b"\n", &line.to_bytes()].concat())
    }
}

/// The process. It ends with this.
struct Witness {
    child: std::process::Child,
    url: String,
}

impl Witness {
    async fn start(folder: &Path) -> Self {
        Self::start_on(folder, "127.0.0.1:0").await
    }

    async fn start_on(folder: &Path, listen: &str) -> Self {
        let log = folder.join("log");
        let child =
            command(folder, listen).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let mut address = None;
        until("the witness is ready", async || {
            let text = std::fs::read_to_string(&log).unwrap();
            let line = text.lines().find(|line| line.contains("\"ready\""));
            let line = line.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            address = line.map(|line| line["address"].as_str().unwrap().to_owned());
            address.is_some()
        })
        .await;
        Self { child, url: format!("http://{}", address.unwrap()) }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, listen: &str) -> Command {
    let mut command = Command::new(keypod());
    command.args(["witness", "--listen", listen, "--key-file", "witness.key"]);
    command.args(["--state", "state", "--authority", "authorities"]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A folder with what a witness needs, its verification key, and a root whose authority it knows.
async fn prepared() -> (tempfile::TempDir, CosignatureKey, LocalRoot) {
    let folder = tempfile::tempdir().unwrap();
    let root_key = folder.path().join("root.key");
    LocalRoot::create_key_file(&root_key).unwrap();
    let arena = Arena::new(Protection::Heap).unwrap();
    let root = LocalRoot::from_key_file(&root_key, &arena).unwrap();
    let signed = root.authority().unwrap().sign(b"which key").await.unwrap();
    let authority = AuthorityKey::of_signature(&signed);
    std::fs::write(folder.path().join("authorities"), format!("{authority}\n")).unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let mut keygen = Command::new(keypod());
    keygen.args(["witness", "keygen", "--name", "witness.example/w1", "--key-file", "witness.key"]);
    let made = keygen.current_dir(folder.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let key = String::from_utf8(made.stdout).unwrap();
    let key = CosignatureKey::parse(key.trim_end()).unwrap();
    (folder, key, root)
}

fn client(witness: &Witness, key: &CosignatureKey) -> WitnessClient {
    let settings = WitnessSettings {
        url: witness.url.clone(),
        socket: None,
        key: key.clone(),
        ca_file: None,
        attempt_timeout: Duration::from_secs(30),
    };
    WitnessClient::new(settings).unwrap()
}

#[tokio::test]
async fn a_witness_remembers_over_kill_9_and_a_rolled_back_log_is_refused() {
    let (folder, key, root) = prepared().await;
    let (first, second) = ("keypod/ns/app/0001", "keypod/ns/app/0002");
    let mut witness = Witness::start(folder.path()).await;
    let log = Log::of(first, 1, 5);
    let certificate = log.certificate(&root, 1, None).await;
    client(&witness, &key).add_log(&certificate, &log).await.unwrap();
    for size in [5, 40, 300, 301] {
        let log = Log::of(first, 1, size);
        assert_eq!(client(&witness, &key).cosign(&log).await.unwrap().size, size);
        // Whatever was answered is there after it was killed.
        drop(witness);
        witness = Witness::start(folder.path()).await;
    }
    let error = client(&witness, &key).cosign(&Log::of(first, 1, 300)).await.unwrap_err();
    assert!(matches!(error, AskError::RolledBack { size: 301, .. }), "{error:?}");
    // The sidecar starts again, on a disk that was set back to an hour ago.
    let older = Log::of(first, 1, 40);
    let certificate = Log::of(second, 2, 0).certificate(&root, 2, Some(&older)).await;
    let error = client(&witness, &key).add_log(&certificate, &older).await.unwrap_err();
    assert!(
        matches!(&error, AskError::RolledBack { size: 301, origin } if origin == first),
        "{error:?}"
    );
    // And on the disk as it was.
    let log = Log::of(first, 1, 310);
    let certificate = Log::of(second, 2, 0).certificate(&root, 2, Some(&log)).await;
    client(&witness, &key).add_log(&certificate, &log).await.unwrap();
    client(&witness, &key).cosign(&Log::of(second, 2, 3)).await.unwrap();
}

#[tokio::test]
async fn a_second_witness_on_the_same_folder_does_not_start_and_the_first_stops_in_order() {
    let (folder, _, _) = prepared().await;
    let mut witness = Witness::start(folder.path()).await;
    let second = command(folder.path(), "127.0.0.1:0").stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(78), "{said}");
    assert!(said.contains("another witness has"), "{said}");
    let pid = rustix::process::Pid::from_child(&witness.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || witness.child.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status:?}");
}

#[tokio::test]
async fn what_cannot_be_a_witness_is_said() {
    let (folder, _, _) = prepared().await;
    for (file, text, words) in [
        ("authorities", "", "nobody to watch"),
        ("authorities", "what\n", "a verification key is NAME+ID+BASE64"),
        ("witness.key", "what\n", "keypod witness keygen"),
    ] {
        let path = folder.path().join(file);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        let refused =
            command(folder.path(), "127.0.0.1:0").stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(words), "{said}");
        std::fs::write(&path, before).unwrap();
    }
}

/// Copies a folder and all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_sidecar_whose_disk_was_set_back_does_not_start_on_it() {
    let (folder, key, _) = prepared().await;
    let witness = Witness::start(folder.path()).await;
    let builder = SidecarBuilder::new().key("demo").audit("witness_every = \"50ms\"");
    std::fs::copy(folder.path().join("root.key"), builder.folder().join("root.key")).unwrap();
    let at = format!("[[audit.witnesses]]\nurl = \"{}\"\nkey = \"{key}\"", witness.url);
    let mut sidecar = builder.config(&at).start().await;
    let witnessed = "keypod_audit_witnessed_entries";
    until("it is witnessed", async || sidecar.metric(witnessed).await >= 3.0).await;
    let (audit, snapshot) = (sidecar.audit_folder(), folder.path().join("snapshot"));
    copy(&audit, &snapshot);
    let before = sidecar.metric(witnessed).await;
    for _ in 0..5 {
        sidecar.client().encrypt("demo", b"after the snapshot", &json!({})).await;
    }
    until("so is what came", async || sidecar.metric(witnessed).await >= before + 5.0).await;
    let cosigned = || {
        let logs = std::fs::read_dir(&audit).unwrap().map(|entry| entry.unwrap().path());
        let checkpoints =
            logs.filter_map(|log| std::fs::read_to_string(log.join("checkpoint")).ok());
        checkpoints.into_iter().any(|checkpoint| checkpoint.contains("witness.example/w1 "))
    };
    until("the cosignature stands in the checkpoint", async || cosigned()).await;
    assert!(sidecar.stop().await.success());
    sidecar.restart().await;
    sidecar.client().encrypt("demo", b"in the next log", &json!({})).await;
    assert!(sidecar.stop().await.success());

    std::fs::rename(&audit, folder.path().join("moved away")).unwrap();
    copy(&snapshot, &audit);
    let (status, said) = sidecar.fail_to_start_another(&[]);
    assert!(!status.success(), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("witness.example/w1") && last.contains("rolled back"), "{said}");
}

#[tokio::test]
async fn starts_that_a_witness_has_missed_are_told_it_in_their_order() {
    let (folder, key, _) = prepared().await;
    let socket = folder.path().join("witness.sock");
    let start =
        async || Witness::start_on(folder.path(), &format!("unix:{}", socket.display())).await;
    let witness = start().await;
    let builder = SidecarBuilder::new().key("demo").audit("witness_every = \"50ms\"");
    std::fs::copy(folder.path().join("root.key"), builder.folder().join("root.key")).unwrap();
    let at = format!(
        "[[audit.witnesses]]\nurl = \"http://localhost/\"\nsocket = \"{}\"\nkey = \"{key}\"",
        socket.display()
    );
    let mut sidecar = builder.config(&at).start().await;
    let witnessed = "keypod_audit_witnessed_entries";
    until("it is witnessed", async || sidecar.metric(witnessed).await >= 3.0).await;
    drop(witness);
    for _ in 0..3 {
        assert!(sidecar.stop().await.success());
        sidecar.restart().await;
        sidecar.client().encrypt("demo", b"while the witness is away", &json!({})).await;
    }
    let _ = std::fs::remove_file(&socket);
    let _witness = start().await;
    until("it is witnessed again", async || sidecar.metric(witnessed).await >= 2.0).await;
    assert!(sidecar.stop().await.success());
    sidecar.restart().await;
}
