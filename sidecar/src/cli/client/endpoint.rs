//! Finds the sidecar and the token: arguments first, then the environment, then the usual places.
//!
//! Depends on [`crate::config::ClientEnvironment`]. Invariants: an address off this machine is refused
//! (`an_address_off_this_machine_is_refused`); the token of `keypod dev` goes to that sidecar alone
//! (`the_token_of_the_dev_folder_goes_nowhere_else`).

use std::fmt;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::cli::failure::Failure;
use crate::config::ClientEnvironment;

/// The folder that `keypod dev` makes where it is started.
pub(in crate::cli) const DEV_FOLDER: &str = "keypod-dev";
/// Where `keypod serve` listens unless told otherwise.
const SOCKET: &str = "/run/keypod/keypod.sock";
/// Longest token file that is read: a Kubernetes token is about 1,200 bytes.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// The arguments that name the sidecar.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Finding the sidecar")]
pub(in crate::cli) struct EndpointArgs {
    /// The sidecar's Unix socket [env: KEYPOD_SOCKET]
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "addr")]
    pub(in crate::cli) socket: Option<PathBuf>,
    /// The sidecar's address on this machine, such as 127.0.0.1:7480 [env: KEYPOD_ADDR]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(in crate::cli) addr: Option<String>,
    /// The file with the bearer token [env: KEYPOD_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(in crate::cli) token_file: Option<PathBuf>,
}

/// Where a sidecar listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Address {
    /// On a Unix socket.
    Socket(PathBuf),
    /// On loopback.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(formatter),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}

/// A sidecar and what to show it. `Debug` does not show the token: the header is marked sensitive.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Endpoint {
    address: Address,
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// The sidecar that the arguments name, or else the environment, or else the one in a usual place.
    pub(in crate::cli) fn find(args: &EndpointArgs) -> anyhow::Result<Self> {
        Self::find_in(args, ClientEnvironment::read(), Path::new(SOCKET), Path::new(DEV_FOLDER))
    }

    fn find_in(
        args: &EndpointArgs,
        environment: ClientEnvironment,
        usual_socket: &Path,
        dev_folder: &Path,
    ) -> anyhow::Result<Self> {
        let named = match (&args.socket, &args.addr) {
            (Some(path), _) => Some(Address::Socket(path.clone())),
            (None, Some(text)) => Some(loopback(text)?),
            (None, None) => match (environment.socket, environment.addr) {
                (Some(path), _) => Some(Address::Socket(path)),
                (None, Some(text)) => Some(loopback(&text)?),
                (None, None) => None,
            },
        };
        let mut token_file = args.token_file.clone().or(environment.token_file);
        let address = match named {
            Some(address) => address,
            None if usual_socket.exists() => Address::Socket(usual_socket.to_owned()),
            None if dev_folder.join("keypod.sock").exists() => {
                check_own(dev_folder)?;
                let token = dev_folder.join("token");
                // A token from elsewhere is not for whatever stands in the current folder.
                token_file = args.token_file.clone().or_else(|| token.exists().then_some(token));
                Address::Socket(dev_folder.join("keypod.sock"))
            }
            None => {
                return Err(Failure::configuration(format!(
                    "no sidecar is named and none is at {} or in ./{}: set KEYPOD_SOCKET or \
                     KEYPOD_ADDR, give --socket or --addr, or start one with `keypod dev`",
                    usual_socket.display(),
                    dev_folder.display(),
                )));
            }
        };
        let authorization = token_file.as_deref().map(bearer).transpose()?;
        Ok(Self { address, authorization })
    }

    /// The sidecar on this socket, which asks for no token.
    #[cfg(test)]
    pub(in crate::cli) fn on_socket(path: &Path) -> Self {
        Self { address: Address::Socket(path.to_owned()), authorization: None }
    }

    /// Where it listens.
    pub(in crate::cli) fn address(&self) -> &Address {
        &self.address
    }

    /// The `Authorization` header to send.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// Refuses a folder that somebody else could have put there: it would be sent plaintext.
pub(in crate::cli) fn check_own(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::symlink_metadata(folder)?;
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if own && found.is_dir() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Failure::configuration(format!(
        "{} is not a folder of your own that only you may write: name the sidecar with --socket or --addr",
        folder.display()
    )))
}

fn loopback(text: &str) -> anyhow::Result<Address> {
    let parsed = match text.strip_prefix("localhost:").map(str::parse) {
        Some(Ok(port)) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        Some(Err(_)) => None,
        None => text.parse().ok(),
    };
    match parsed {
        Some(address) if address.ip().is_loopback() => Ok(Address::Tcp(address)),
        Some(_) => Err(Failure::configuration(
            "the sidecar's address is not on this machine: its API is plain HTTP, for loopback only",
        )),
        None => Err(Failure::configuration(
            "the sidecar's address is not a loopback IP address and a port, such as 127.0.0.1:7480",
        )),
    }
}

fn bearer(path: &Path) -> anyhow::Result<HeaderValue> {
    let unusable =
        |why: &str| Failure::configuration(format!("token file {}: {why}", path.display()));
    let mut text = Zeroizing::new(String::with_capacity(4 << 10));
    let file = std::fs::File::open(path).map_err(|error| unusable(&error.to_string()))?;
    let read = file.take(TOKEN_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| unusable(&error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("it does not hold one token and nothing else"));
    }
    let header = Zeroizing::new(format!("Bearer {token}"));
    let mut header =
        HeaderValue::from_str(&header).map_err(|_| unusable("it does not hold a token"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(args: &EndpointArgs, environment: ClientEnvironment) -> anyhow::Result<Endpoint> {
        let nowhere = Path::new("/nonexistent");
        Endpoint::find_in(args, environment, nowhere, nowhere)
    }

    fn by_addr(addr: &str) -> anyhow::Result<Endpoint> {
        find(
            &EndpointArgs { addr: Some(addr.to_owned()), ..Default::default() },
            Default::default(),
        )
    }

    fn code(error: &anyhow::Error) -> String {
        format!("{:?}", crate::cli::failure::report(error))
    }

    #[test]
    fn an_address_off_this_machine_is_refused() {
        for bad in
            ["10.0.0.1:7480", "0.0.0.0:7480", "[2001:db8::1]:1", "example.org:80", "7480", ""]
        {
            let error = by_addr(bad).unwrap_err();
            assert_eq!(code(&error), format!("{:?}", std::process::ExitCode::from(78)), "{bad}");
        }
        for good in ["127.0.0.1:7480", "localhost:7480", "[::1]:7480", "127.8.8.8:1"] {
            assert!(by_addr(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn arguments_win_over_the_environment_and_the_environment_over_the_usual_places() {
        let folder = tempfile::tempdir().unwrap();
        let usual = folder.path().join("usual.sock");
        std::fs::write(&usual, "").unwrap();
        let environment =
            ClientEnvironment { socket: Some("/env.sock".into()), ..Default::default() };
        let args = EndpointArgs { addr: Some("127.0.0.1:1".to_owned()), ..Default::default() };
        let find = |args: &EndpointArgs, environment: &ClientEnvironment| {
            let found = Endpoint::find_in(args, environment.clone(), &usual, folder.path());
            found.unwrap().address().to_string()
        };
        assert_eq!(find(&args, &environment), "127.0.0.1:1");
        assert_eq!(find(&EndpointArgs::default(), &environment), "/env.sock");
        assert_eq!(
            find(&EndpointArgs::default(), &ClientEnvironment::default()),
            usual.display().to_string()
        );
    }

    #[test]
    fn the_token_of_the_dev_folder_goes_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "dev-token\n").unwrap();
        std::fs::write(folder.path().join("keypod.sock"), "").unwrap();
        let nowhere = Path::new("/nonexistent");
        let find = |args: &EndpointArgs| {
            Endpoint::find_in(args, ClientEnvironment::default(), nowhere, folder.path()).unwrap()
        };
        let dev = find(&EndpointArgs::default());
        assert_eq!(dev.authorization().unwrap().as_bytes(), b"Bearer dev-token");
        assert!(!format!("{dev:?}").contains("dev-token"));
        let args = EndpointArgs { addr: Some("127.0.0.1:1".to_owned()), ..Default::default() };
        assert!(find(&args).authorization().is_none());
    }

    #[test]
    fn without_any_sidecar_the_error_says_what_to_set() {
        let error = find(&EndpointArgs::default(), Default::default()).unwrap_err().to_string();
        assert!(error.contains("KEYPOD_SOCKET") && error.contains("keypod dev"), "{error}");
    }

    #[test]
    fn a_token_file_holds_one_token_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let with = |content: &str| {
            std::fs::write(&path, content).unwrap();
            let args = EndpointArgs {
                addr: Some("localhost:1".to_owned()),
                token_file: Some(path.clone()),
                ..Default::default()
            };
            find(&args, ClientEnvironment::default())
        };
        assert!(with("abc\n").is_ok());
        for bad in ["", "\n", "two tokens", "a\nb", "\u{e4}"] {
            let error = with(bad).unwrap_err().to_string();
            assert!(error.contains("token file"), "{error}");
        }
    }
}
