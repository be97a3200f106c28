//! A sidecar in a process of its own.

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Client, keypod};

/// No wait of a test is longer than this, however slow the machine.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// A caller of the configuration: name, operations, keys.
type CallerRow = (String, String, String);

/// How a sidecar is to be.
#[derive(Debug)]
pub struct SidecarBuilder {
    folder: TempDir,
    root: Option<String>,
    store: Option<String>,
    extra: String,
    audit: String,
    callers: Vec<CallerRow>,
    variables: Vec<(String, String)>,
    wrapper: Vec<String>,
    keys: Vec<String>,
}

/// A running sidecar. Killed when dropped; its folder goes with it.
#[derive(Debug)]
pub struct Sidecar {
    folder: TempDir,
    child: Child,
    tcp: SocketAddr,
    health: SocketAddr,
    variables: Vec<(String, String)>,
    wrapper: Vec<String>,
}

/// All of Keypod's own log, and what matters of the libraries'.
const FILTER: &str = "info,keypod=debug,sqlx=warn,hyper=warn";

const ALL: &str = r#""encrypt", "decrypt", "rewrap", "create_key", "read_key", "rotate", "set_state", "destroy", "read_status", "break_glass""#;

impl Default for SidecarBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl SidecarBuilder {
    /// A sidecar with an administrator `admin` who may do everything, and no key.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    #[must_use]
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            root: None,
            store: None,
            extra: String::new(),
            audit: String::new(),
            callers: vec![("admin".to_owned(), ALL.to_owned(), r#""*""#.to_owned())],
            variables: Vec::new(),
            wrapper: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Adds lines to the configuration: whole tables that it does not have yet (`[cache]`, `[limits]`, `[keys]`).
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self.extra.push('\n');
        self
    }

    /// Has these roots in the place of the embedded one: `[root]` and all below it.
    #[must_use]
    pub fn root(mut self, toml: &str) -> Self {
        self.root = Some(toml.to_owned());
        self
    }

    /// Has this store in the place of an SQLite file: `[store]` or `[store.postgres]`.
    #[must_use]
    pub fn store(mut self, toml: &str) -> Self {
        self.store = Some(toml.to_owned());
        self
    }

    /// Adds a caller with a token of its own. `operations` and `keys` are the insides of TOML lists.
    #[must_use]
    pub fn caller(mut self, name: &str, operations: &str, keys: &str) -> Self {
        self.callers.push((name.to_owned(), operations.to_owned(), keys.to_owned()));
        self
    }

    /// Sets a variable in the sidecar's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it through this command, which must replace itself by the arguments that follow its own.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Makes this key when the sidecar is ready.
    #[must_use]
    pub fn key(mut self, name: &str) -> Self {
        self.keys.push(name.to_owned());
        self
    }

    /// Adds lines to `[audit]`.
    #[must_use]
    pub fn audit(mut self, lines: &str) -> Self {
        self.audit.push_str(lines);
        self.audit.push('\n');
        self
    }

    /// The folder that it will live in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes root, tokens and configuration, and does not start it.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn write(&self) {
        let folder = self.folder.path();
        let root = folder.join("root.key");
        if !root.exists() {
            keypod::root::local::LocalRoot::create_key_file(&root).expect("a root key");
        }
        let local = format!("[root.local]\nkey_file = \"{}\"", root.display());
        let sqlite = format!("[store]\nsqlite = \"{}\"", folder.join("keys.db").display());
        let mut config = format!(
            "[listen]\ntcp = \"127.0.0.1:0\"\nunix = \"{0}/keypod.sock\"\nhealth = \"127.0.0.1:0\"\n\
             {1}\n{2}\n[audit]\nfolder = \"{0}/audit\"\n{4}\n[log]\nformat = \"json\"\nfilter = \"{FILTER}\"\n{3}\n",
            folder.display(),
            self.root.as_ref().unwrap_or(&local),
            self.store.as_ref().unwrap_or(&sqlite),
            self.extra,
            self.audit,
        );
        for (name, operations, keys) in &self.callers {
            let token = folder.join(format!("{name}.token"));
            write_private(&token, &format!("{name}-token-0123456789abcdefghij"));
            config.push_str(&format!(
                "[[callers]]\nname = \"{name}\"\ntoken_file = \"{}\"\noperations = [{operations}]\nkeys = [{keys}]\n",
                token.display(),
            ));
        }
        write_private(&folder.join("keypod.toml"), &config);
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready; its log is in the message.
    pub async fn start(self) -> Sidecar {
        self.write();
        let mut sidecar = Sidecar {
            child: spawn(self.folder.path(), &self.wrapper, &self.variables),
            folder: self.folder,
            tcp: ([127, 0, 0, 1], 0).into(),
            health: ([127, 0, 0, 1], 0).into(),
            variables: self.variables,
            wrapper: self.wrapper,
        };
        sidecar.wait_until_ready().await;
        for key in &self.keys {
            let body = serde_json::json!({ "name": key });
            let made = sidecar.client().post_json("/v1/keys", &body).await;
            assert_eq!(made.status, 201, "the key {key} is made");
        }
        sidecar
    }

    /// Starts it where it is expected not to start: its exit status, and what it wrote to standard error.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    pub fn fail_to_start(&self) -> (ExitStatus, String) {
        self.write();
        self.run_serve(&[])
    }

    /// Runs `keypod serve` on the files as they are, with these arguments more, to its end.
    ///
    /// # Panics
    /// If it cannot be run, or runs for longer than [`WAIT_MAX`].
    #[must_use]
    pub fn run_serve(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let mut command = command(self.folder.path(), &self.wrapper, &self.variables);
        run_to_its_end(command.args(arguments))
    }
}

impl Sidecar {
    /// A sidecar as most tests want it: with the key `demo`.
    pub async fn start() -> Self {
        SidecarBuilder::new().key("demo").start().await
    }

    /// The folder that it lives in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("keypod.sock")
    }

    /// The data plane on TCP.
    #[must_use]
    pub fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    /// The health listener.
    #[must_use]
    pub fn health(&self) -> SocketAddr {
        self.health
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with the token of a caller.
    #[must_use]
    pub fn token_file(&self, caller: &str) -> PathBuf {
        self.folder.path().join(format!("{caller}.token"))
    }

    /// A client of the administrator's over TCP.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_of("admin")
    }

    /// A client of this caller's over TCP.
    ///
    /// # Panics
    /// If the caller has no token file.
    #[must_use]
    pub fn client_of(&self, caller: &str) -> Client {
        let token = std::fs::read_to_string(self.token_file(caller)).expect("a token");
        Client::tcp(self.tcp, Some(token.trim()))
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Sends a signal to it.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("the sidecar is there");
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// If it does not.
    pub async fn wait(&mut self) -> ExitStatus {
        let begun = now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status;
            }
            assert!(begun.elapsed() < WAIT_MAX, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Kills it without warning and waits until it is gone.
    pub async fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.wait().await;
    }

    /// Ends it in order (SIGTERM).
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait().await
    }

    /// Starts it again on the same files; its ports may be others.
    ///
    /// # Panics
    /// If it still runs, or does not become ready.
    pub async fn restart(&mut self) {
        assert!(self.child.try_wait().is_ok_and(|ended| ended.is_some()), "stop it first");
        self.child = spawn(self.folder.path(), &self.wrapper, &self.variables);
        self.wait_until_ready().await;
    }

    /// Starts a process on the same files, with these variables more, that is expected to end by itself: its
    /// exit status, and what it wrote to standard error.
    ///
    /// # Panics
    /// If it cannot be run, or runs for longer than [`WAIT_MAX`].
    #[must_use]
    pub fn fail_to_start_another(&self, variables: &[(&str, &str)]) -> (ExitStatus, String) {
        let mut command = command(self.folder.path(), &self.wrapper, &self.variables);
        run_to_its_end(command.envs(variables.iter().copied()))
    }

    /// Sets a variable in the environment of the next start.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    async fn wait_until_ready(&mut self) {
        let begun = now();
        loop {
            if let Some((tcp, health)) = ready_line(&self.log()) {
                (self.tcp, self.health) = (tcp, health);
                return;
            }
            let ended = self.child.try_wait().expect("the child can be waited for");
            assert!(ended.is_none() && begun.elapsed() < WAIT_MAX, "{ended:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses in the line that says that it is ready.
fn ready_line(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line = log.lines().rev().find(|line| line.contains("\"ready\""))?;
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| event.get(name)?.as_str()?.parse().ok();
    Some((address("tcp")?, address("health")?))
}

fn command(folder: &Path, wrapper: &[String], variables: &[(String, String)]) -> Command {
    let mut command = match wrapper.split_first() {
        None => Command::new(keypod()),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(keypod());
            command
        }
    };
    command
        .args(["serve", "--config"])
        .arg(folder.join("keypod.toml"))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// Starts it with a fresh log.
fn spawn(folder: &Path, wrapper: &[String], variables: &[(String, String)]) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("a log");
    let output = log.try_clone().expect("a second handle");
    command(folder, wrapper, variables).stderr(log).stdout(output).spawn().expect("keypod runs")
}

/// Runs it where it is expected to end by itself: its exit status, and what it wrote to standard error.
fn run_to_its_end(command: &mut Command) -> (ExitStatus, String) {
    let mut child =
        command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("keypod runs");
    let begun = now();
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            let mut text = String::new();
            if let Some(stderr) = &mut child.stderr {
                stderr.read_to_string(&mut text).expect("standard error is text");
            }
            return (status, text);
        }
        if begun.elapsed() > WAIT_MAX {
            let _ = child.kill();
            unreachable!("keypod serve was expected to fail, and runs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(path).expect("a file");
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).expect("a mode");
    file.write_all(text.as_bytes()).expect("it can be written");
}

#[allow(clippy::disallowed_methods, reason = "a bound on waiting, not a measurement")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
