//! A PostgreSQL server of one's own, with TLS.
//!
//! Depends on Debian's PostgreSQL (`apt-get install postgresql`) for `initdb`, `postgres` and `psql`. The server
//! listens on 127.0.0.1, on 127.0.0.2 (for which its certificate is not good) and on a Unix socket, and asks
//! everybody for a password. It does not flush to the disk: a test machine that crashes loses nothing of worth, and
//! a server process that is killed loses nothing either.

mod certificates;
mod install;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Leash;
use install::Owner;

/// Runs its arguments from the fourth on. On TERM, the signal of the leash, it stops the server fast (INT) and then
/// deletes the folder, if it is told so.
const SCRIPT: &str = r#"
folder=$1 delete=$2; shift 2
"$@" & server=$!
trap 'kill -INT $server; wait $server; [ "$delete" = no ] || rm -rf "$folder"; exit' TERM
wait $server
"#;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// The first user, who may do everything.
const ADMIN: &str = "admin";

/// A running server. It ends with this, or with the process.
#[derive(Debug)]
pub struct PostgresServer {
    folder: PathBuf,
    owner: Owner,
    port: u16,
    password: String,
    leash: Mutex<Option<Leash>>,
    /// Deletes the folder after the server has ended: fields are dropped in this order.
    kept: Option<TempDir>,
}

impl PostgresServer {
    /// The one server of all tests of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(|| Self::make(true))
    }

    /// A server for one test, which may stop or break it.
    #[must_use]
    pub fn start() -> Self {
        Self::make(false)
    }

    /// # Panics
    /// When PostgreSQL is not installed, or does not start; says what its log says.
    fn make(shared: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("keypod-postgres-").tempdir().unwrap();
        if shared {
            Self::at(folder.keep(), None)
        } else {
            Self::at(folder.path().to_owned(), Some(folder))
        }
    }

    fn at(folder: PathBuf, kept: Option<TempDir>) -> Self {
        let owner = Owner::of_this_process();
        let password = format!("admin-{}", std::process::id());
        let password_file = folder.join("password");
        fs::write(&password_file, &password).unwrap();
        certificates::write(&folder);
        owner.take(&folder);
        let initdb = owner
            .command(&install::program("initdb"))
            .arg("--pgdata")
            .arg(folder.join("data"))
            .args(["--username", ADMIN, "--auth", "scram-sha-256", "--pwfile"])
            .arg(&password_file)
            .args(["--encoding", "UTF8", "--locale", "C", "--no-sync"])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(initdb.status.success(), "initdb failed: {}", text_of(&initdb));
        let mut server = Self { folder, owner, port: 0, password, leash: Mutex::new(None), kept };
        // Another process may take the port between this look and the start.
        for attempt in 1..=5 {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            server.launch();
            match server.wait_until_ready() {
                Ok(()) => break,
                Err(log) if log.contains("Address already in use") && attempt < 5 => server.stop(),
                Err(log) => unreachable!("PostgreSQL did not start: {log}"),
            }
        }
        server
    }

    fn launch(&self) {
        let folder = &self.folder;
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1,127.0.0.2".to_owned(),
            format!("unix_socket_directories={}", folder.display()),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", folder.join("server.pem").display()),
            format!("ssl_key_file={}", folder.join("server.key").display()),
            "max_connections=300".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
        ];
        let delete = if self.kept.is_none() { "yes" } else { "no" };
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "postgres"]).arg(folder).arg(delete);
        let server = self.owner.command(&install::program("postgres"));
        command.arg(server.get_program()).args(server.get_args());
        command.arg("-D").arg(folder.join("data"));
        // What a test sets with ALTER SYSTEM must win, so `ssl` is not on the command line.
        let mut file = String::new();
        for setting in settings {
            let (name, value) = setting.split_once('=').unwrap();
            file.push_str(&format!("{name} = '{value}'\n"));
        }
        let path = folder.join("data/keypod.conf");
        fs::write(&path, file).unwrap();
        self.owner.take(&path);
        let main = folder.join("data/postgresql.conf");
        let text = fs::read_to_string(&main).unwrap();
        if !text.contains("include 'keypod.conf'") {
            fs::write(&main, text + "\ninclude 'keypod.conf'\n").unwrap();
        }
        command.current_dir(folder);
        let leash = Leash::start(&command, &self.log()).unwrap();
        *self.leash.lock().unwrap_or_else(PoisonError::into_inner) = Some(leash);
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Waits until it answers; else says what its log says.
    fn wait_until_ready(&self) -> Result<(), String> {
        #[expect(clippy::disallowed_methods, reason = "a deadline for a process outside")]
        let started = Instant::now();
        loop {
            let answer = self.psql("postgres", &[]).args(["-c", "SELECT 1"]).output().unwrap();
            if answer.status.success() {
                return Ok(());
            }
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let ended = log.contains("FATAL:  could not") || log.contains("is shut down");
            if ended || started.elapsed() > READY_WITHIN {
                return Err(format!("{}\n{log}", text_of(&answer)));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it, and waits until it has ended. Its data stay.
    pub fn stop(&self) {
        drop(self.leash.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Starts it again after [`Self::stop`], on the same port, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start; says what its log says.
    pub fn start_again(&self) {
        self.launch();
        if let Err(log) = self.wait_until_ready() {
            unreachable!("PostgreSQL did not start again: {log}");
        }
    }

    /// Stops it and starts it again.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Makes the database `name`, empty; one that is there is deleted.
    pub fn database(&self, name: &str) {
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"));
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
    }

    /// Runs statements as the admin, as an operator or attacker does, and returns what they print: a line for each
    /// row, columns separated by `|`.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let output = self.psql(database, &[]).arg("-c").arg(statements).output().unwrap();
        assert!(output.status.success(), "{statements}: {}", text_of(&output));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs a file of psql's as the admin, with variables.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn script(&self, database: &str, file: &Path, variables: &[(&str, &str)]) -> String {
        let output = self.psql(database, variables).arg("-f").arg(file).output().unwrap();
        assert!(output.status.success(), "{}: {}", file.display(), text_of(&output));
        text_of(&output)
    }

    fn psql(&self, database: &str, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(install::program("psql"));
        command.env("PGPASSWORD", &self.password).args(["--no-psqlrc", "-qAt"]);
        command.args(["-v", "ON_ERROR_STOP=1", "-h", self.host(), "-p"]).arg(self.port.to_string());
        command.args(["-U", ADMIN, "-d", database]);
        for (name, value) in variables {
            command.arg("-v").arg(format!("{name}={value}"));
        }
        command
    }

    /// `127.0.0.1`.
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// An address at which it listens and for which its certificate is not good.
    #[must_use]
    pub fn host_without_certificate(&self) -> &'static str {
        "127.0.0.2"
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its Unix socket.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// The certificate of the authority that signed the server's, in PEM.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The certificate of an authority that signed nothing here, in PEM.
    #[must_use]
    pub fn other_ca_file(&self) -> PathBuf {
        self.folder.join("other-ca.pem")
    }

    /// The user who may do everything.
    #[must_use]
    pub fn admin_user(&self) -> &'static str {
        ADMIN
    }

    /// The admin's password.
    #[must_use]
    pub fn admin_password(&self) -> &str {
        &self.password
    }
}

fn text_of(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
