//! Listeners: loopback TCP and a Unix socket for the API, and one more for health; how they open and drain.
//!
//! The socket appears under its name only when its mode and group are right: it is bound beside it and renamed.
//! A stale socket is replaced; one that another process serves is not.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use futures_util::FutureExt as _;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};
use tower::ServiceExt as _;

use super::caller::{Connection, Peer};
use super::places::Places;
use super::source::TcpEnds;
use super::unread::CutWhenUnread;
use super::{Api, Health};
use crate::limits::Limit;

/// Connections that the health listener holds at once.
const HEALTH_CONNECTIONS_MAX: usize = 64;
/// How long it waits for a head to come, or for an answer to be read.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that one HTTP/1.1 connection buffers.
const CONNECTION_BUFFER_BYTES: usize = 128 << 10;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// A connection whose first request is not there yet may bring it for this long after the drain has begun.
const HEAD_IN_DRAIN_MAX: Duration = Duration::from_millis(500);
/// Bytes of the headers of an HTTP/2 request: room for the largest context in one.
const HEADER_LIST_BYTES_MAX: u32 = 128 << 10;
/// A listener that cannot accept (no file descriptors left) tries again after this long.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The TCP address cannot be had.
    #[error("cannot listen on {address} ({setting}): {}", hint(source))]
    Tcp {
        /// By which setting.
        setting: &'static str,
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The data plane listens on loopback only.
    #[error(
        "cannot listen on {address}: the data plane listens on loopback only, so set listen.tcp to 127.0.0.1:PORT or [::1]:PORT"
    )]
    NotLoopback {
        /// Which.
        address: SocketAddr,
    },
    /// Another process serves the socket.
    #[error("another process serves the socket {}: stop it, or set listen.unix to another path", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// What stands under the socket's name is not a socket.
    #[error("{} is not a socket: move it away, or set listen.unix to another path", path.display())]
    NotASocket {
        /// Which.
        path: PathBuf,
    },
    /// The socket cannot be made there.
    #[error("cannot make the socket {}: make its folder and let this user write to it", path.display())]
    Unix {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such group.
    #[error(
        "there is no group {group}: set listen.unix_group to a group of this machine or a number"
    )]
    NoGroup {
        /// Which.
        group: String,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "it is taken: stop who has it, or set another port",
        io::ErrorKind::PermissionDenied => "not allowed: choose a port above 1023",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        _ => "the cause follows",
    }
}

/// Opened listeners that do not serve yet: a client that connects waits.
#[derive(Debug)]
pub struct Listeners {
    tcp: Option<TcpListener>,
    unix: Option<BoundSocket>,
}

#[derive(Debug)]
struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

/// Removes the socket's name, if it is still this socket.
impl Drop for BoundSocket {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listeners {
    /// Opens what the data plane listens on.
    ///
    /// # Errors
    /// [`ListenError`], naming the address or path.
    pub async fn open(
        tcp: Option<SocketAddr>,
        unix: Option<(&Path, u32, Option<&str>)>,
    ) -> Result<Self, ListenError> {
        let tcp = match tcp {
            Some(address) if !address.ip().is_loopback() => {
                return Err(ListenError::NotLoopback { address });
            }
            Some(address) => Some(open_tcp("listen.tcp", address).await?),
            None => None,
        };
        let unix = match unix {
            Some((path, mode, group)) => Some(open_unix(path, mode, group).await?),
            None => None,
        };
        Ok(Self { tcp, unix })
    }

    /// The TCP address, with the port that the system chose where 0 was asked for.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }

    /// Serves `api` until `stop` says so, then lets what is in flight end within `drain_max`.
    pub async fn serve(
        self,
        api: Arc<Api>,
        stop: watch::Receiver<bool>,
        drain_max: Duration,
    ) -> Served {
        let settings = api.settings;
        let (header_timeout, answer_timeout) = (settings.header_timeout, settings.answer_timeout);
        let places = Places::new(settings.connections_max, settings.user_connections_max);
        let server = Server::new(api, places, header_timeout, answer_timeout);
        let accept_tcp = async {
            if let Some(listener) = &self.tcp {
                server.accept_tcp(listener, stop.clone()).await;
            }
        };
        let accept_unix = async {
            if let Some(socket) = &self.unix {
                server.accept_unix(&socket.listener, stop.clone()).await;
            }
        };
        tokio::join!(accept_tcp, accept_unix);
        // No new connection reaches the name while the old ones drain.
        drop(self);
        server.drain(drain_max).await
    }
}

/// Opens the health listener and serves it until `stop` says so.
///
/// # Errors
/// [`ListenError`], naming the address.
pub async fn serve_health(
    address: SocketAddr,
    health: Arc<Health>,
    stop: watch::Receiver<bool>,
) -> Result<(SocketAddr, impl Future<Output = ()> + use<>), ListenError> {
    let listener = open_tcp("listen.health", address).await?;
    let address = listener.local_addr().unwrap_or(address);
    let places = Places::new(HEALTH_CONNECTIONS_MAX, HEALTH_CONNECTIONS_MAX);
    let server = Server::new(health.router(), places, HEALTH_TIMEOUT, HEALTH_TIMEOUT);
    Ok((address, async move {
        server.accept_tcp(&listener, stop).await;
        server.drain(Duration::from_millis(200)).await;
    }))
}

/// How a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// All that was in flight ended.
    Drained,
    /// The bound passed first, and connections were cut.
    Cut,
}

/// What answers the requests of a listener.
trait Answers: Clone + Send + Sync + 'static {
    fn answer(
        self,
        connection: Connection,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response> + Send;
}

/// Straight from the HTTP library to the route table: a router and its layers would cost as much as the encryption.
impl Answers for Arc<Api> {
    async fn answer(self, connection: Connection, request: Request<Incoming>) -> Response {
        self.serve(connection, request).await
    }
}

/// The health listener's: who asks is all the same.
impl Answers for Router {
    async fn answer(self, _: Connection, request: Request<Incoming>) -> Response {
        let answered: Result<_, Infallible> = self.oneshot(request).await;
        let Ok(response) = answered;
        response
    }
}

struct Server<A> {
    answers: A,
    places: Places,
    builder: auto::Builder<TokioExecutor>,
    header_timeout: Duration,
    answer_timeout: Duration,
    graceful: GracefulShutdown,
}

impl<A: Answers> Server<A> {
    fn new(answers: A, places: Places, header_timeout: Duration, answer_timeout: Duration) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(CONNECTION_BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .keep_alive_interval(Duration::from_secs(30));
        let graceful = GracefulShutdown::new();
        Self { answers, places, builder, header_timeout, answer_timeout, graceful }
    }

    async fn accept_tcp(&self, listener: &TcpListener, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, client)) => {
                        let _ = stream.set_nodelay(true);
                        let server = stream.local_addr().unwrap_or(client);
                        let ends = Arc::new(TcpEnds::new(client, server));
                        self.connect(stream, Connection::Tcp(ends), stop.clone());
                    }
                    Err(error) => pause(&error).await,
                },
                () = told(&mut stop) => return,
            }
        }
    }

    async fn accept_unix(&self, listener: &UnixListener, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let peer = stream.peer_cred().ok();
                        let peer = peer.map(|peer| Peer { uid: peer.uid(), gid: peer.gid() });
                        self.connect(stream, Connection::Unix(peer), stop.clone());
                    }
                    Err(error) => pause(&error).await,
                },
                () = told(&mut stop) => return,
            }
        }
    }

    /// Serves one connection in a task of its own; closes it at once if there is no place.
    fn connect<S>(&self, stream: S, connection: Connection, mut stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let place = match self.places.take(&connection) {
            Ok(place) => place,
            Err(limit) => return limit.bit(),
        };
        let spoke = Arc::new(Notify::new());
        let (speaks, answers) = (Arc::clone(&spoke), self.answers.clone());
        let answer = service_fn(move |request| {
            speaks.notify_one();
            answers.clone().answer(connection.clone(), request).map(Ok::<_, Infallible>)
        });
        let stream = TokioIo::new(CutWhenUnread::new(stream, self.answer_timeout));
        let served = self.builder.serve_connection(stream, answer);
        let served = self.graceful.watch(served.into_owned());
        let header_timeout = self.header_timeout;
        tokio::spawn(async move {
            let _place = place;
            tokio::pin!(served);
            // The HTTP library's own time-out begins when it knows the protocol's version: until the first
            // request is there, this one holds. Half a head does not hold up a drain.
            tokio::select! {
                biased;
                _ = &mut served => return,
                () = spoke.notified() => {}
                () = tokio::time::sleep(header_timeout) => return Limit::HeaderTimeout.bit(),
                () = async {
                    told(&mut stop).await;
                    tokio::time::sleep(HEAD_IN_DRAIN_MAX).await;
                } => return,
            }
            if served.await.is_err_and(|error| is_timeout(&*error)) {
                Limit::HeaderTimeout.bit();
            }
        });
    }

    async fn drain(self, drain_max: Duration) -> Served {
        match tokio::time::timeout(drain_max, self.graceful.shutdown()).await {
            Ok(()) => Served::Drained,
            Err(_) => Served::Cut,
        }
    }
}

async fn told(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone says stop, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted: raise the limit on open files if this goes on");
    tokio::time::sleep(ACCEPT_AGAIN).await;
}

async fn open_tcp(setting: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let opened = TcpListener::bind(address).await;
    opened.map_err(|source| ListenError::Tcp { setting, address, source })
}

async fn open_unix(
    path: &Path,
    mode: u32,
    group: Option<&str>,
) -> Result<BoundSocket, ListenError> {
    let group = group.map(find_group).transpose()?;
    let failed = |source| ListenError::Unix { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => match tokio::net::UnixStream::connect(path).await {
            // Nobody listens. Any other error may come from one who does and is busy, or is somebody else's.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tracing::info!(path = %path.display(), "a stale socket is replaced");
            }
            _ => return Err(ListenError::InUse { path: path.to_owned() }),
        },
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = std::fs::remove_file(&beside);
    let bind = || {
        let listener = UnixListener::bind(&beside)?;
        std::os::unix::fs::chown(&beside, None, group)?;
        std::fs::set_permissions(&beside, Permissions::from_mode(mode))?;
        let inode = inode(&beside)?;
        std::fs::rename(&beside, path)?;
        Ok((listener, inode))
    };
    let (listener, inode) = bind().map_err(|source| {
        let _ = std::fs::remove_file(&beside);
        failed(source)
    })?;
    Ok(BoundSocket { listener, path: path.to_owned(), inode })
}

/// Whether a connection ended because the next head did not come in time.
fn is_timeout(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout)
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The number of a group: itself, or what `/etc/group` says (a static binary has no name service).
fn find_group(group: &str) -> Result<u32, ListenError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    });
    number.ok_or_else(|| ListenError::NoGroup { group: group.to_owned() })
}
