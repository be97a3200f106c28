//! `keypod dev`: a sidecar to try things out, with all that it needs in one folder.
//!
//! The folder gets a root key, a store, a token and a configuration once; the next run finds them. What is
//! printed can be pasted. It is for one machine, and says so. Depends on [`crate::app`] and [`super::serve`].

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::{DevArgs, client, output, serve};
use crate::app::{self, Sidecar};
use crate::config::Config;
use crate::keyring::{KeyringError, NewKey};
use crate::policy::{Caller, CallerKind, Identity, Transport};
use crate::process;
use crate::root::local::LocalRoot;
use crate::service::Error;

const PORT: u16 = 7480;
const CALLER: &str = "dev";
const KEY: &str = "demo";

pub(super) fn run(args: &DevArgs) -> anyhow::Result<()> {
    process::harden()?;
    let folder = prepare(&args.dir, args.port.unwrap_or(PORT))?;
    let config = load(&folder, args.port)?;
    app::start_log(&config).map_err(serve::failed_start)?;
    let served = serve::runtime()?.block_on(async {
        let stop = serve::Signals::catch()?;
        let sidecar = Sidecar::start(&config).await.map_err(serve::failed_start)?;
        make_demo_key(&sidecar).await?;
        let address = sidecar.tcp_address().map(|address| address.to_string());
        output::line(&banner(&args.dir, address.as_deref().unwrap_or("127.0.0.1:7480"), &folder)?)?;
        anyhow::Ok(serve::until_cut(sidecar, stop).await)
    })?;
    serve::finish(served)
}

/// Makes what is missing in the folder, and returns its absolute path.
fn prepare(dir: &Path, port: u16) -> anyhow::Result<std::path::PathBuf> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make the folder {}", dir.display()))?;
    client::check_own(dir)?;
    let folder = dir.canonicalize()?;
    if folder.to_str().is_none() {
        return Err(Failure::usage("the folder's path is not UTF-8: choose another with --dir"));
    }
    let root = folder.join("root.key");
    if !root.exists() {
        LocalRoot::create_key_file(&root)?;
    }
    make_token(&folder)?;
    write_new(&folder.join("keypod.toml"), configuration(&folder, port).as_bytes())?;
    Ok(folder)
}

/// Writes the token, and beside it the headers that `curl -H @FILE` sends: so it stands in no argument.
fn make_token(folder: &Path) -> anyhow::Result<()> {
    let (token, headers) = (folder.join("token"), folder.join("curl-headers"));
    if !token.exists() {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).context("the operating system gave no random bytes")?;
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        write_new(&token, text.as_bytes())?;
    }
    let text = read_token(folder)?;
    let lines = format!("Authorization: Bearer {}\nContent-Type: application/json\n", &*text);
    write_new(&headers, Zeroizing::new(lines).as_bytes())
}

fn read_token(folder: &Path) -> anyhow::Result<Zeroizing<String>> {
    let path = folder.join("token");
    let text = std::fs::read_to_string(&path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Zeroizing::new(text.trim_end().to_owned()))
}

/// Writes a file of mode 0600 that is not there yet; one that is stays as it is.
fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match opened {
        Ok(mut file) => file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot make {}", path.display())),
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    let health = if port == 0 { 0 } else { port.saturating_add(1) };
    let path = |name: &str| quoted(&folder.join(name).to_string_lossy());
    let all = r#"["encrypt", "decrypt", "rewrap", "create_key", "read_key", "rotate", "set_state", "destroy", "read_status", "break_glass", "audit_hash"]"#;
    let uid = rustix::process::geteuid().as_raw();
    let mut text = String::from(
        "# Made by `keypod dev`: for one machine, to try things out. Not for production.\n",
    );
    let _ = write!(
        text,
        r#"
[listen]
tcp = "127.0.0.1:{port}"
unix = {socket}
unix_mode = "0600"
health = "127.0.0.1:{health}"

[root.local]
key_file = {root}

[store]
sqlite = {store}

[audit]
folder = {audit}
origin = "keypod-dev"

# Whoever has the token, on either listener.
[[callers]]
name = "{CALLER}"
token_file = {token}
operations = {all}
keys = ["*"]

# The user who ran `keypod dev`, on the Unix socket, without a token.
[[callers]]
name = "{CALLER}"
uid = {uid}
operations = {all}
keys = ["*"]
"#,
        socket = path("keypod.sock"),
        root = path("root.key"),
        store = path("keys.db"),
        audit = path("audit"),
        token = path("token"),
    );
    text
}

/// A TOML basic string: its escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn load(folder: &Path, port: Option<u16>) -> anyhow::Result<Config> {
    let mut config =
        Config::load(&folder.join("keypod.toml")).map_err(Failure::of_configuration)?;
    if let Some(port) = port {
        let health = if port == 0 { 0 } else { port.saturating_add(1) };
        config.listen.tcp = Some(([127, 0, 0, 1], port).into());
        config.listen.health = Some(([127, 0, 0, 1], health).into());
    }
    Ok(config)
}

async fn make_demo_key(sidecar: &Sidecar) -> anyhow::Result<()> {
    let identity = Identity::new(CALLER.parse()?, CallerKind::Peer, Vec::new());
    let caller = Caller { identity: identity.into(), transport: Transport::Unix, mfa: false };
    let mut attempt = sidecar.service().audit().attempt(caller, "create_key", "keypod-dev");
    match sidecar.service().create_key(&mut attempt, &KEY.parse()?, NewKey::default()).await {
        // The configuration is the user's to change: without the right to make keys there is no demo key.
        Ok(_) | Err(Error::Keyring(KeyringError::KeyExists) | Error::Forbidden) => Ok(()),
        Err(error) => Err(error).context("cannot make the demo key"),
    }
}

fn banner(dir: &Path, address: &str, folder: &Path) -> anyhow::Result<String> {
    let headers = shell_quoted(&dir.join("curl-headers").to_string_lossy());
    let curl = format!("curl -s -H @{headers}");
    let token = read_token(folder)?;
    Ok(format!(
        r#"
Keypod runs at http://{address} and {socket}

  FOR THIS MACHINE ONLY, to try things out. The root key is a file in {dir}:
  whoever reads that folder reads everything that was ever encrypted here.

  token   {token}
  key     {KEY}
  stop    Ctrl-C; run it again, and it goes on with the same keys

Paste in another terminal, from the same folder:

  # encrypt
  {curl} http://{address}/v1/encrypt -d '{{"key":"{KEY}","plaintext":"aGVsbG8="}}'

  # encrypt and decrypt
  {curl} http://{address}/v1/encrypt -d '{{"key":"{KEY}","plaintext":"aGVsbG8="}}' | sed 's/,"key".*/}}/' | {curl} http://{address}/v1/decrypt -d @-

  # rotate
  {curl} http://{address}/v1/rotate -d '{{"key":"{KEY}"}}'
"#,
        socket = dir.join("keypod.sock").display(),
        dir = dir.display(),
        token = &*token,
    ))
}

fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreSettings;

    #[test]
    fn the_configuration_that_dev_writes_is_valid_whatever_the_folder_is_called() {
        for folder in ["/tmp/keypod-dev", "/tmp/a \"b\" \\c", "/tmp/é\n'"] {
            let text = configuration(Path::new(folder), 7480);
            let config = Config::parse(&text, "keypod.toml", []).unwrap();
            let store = StoreSettings::Sqlite(Path::new(folder).join("keys.db"));
            assert_eq!(config.store, store);
            assert_eq!(config.callers.len(), 2);
        }
    }

    #[test]
    fn a_second_run_keeps_the_root_and_the_token() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("dev");
        let folder = prepare(&dir, 0).unwrap();
        let before = read_token(&folder).unwrap();
        let root = std::fs::read(folder.join("root.key")).unwrap();
        prepare(&dir, 0).unwrap();
        assert_eq!(*read_token(&folder).unwrap(), *before);
        assert_eq!(std::fs::read(folder.join("root.key")).unwrap(), root);
    }

    #[test]
    fn names_with_quotes_can_be_pasted() {
        assert_eq!(shell_quoted("keypod-dev/curl-headers"), "keypod-dev/curl-headers");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
    }
}
