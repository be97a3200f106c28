//! HashiCorp Vault for tests: built from `tests/servers/vault` by Go, in memory, with transit, AppRole and Kubernetes.
//!
//! Tests ask it over HTTP with the root token. Where `bao` or `vault` is installed, its dev server is one more.

mod certificates;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Leash, go_program};

pub use certificates::Certificates;

/// How a server of this kind speaks, beside HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultTls {
    /// HTTP alone.
    Off,
    /// TLS as well.
    Server,
    /// TLS as well, for clients with a certificate.
    Mutual,
}

/// A running Vault. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct VaultServer {
    address: String,
    tls_address: String,
    reviews: String,
    root_token: String,
    unseal_key: String,
    certificates: Option<Certificates>,
    names: AtomicU32,
    agent: ureq::Agent,
    leash: Option<Leash>,
    folder: TempDir,
}

impl VaultServer {
    /// The one that the tests of this process share: each with a mount or key of its own ([`VaultServer::name`]).
    ///
    /// # Errors
    /// When it could not be built or started: what is missing, and how to install it.
    pub fn shared() -> io::Result<&'static Self> {
        static SHARED: OnceLock<Result<VaultServer, String>> = OnceLock::new();
        let start = || Self::start(VaultTls::Off).map_err(|error| error.to_string());
        SHARED.get_or_init(start).as_ref().map_err(|error| io::Error::other(error.clone()))
    }

    /// The shared one, and the dev servers of `bao` and `vault` where these are installed.
    ///
    /// # Errors
    /// When one could not be built or started.
    pub fn all() -> io::Result<Vec<&'static Self>> {
        static INSTALLED: OnceLock<Result<Vec<VaultServer>, String>> = OnceLock::new();
        let start = || {
            let found = ["bao", "vault"].into_iter().filter(|program| is_installed(program));
            found
                .map(|program| Self::start_dev(program).map_err(|error| error.to_string()))
                .collect()
        };
        let installed = INSTALLED.get_or_init(start);
        let installed = installed.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        let mut all = vec![Self::shared()?];
        all.extend(installed);
        Ok(all)
    }

    /// Starts one that no other test has, initialised and unsealed, with transit at `transit`.
    ///
    /// # Errors
    /// When it could not be built or started.
    pub fn start(tls: VaultTls) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(go_program::program("vault")?);
        let certificates = match tls {
            VaultTls::Off => None,
            _ => Some(Certificates::write(folder.path())?),
        };
        if let Some(certificates) = &certificates {
            command.arg("-cert").arg(&certificates.server_cert);
            command.arg("-key").arg(&certificates.server_key);
            if tls == VaultTls::Mutual {
                command.arg("-client-ca").arg(&certificates.ca);
            }
        }
        let log = folder.path().join("log");
        let leash = Leash::start(&command, &log)?;
        let lines = printed(&log, 3)?;
        let line = |at: usize| lines.get(at).cloned().unwrap_or_default();
        let mut server = Self::at(line(0), folder, leash);
        (server.tls_address, server.reviews) = (line(1), line(2));
        server.certificates = certificates;
        server.initialise()?;
        server.set_up()?;
        Ok(server)
    }

    fn start_dev(program: &str) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        // It takes no port 0: one that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"]);
        command.arg(format!("-dev-listen-address=127.0.0.1:{port}")).env("HOME", folder.path());
        let leash = Leash::start(&command, &folder.path().join("log"))?;
        let mut server = Self::at(format!("http://127.0.0.1:{port}"), folder, leash);
        server.root_token = "root".to_owned();
        poll(|| server.ask("GET", "sys/health", None).ok().filter(|(status, _)| *status == 200))?;
        server.set_up()?;
        Ok(server)
    }

    fn at(address: String, folder: TempDir, leash: Leash) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self {
            address,
            tls_address: String::new(),
            reviews: String::new(),
            root_token: String::new(),
            unseal_key: String::new(),
            certificates: None,
            names: AtomicU32::new(0),
            agent,
            leash: Some(leash),
            folder,
        }
    }

    fn initialise(&mut self) -> io::Result<()> {
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let given = self.write("sys/init", &shares)?;
        self.root_token = text(&given, "/root_token")?;
        self.unseal_key = text(&given, "/keys_base64/0")?;
        self.unseal()
    }

    fn set_up(&self) -> io::Result<()> {
        // After it was unsealed, it mounts for a moment.
        poll(|| self.write("sys/mounts/transit", &json!({"type": "transit"})).ok())?;
        self.write("sys/auth/approle", &json!({"type": "approle"})).map(drop)
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `https://127.0.0.1:PORT`; empty without TLS.
    #[must_use]
    pub fn tls_address(&self) -> &str {
        &self.tls_address
    }

    /// The certificates of a server with TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The token that may do everything.
    #[must_use]
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// A folder that goes with the server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A name that nobody else has in this server.
    #[must_use]
    pub fn name(&self, stem: &str) -> String {
        format!("{stem}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks `path`, as in `transit/keys/NAME`, with the root token: the status and the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<(u16, Value)> {
        let url = format!("{}/v1/{path}", self.address);
        let request = ureq::http::Request::builder().method(method).uri(url);
        let request = request.header("x-vault-token", &self.root_token);
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(body).map_err(io::Error::other)?;
        let mut answer = self.agent.run(request).map_err(io::Error::other)?;
        let text = answer.body_mut().read_to_string().map_err(io::Error::other)?;
        Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default()))
    }

    /// Writes to `path`.
    ///
    /// # Errors
    /// When it was refused.
    pub fn write(&self, path: &str, body: &Value) -> io::Result<Value> {
        match self.ask("POST", path, Some(body))? {
            (200..=299, answer) => Ok(answer),
            (status, answer) => Err(io::Error::other(format!("{path}: {status}: {answer}"))),
        }
    }

    /// Makes a transit key at `transit/`, of the properties in `body`.
    ///
    /// # Errors
    /// When it was refused.
    pub fn make_key(&self, name: &str, body: &Value) -> io::Result<()> {
        self.write(&format!("transit/keys/{name}"), body).map(drop)
    }

    /// Makes a policy of `rules` in HCL.
    ///
    /// # Errors
    /// When it was refused.
    pub fn make_policy(&self, name: &str, rules: &str) -> io::Result<()> {
        self.write(&format!("sys/policies/acl/{name}"), &json!({"policy": rules})).map(drop)
    }

    /// Makes a token with `body` (`policies`, `ttl` and so on).
    ///
    /// # Errors
    /// When it was refused.
    pub fn make_token(&self, body: &Value) -> io::Result<String> {
        text(&self.write("auth/token/create", body)?, "/auth/client_token")
    }

    /// Makes an AppRole with `body` (`token_policies`, `token_ttl` and so on): its role id and a secret id.
    ///
    /// # Errors
    /// When it was refused.
    pub fn make_approle(&self, name: &str, body: &Value) -> io::Result<(String, String)> {
        let path = format!("auth/approle/role/{name}");
        self.write(&path, body)?;
        let (_, role) = self.ask("GET", &format!("{path}/role-id"), None)?;
        let secret = self.write(&format!("{path}/secret-id"), &json!({}))?;
        Ok((text(&role, "/data/role_id")?, text(&secret, "/data/secret_id")?))
    }

    /// Enables the Kubernetes method at `mount`, with the stand-in for the API server, and a `role` for the service
    /// account `keypod` of the namespace `default`.
    ///
    /// # Errors
    /// When it was refused.
    pub fn enable_kubernetes(&self, mount: &str, role: &str, policy: &str) -> io::Result<()> {
        self.write(&format!("sys/auth/{mount}"), &json!({"type": "kubernetes"}))?;
        let config = json!({
            "kubernetes_host": self.reviews,
            "kubernetes_ca_cert": certificates::any_authority()?,
            "disable_local_ca_jwt": true,
        });
        self.write(&format!("auth/{mount}/config"), &config)?;
        let rules = json!({
            "bound_service_account_names": "keypod",
            "bound_service_account_namespaces": "default",
            "token_policies": policy,
        });
        self.write(&format!("auth/{mount}/role/{role}"), &rules).map(drop)
    }

    /// Seals it.
    ///
    /// # Errors
    /// When it was refused.
    pub fn seal(&self) -> io::Result<()> {
        self.write("sys/seal", &json!({})).map(drop)
    }

    /// Unseals it.
    ///
    /// # Errors
    /// When it was refused.
    pub fn unseal(&self) -> io::Result<()> {
        self.write("sys/unseal", &json!({"key": self.unseal_key})).map(drop)
    }

    /// Ends it, and waits for that.
    pub fn stop(&mut self) {
        drop(self.leash.take());
    }
}

fn text(answer: &Value, pointer: &str) -> io::Result<String> {
    let found = answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| io::Error::other(format!("an answer without {pointer}")))
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The first `count` lines of `log`, as soon as they are there.
fn printed(log: &PathBuf, count: usize) -> io::Result<Vec<String>> {
    let lines = poll(|| {
        let text = std::fs::read_to_string(log).ok()?;
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        let lines: Vec<_> = whole.split('\n').map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    });
    lines.map_err(|error| {
        io::Error::other(format!("{error}: {}", std::fs::read_to_string(log).unwrap_or_default()))
    })
}

/// What `look` finds, within a minute.
fn poll<T>(mut look: impl FnMut() -> Option<T>) -> io::Result<T> {
    for _ in 0..3000 {
        if let Some(found) = look() {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other("Vault did not start within a minute"))
}
