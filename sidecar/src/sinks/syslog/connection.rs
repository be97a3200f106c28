//! Connections to a syslog collector: datagrams to a socket or an address, and streams, in TLS or not.
//!
//! Every step has a bound in time. What a collector sends is read, and thrown away.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::NAME;
use crate::sinks::target::Fault;
use crate::sinks::{SinkError, SyslogPlace, SyslogSettings, SyslogTransport, tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A collector that takes nothing for so long is left.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// In TLS 1.3, a client whose certificate is refused learns it after its handshake has ended: it listens for so long.
const REFUSAL_WAIT: Duration = Duration::from_millis(200);
/// What a collector may send between two messages, in pieces; one that sends more is left.
const UNWANTED_MAX: usize = 64;
/// How long the end of a stream may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Makes connections to one collector.
pub(super) struct Connector {
    tls: Option<TlsConnector>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").field("tls", &self.tls.is_some()).finish()
    }
}

/// A connection to a collector.
pub(super) enum Connection {
    /// On this machine.
    Unix(UnixDatagram),
    /// Datagrams across the network.
    Udp(UdpSocket),
    /// A stream.
    Stream(Box<dyn Stream>),
}

/// A stream of bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unix(_) => "Unix",
            Self::Udp(_) => "Udp",
            Self::Stream(_) => "Stream",
        })
    }
}

impl Connector {
    pub(super) fn new(settings: &SyslogSettings) -> Result<Self, SinkError> {
        let SyslogPlace::Network { transport: SyslogTransport::Tls, .. } = settings.place else {
            return Ok(Self { tls: None });
        };
        let (ca_file, identity) = (settings.ca_file.as_deref(), settings.client_identity.as_ref());
        let config: ClientConfig = tls::config(NAME, false, ca_file, identity)?;
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    pub(super) async fn connect(&self, place: &SyslogPlace) -> Result<Connection, Fault> {
        match timeout(CONNECT_TIMEOUT, self.try_connect(place)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(unreached(place, &error)),
            Err(_) => Err(Fault::new(format!("{place}: no connection in time"))),
        }
    }

    async fn try_connect(&self, place: &SyslogPlace) -> io::Result<Connection> {
        let (transport, host, port) = match place {
            SyslogPlace::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                return Ok(Connection::Unix(socket));
            }
            SyslogPlace::Network { transport, host, port } => (transport, host.as_str(), *port),
        };
        match transport {
            SyslogTransport::Udp => udp(host, port).await.map(Connection::Udp),
            SyslogTransport::Tcp => {
                let stream = TcpStream::connect((host, port)).await?;
                Ok(Connection::Stream(Box::new(stream)))
            }
            SyslogTransport::Tls => self.tls(host, port).await,
        }
    }

    async fn tls(&self, host: &str, port: u16) -> io::Result<Connection> {
        let connector = self.tls.as_ref().ok_or(ErrorKind::Unsupported)?;
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| io::Error::other("its host is not a name of TLS"))?;
        let stream = TcpStream::connect((host, port)).await?;
        let mut stream = connector.connect(name, stream).await?;
        match timeout(REFUSAL_WAIT, stream.read(&mut [0; 256])).await {
            Ok(Ok(0)) => Err(ErrorKind::ConnectionAborted.into()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Ok(Connection::Stream(Box::new(stream))),
        }
    }
}

/// A socket from which datagrams go to the first address of this name that there is a way to.
async fn udp(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(ErrorKind::NotFound);
    for address in lookup_host((host, port)).await? {
        let here: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(here).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unreached(place: &SyslogPlace, error: &io::Error) -> Fault {
    let said = error.to_string();
    let mend = match said.contains("invalid peer certificate") {
        true => ": set audit.syslog.ca_file to the authority that signed the collector's",
        false => "",
    };
    Fault::new(format!("{place}: {said}{mend}"))
}

impl Connection {
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Sends a datagram. `false` if this one will never go, because the system takes none so long.
    pub(super) async fn send_datagram(&self, message: &[u8]) -> Result<bool, Fault> {
        let sent = async {
            match self {
                Self::Unix(socket) => socket.send(message).await,
                Self::Udp(socket) => socket.send(message).await,
                Self::Stream(_) => Err(ErrorKind::Unsupported.into()),
            }
        };
        match timeout(SEND_TIMEOUT, sent).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) if error.raw_os_error() == Some(libc::EMSGSIZE) => Ok(false),
            Ok(Err(error)) => Err(Fault::new(format!("a datagram was refused: {error}"))),
            Err(_) => Err(Fault::new("nobody takes datagrams from the socket")),
        }
    }

    /// Writes `frames` to a stream that the collector has not closed.
    pub(super) async fn write(&mut self, frames: &[u8]) -> Result<(), Fault> {
        let Self::Stream(stream) = self else {
            return Err(Fault::new("it takes datagrams alone"));
        };
        discard(&mut **stream)?;
        let written = async {
            stream.write_all(frames).await?;
            stream.flush().await
        };
        match timeout(SEND_TIMEOUT, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Fault::new(format!("the connection broke: {error}"))),
            Err(_) => Err(Fault::new("the collector does not read")),
        }
    }

    /// Ends it in order, if that can be had soon.
    pub(super) async fn close(self) {
        if let Self::Stream(mut stream) = self {
            let _ = timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
        }
    }
}

/// Takes in what the collector has sent, and finds out whether it has closed: to write to a stream that the other side has
/// closed succeeds once, and is lost.
fn discard(stream: &mut (dyn Stream + 'static)) -> Result<(), Fault> {
    for _ in 0..UNWANTED_MAX {
        match stream.read(&mut [0; 1024]).now_or_never() {
            None => return Ok(()),
            Some(Ok(0)) => return Err(Fault::new("the collector has closed the connection")),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Fault::new(format!("the connection broke: {error}"))),
        }
    }
    Err(Fault::new("the collector talks without an end"))
}
