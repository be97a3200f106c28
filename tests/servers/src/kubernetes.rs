//! The API server of Kubernetes for tests: built from `tests/servers/kubernetes` by Go, with an etcd of its own and no node.
//!
//! It issues and reviews service accounts' tokens as a cluster does. Tests ask it over TLS with an administrator's token.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Certificates, Leash, go_program};

const ADMIN: &str = "administrator-token-of-the-tests";

/// A running API server. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct KubernetesServer {
    address: String,
    certificates: Certificates,
    names: AtomicU32,
    _leash: Leash,
    _folder: TempDir,
}

impl KubernetesServer {
    /// The one that the tests of this process share: each with accounts of its own ([`KubernetesServer::name`]).
    ///
    /// # Errors
    /// When it could not be built or started: what is missing, and how to install it.
    pub fn shared() -> io::Result<&'static Self> {
        static SHARED: OnceLock<Result<KubernetesServer, String>> = OnceLock::new();
        let start = || Self::start().map_err(|error| error.to_string());
        SHARED.get_or_init(start).as_ref().map_err(|error| io::Error::other(error.clone()))
    }

    fn start() -> io::Result<Self> {
        let mut command = Command::new(go_program::program("kubernetes")?);
        let folder = tempfile::tempdir()?;
        let certificates = Certificates::write(folder.path())?;
        let issuer = rcgen::KeyPair::generate().map_err(io::Error::other)?;
        fs::write(folder.path().join("issuer.key"), issuer.serialize_pem())?;
        fs::write(folder.path().join("issuer.pub"), issuer.public_key_pem())?;
        let tokens = format!("{ADMIN},administrator,1,\"system:masters\"\n");
        fs::write(folder.path().join("tokens.csv"), tokens)?;
        let log = folder.path().join("log");
        let leash = Leash::start(command.arg(folder.path()), &log)?;
        let address = printed(&log)?;
        let names = AtomicU32::new(0);
        Ok(Self { address, certificates, names, _leash: leash, _folder: folder })
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How its tokens name it.
    #[must_use]
    pub fn issuer(&self) -> &'static str {
        "https://kubernetes.default.svc.cluster.local"
    }

    /// The authority that signed its certificate, in PEM.
    #[must_use]
    pub fn ca_file(&self) -> &PathBuf {
        &self.certificates.ca
    }

    /// An authority that did not.
    #[must_use]
    pub fn other_ca_file(&self) -> &PathBuf {
        &self.certificates.other_ca
    }

    /// The token of who may do everything.
    #[must_use]
    pub fn admin_token(&self) -> &'static str {
        ADMIN
    }

    /// A name that nobody else has in this server.
    #[must_use]
    pub fn name(&self, stem: &str) -> String {
        format!("{stem}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }
}

/// The address that it prints when it is ready, within a minute.
fn printed(log: &PathBuf) -> io::Result<String> {
    for _ in 0..1200 {
        let text = fs::read_to_string(log)?;
        let mut lines = text.split_inclusive('\n');
        if let Some(line) = lines.find(|line| line.starts_with("https://") && line.ends_with('\n'))
        {
            return Ok(line.trim_end().to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = fs::read_to_string(log)?;
    Err(io::Error::other(format!("Kubernetes did not start within a minute: {said}")))
}
