//! The witness over HTTP/1.1: two routes, with a bound on everything.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::witness::{Refusal, Witness};

/// More than 63 proof lines and a note with a few signatures.
const BODY_BYTES_MAX: usize = 64 << 10;
/// For a head, for a body, and for what is done with it.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 256;
const CONNECTION_BUFFER_BYTES: usize = 16 << 10;
/// How long requests in flight may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// A listener that cannot accept tries again after this long.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Of the answer that has a size (C2SP tlog-witness).
const SIZE: HeaderValue = HeaderValue::from_static("text/x.tlog.size");
/// Of the answer that says what is known of a chain.
const KNOWN: HeaderValue = HeaderValue::from_static("text/x.keypod.chain");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Where a witness listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A loopback address and a port.
    Tcp(SocketAddr),
    /// A Unix socket: `unix:PATH`.
    Unix(PathBuf),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// It is none, or not this machine.
    #[error(
        "a witness listens on 127.0.0.1:PORT, [::1]:PORT or unix:PATH: it speaks plain HTTP, so what stands in front of it speaks TLS"
    )]
    Address,
    /// It cannot be had.
    #[error("cannot listen on {address}")]
    Taken {
        /// Which.
        address: Address,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FromStr for Address {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            _ => Err(ListenError::Address),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Listens on `address` and gives where that is, and the future that serves until `stop`.
///
/// # Errors
/// [`ListenError::Taken`].
pub async fn serve(
    witness: Arc<Witness>,
    address: Address,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(Address, impl Future<Output = ()> + Send), ListenError> {
    let taken = |source| ListenError::Taken { address: address.clone(), source };
    let (listener, at) = match &address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address).await.map_err(taken)?;
            let at = Address::Tcp(listener.local_addr().map_err(taken)?);
            (Listener::Tcp(listener), at)
        }
        Address::Unix(path) => (Listener::Unix(bind(path).await.map_err(taken)?), address.clone()),
    };
    Ok((at, accept(witness, listener, stop)))
}

/// A socket at `path` for this user and group, in the place of one that nobody serves.
async fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        let stale = found.file_type().is_socket()
            && tokio::net::UnixStream::connect(path)
                .await
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if !stale {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn accept(
    witness: Arc<Witness>,
    listener: Listener,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        // A place first: who finds none waits in the kernel's queue, which is bounded too.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = &mut stop => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = next(&listener) => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok(stream) => connect(stream, Arc::clone(&witness), place, &graceful),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await;
}

/// Either kind of connection.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn next(listener: &Listener) -> io::Result<Box<dyn Stream>> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            Ok(Box::new(stream))
        }
    }
}

fn connect(
    stream: Box<dyn Stream>,
    witness: Arc<Witness>,
    place: OwnedSemaphorePermit,
    graceful: &GracefulShutdown,
) {
    let service = service_fn(move |request| {
        let witness = Arc::clone(&witness);
        async move { Ok::<_, Infallible>(answer(witness, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(TIMEOUT);
    builder.max_buf_size(CONNECTION_BUFFER_BYTES);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let served = graceful.watch(served);
    tokio::spawn(async move {
        let _place = place;
        let _ = served.await;
    });
}

async fn answer(witness: Arc<Witness>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let work = match request.uri().path() {
        "/add-checkpoint" => add_checkpoint,
        "/add-log" => add_log,
        _ => return plain(StatusCode::NOT_FOUND, "there is /add-checkpoint and /add-log"),
    };
    if request.method() != Method::POST {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "it takes POST");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return refused;
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "a request has at most 65536 bytes");
        }
        Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, "the body broke off"),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    // It looks at signatures and waits for the disk.
    let done = tokio::task::spawn_blocking(move || work(&witness, &body)).await;
    done.unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "a defect of the witness"))
}

fn add_checkpoint(witness: &Witness, body: &[u8]) -> Response<Full<Bytes>> {
    match witness.add_checkpoint(body) {
        Ok(line) => plain(StatusCode::OK, line),
        Err(refusal) => refused(&refusal),
    }
}

fn add_log(witness: &Witness, body: &[u8]) -> Response<Full<Bytes>> {
    match witness.add_log(body) {
        Ok(()) => plain(StatusCode::OK, String::new()),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    match refusal {
        Refusal::Malformed(why) => plain(StatusCode::BAD_REQUEST, format!("{why}\n")),
        Refusal::UnknownLog => plain(StatusCode::NOT_FOUND, "no log of this origin is known\n"),
        Refusal::NotTrusted(why) => plain(StatusCode::FORBIDDEN, format!("{why}\n")),
        Refusal::OtherSize(size) => text(StatusCode::CONFLICT, SIZE, format!("{size}\n")),
        Refusal::OtherChain(known) => {
            tracing::warn!(
                known = known.write().trim_end(),
                "a log does not follow what is known of its chain"
            );
            text(StatusCode::CONFLICT, KNOWN, known.write())
        }
        Refusal::Inconsistent => {
            tracing::warn!("a proof does not lead from what is known to what was submitted");
            let why = "the proof does not lead from what is known to what is submitted\n";
            plain(StatusCode::UNPROCESSABLE_ENTITY, why)
        }
        Refusal::Full => {
            tracing::error!("there are as many chains as --logs-max allows");
            plain(StatusCode::SERVICE_UNAVAILABLE, "no more chains are taken: --logs-max\n")
        }
        Refusal::Disk(error) => {
            tracing::error!(error, "what was to be remembered could not be written");
            plain(StatusCode::SERVICE_UNAVAILABLE, "it could not be remembered: come again\n")
        }
    }
}

fn plain(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    text(status, PLAIN, body.into())
}

fn text(status: StatusCode, kind: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
