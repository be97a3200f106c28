//! moto: AWS KMS and STS, as the Python package of that name plays them.
//!
//! It keeps keys per region and encrypts for real, but checks no signature, no grant and no key state: what those
//! answer is [`super::KmsStandIn`]'s part. Uses `moto_server` of the `PATH`, else installs it once into
//! `target/moto-VERSION`.

mod install;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Leash;
use crate::plain_http::{self, Reply};

/// How often a start is looked at, and how many looks it has: 60 seconds together.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 600;

/// How many ports are tried: another process may take one between its choice and its use.
const PORTS_MAX: usize = 5;

/// A running moto.
#[derive(Debug)]
pub struct MotoServer {
    address: SocketAddr,
    _leash: Leash,
    _folder: TempDir,
}

/// Why a start came to nothing.
enum Failure {
    PortTaken,
    Other(String),
}

impl MotoServer {
    /// The one that all tests of this process share.
    ///
    /// # Panics
    /// As [`MotoServer::start`].
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MotoServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// One of its own.
    ///
    /// # Panics
    /// When it cannot be installed or does not answer within a minute, with what it said.
    #[must_use]
    pub fn start() -> Self {
        let program = install::moto_server();
        for _ in 0..PORTS_MAX {
            match Self::try_start(&program) {
                Ok(server) => return server,
                Err(Failure::PortTaken) => {}
                Err(Failure::Other(problem)) => fail(&problem),
            }
        }
        fail("every port that was free was taken when moto wanted it")
    }

    fn try_start(program: &Path) -> Result<Self, Failure> {
        let other = |problem: std::io::Error| Failure::Other(problem.to_string());
        let folder = tempfile::tempdir().map_err(other)?;
        let log = folder.path().join("log");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let address = free.map_err(other)?;
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let leash = Leash::start(&command, &log).map_err(other)?;
        let server = Self { address, _leash: leash, _folder: folder };
        for _ in 0..LOOKS_MAX {
            if server.is_ready() {
                return Ok(server);
            }
            if fs::read_to_string(&log).is_ok_and(|log| log.contains("Address already in use")) {
                return Err(Failure::PortTaken);
            }
            thread::sleep(LOOK_EVERY);
        }
        let log = fs::read_to_string(&log).unwrap_or_default();
        Err(Failure::Other(format!("moto_server does not answer after a minute: {log}")))
    }

    /// Whether what listens there is moto, and not whoever took the port.
    fn is_ready(&self) -> bool {
        let reply = plain_http::call(self.address, "GET", "/moto-api/data.json", &[], b"");
        reply.is_ok_and(|reply| reply.status == 200 && reply.body.starts_with(b"{"))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as an endpoint for an AWS SDK.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a symmetric key for encryption in `region`, and gives its ARN.
    ///
    /// # Panics
    /// When moto does not make one.
    #[must_use]
    pub fn create_key(&self, region: &str) -> String {
        self.create_key_with(region, &json!({}))
    }

    /// Makes a key as `CreateKey` with these parameters does, and gives its ARN.
    ///
    /// # Panics
    /// When moto does not make one.
    #[must_use]
    pub fn create_key_with(&self, region: &str, parameters: &Value) -> String {
        let made = self.kms(region, "CreateKey", parameters);
        match made.pointer("/KeyMetadata/Arn").and_then(Value::as_str) {
            Some(arn) => arn.to_owned(),
            None => fail(&format!("moto made no key: {made}")),
        }
    }

    /// Asks KMS in `region` for `operation` and gives what it answered.
    ///
    /// # Panics
    /// When moto answers with an error.
    pub fn kms(&self, region: &str, operation: &str, parameters: &Value) -> Value {
        let target = format!("TrentService.{operation}");
        // moto reads the region out of the signature and checks nothing of it.
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{region}/kms/aws4_request, SignedHeaders=host, Signature=0"
        );
        let headers = [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("X-Amz-Target", target.as_str()),
            ("Authorization", signature.as_str()),
        ];
        let body = parameters.to_string();
        match plain_http::call(self.address, "POST", "/", &headers, body.as_bytes()) {
            Ok(Reply { status: 200, body }) => serde_json::from_slice(&body).unwrap_or_default(),
            other => fail(&format!("moto did not do {operation}: {other:?}")),
        }
    }
}

/// A test without its server has failed.
#[expect(clippy::panic, reason = "only tests use this crate, and this is how a test fails")]
pub(crate) fn fail(problem: &str) -> ! {
    panic!("{problem}")
}
