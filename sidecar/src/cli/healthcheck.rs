//! Asks the health listener how the sidecar is: a probe's command, so it starts nothing that it can do without.
//!
//! Depends on the standard library alone: no runtime, no HTTP stack. It sends no token and reads one status line.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::Context as _;

use super::failure::Failure;

/// How long each of connecting, asking and answering may take: below the shortest sensible probe timeout.
const STEP_TIMEOUT: Duration = Duration::from_millis(900);
/// Bytes of `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// What `keypod healthcheck` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Silent when all is well; otherwise one line on standard error and exit code 1.

Example (Kubernetes):
  livenessProbe: { exec: { command: [keypod, healthcheck] } }
  readinessProbe: { exec: { command: [keypod, healthcheck, --ready] } }")]
pub(super) struct HealthcheckArgs {
    /// The health listener
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7481")]
    addr: String,
    /// Ask whether it is ready to serve, not only whether it runs
    #[arg(long)]
    ready: bool,
}

/// `keypod healthcheck`
pub(super) fn run(args: &HealthcheckArgs) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> = match args.addr.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(_) => return Err(Failure::usage("--addr takes a host and a port")),
    };
    let path = if args.ready { "/readyz" } else { "/livez" };
    let mut outcome = Err(anyhow::anyhow!("{} has no address", args.addr));
    for address in addresses {
        outcome = ask(address, path).with_context(|| format!("{path} at {address}"));
        if outcome.is_ok() {
            break;
        }
    }
    match outcome? {
        200 => Ok(()),
        status => Err(anyhow::anyhow!("{path} at {} answers {status}", args.addr)),
    }
}

/// The status of `GET path`.
fn ask(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, STEP_TIMEOUT)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    stream.set_write_timeout(Some(STEP_TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut start = [0; STATUS_BYTES];
    stream.read_exact(&mut start).context("no answer")?;
    let start = std::str::from_utf8(&start).ok();
    let status = start.and_then(|start| start.strip_prefix("HTTP/1.1 ")?.parse().ok());
    status.context("not an HTTP/1.1 answer")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn check(answer: &'static [u8], ready: bool) -> (anyhow::Result<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        (run(&HealthcheckArgs { addr, ready }), server.join().unwrap())
    }

    #[test]
    fn only_a_200_is_healthy() {
        let (outcome, request) = check(b"HTTP/1.1 200 OK\r\n\r\n", false);
        assert!(outcome.is_ok() && request.starts_with("GET /livez HTTP/1.1\r\n"), "{request}");
        let (outcome, request) = check(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", true);
        assert!(outcome.unwrap_err().to_string().contains("503"));
        assert!(request.starts_with("GET /readyz "), "{request}");
        for other in [&b"SSH-2.0-OpenSSH_9.9\r\n"[..], b"HTTP/1.1 200", b"HT"] {
            assert_eq!(check(other, false).0.is_ok(), other.ends_with(b"200"));
        }
    }

    #[test]
    fn nobody_listening_is_not_healthy() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(run(&HealthcheckArgs { addr: unused, ready: false }).is_err());
    }
}
