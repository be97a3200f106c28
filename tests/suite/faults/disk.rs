//! A disk that is full, and one that cannot be written.

use std::path::{Path, PathBuf};
use std::process::Command;

use keypod_tests::{Sidecar, SidecarBuilder, until};
use serde_json::json;

use super::{assert_nothing_is_lost, assert_says, encrypts, is_root, stopped_with};

/// A small volume of its own for a database; unmounted when dropped.
struct Volume(PathBuf);

impl Volume {
    /// Nothing, said loudly, where this user cannot mount.
    fn mount(folder: &Path) -> Option<Self> {
        let path = folder.join("volume");
        std::fs::create_dir(&path).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=2m,mode=0700", "keypod-test"];
        let mounted = Command::new("mount").args(options).arg(&path).status();
        if !is_root() || !mounted.is_ok_and(|status| status.success()) {
            keypod_tests::skip("a small volume can be mounted by root only");
            return None;
        }
        Some(Self(path))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.filler()).unwrap();
        for piece in [64 << 10, 4096, 512, 1] {
            while file.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A sidecar with its store on a small volume.
async fn on_a_volume() -> Option<(Sidecar, Volume)> {
    let builder = SidecarBuilder::new().key("demo");
    let volume = Volume::mount(builder.folder())?;
    let database = volume.0.join("keys.db").display().to_string();
    Some((builder.variable("KEYPOD_STORE__SQLITE", &database).start().await, volume))
}

#[tokio::test]
async fn on_a_full_disk_warm_keys_go_on_changes_are_refused_and_nothing_is_lost() {
    let Some((mut sidecar, volume)) = on_a_volume().await else { return };
    let client = sidecar.client();
    let small = json!({ "name": "small", "messages_max": 300 });
    assert_eq!(client.post_json("/v1/keys", &small).await.status, 201);
    let mut sealed = vec![client.encrypt("demo", b"before", &json!({})).await];
    volume.fill();

    for _ in 0..100 {
        sealed.push(client.encrypt("demo", b"before", &json!({})).await);
    }
    // A small limit is reserved one message at a time: nothing is left to count on.
    let refused = (503, "store_unavailable".to_owned());
    assert_eq!(encrypts(&client, "small").await, refused);
    let rotate = json!({ "key": "demo" });
    for (path, body) in [("/v1/rotate", &rotate), ("/v1/keys", &json!({ "name": "new" }))] {
        let answer = client.post_json(path, body).await;
        assert_eq!((answer.status, answer.code()), refused, "{path}");
        assert_eq!(answer.header("retry-after"), "1");
    }
    until("the report says so", async || {
        let report = sidecar.observe("/readyz?verbose").await.body;
        String::from_utf8(report).unwrap().contains("store: cannot be used")
    })
    .await;
    let status = client.get("/v1/status").await.json();
    let problem = status["store"]["problem"].as_str().unwrap();
    assert!(problem.contains("the disk is full: free some space"), "{problem}");
    assert_eq!(client.get("/v1/keys/demo").await.json()["primary_version"], 1);
    assert_eq!(client.get("/v1/keys/new").await.status, 404, "no half of a key is left");

    volume.empty();
    assert_eq!(client.post_json("/v1/rotate", &rotate).await.json()["key_version"], 2);
    assert_eq!(encrypts(&client, "small").await.0, 200);
    sealed.push(client.encrypt("demo", b"before", &json!({})).await);
    assert!(sidecar.stop().await.success());
    sidecar.restart().await;
    for ciphertext in &sealed {
        assert_eq!(sidecar.client().decrypt(ciphertext, &json!({})).await, b"before");
    }
    let used = sidecar.client().get("/v1/keys/demo").await.json();
    assert_eq!(used["versions"][0]["messages_used"], 101);
    drop(sidecar);
}

#[tokio::test]
async fn a_stop_on_a_full_disk_loses_nothing() {
    let Some((mut sidecar, volume)) = on_a_volume().await else { return };
    let ciphertext = sidecar.client().encrypt("demo", b"before", &json!({})).await;
    volume.fill();
    assert!(sidecar.stop().await.success(), "{}", sidecar.log());
    volume.empty();
    assert_nothing_is_lost(sidecar, &ciphertext).await;
}

#[tokio::test]
async fn a_store_on_a_read_only_volume_is_refused_with_what_to_do() {
    let builder = SidecarBuilder::new().key("demo");
    let Some(volume) = Volume::mount(builder.folder()) else { return };
    let database = volume.0.join("keys.db").display().to_string();
    let builder = builder.variable("KEYPOD_STORE__SQLITE", &database);
    let (sidecar, ciphertext) = stopped_with(builder).await;
    volume.remount("ro");
    let words = [database.as_str(), "Read-only", "writable", "store.sqlite"];
    assert_says(sidecar.fail_to_start_another(&[]), Some(1), &words);
    volume.remount("rw");
    assert_nothing_is_lost(sidecar, &ciphertext).await;
}
