//! What the configuration says of the sinks.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where copies of the audit log go.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// Bytes of copies that wait for one sink, in memory.
    pub backlog_bytes_max: usize,
    /// What tells this sidecar from others: the origin of its logs.
    pub instance: String,
    /// Whether they go to standard output.
    pub stdout: bool,
    /// Whether they go to a syslog collector.
    pub syslog: Option<SyslogSettings>,
    /// Whether they go to a collector of OpenTelemetry.
    pub otlp: Option<OtlpSettings>,
}

/// `[audit.syslog]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogSettings {
    /// Where the collector is.
    pub place: SyslogPlace,
    /// The facility, from 0 to 23.
    pub facility: u8,
    /// Bytes of a message at most: of an entry that is longer, only that there is one is said.
    pub message_bytes_max: usize,
    /// The operator's number at IANA: names Keypod's own structured data, which is left out without one.
    pub enterprise_number: Option<u32>,
    /// The authorities that sign the collector's certificate; the system's without it.
    pub ca_file: Option<PathBuf>,
    /// What this side proves itself with.
    pub client_identity: Option<ClientIdentity>,
}

/// Where a syslog collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogPlace {
    /// A socket for datagrams in the file system.
    Unix(PathBuf),
    /// Across the network.
    Network {
        /// How.
        transport: SyslogTransport,
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// How syslog messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogTransport {
    /// Datagrams (RFC 5426).
    Udp,
    /// A stream, each message with its length before it (RFC 6587, section 3.4.1).
    Tcp,
    /// The same in TLS (RFC 5425).
    Tls,
}

impl SyslogTransport {
    /// Its name, as the configuration has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for SyslogPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Network { transport, host, port } if host.contains(':') => {
                write!(formatter, "{}://[{host}]:{port}", transport.as_str())
            }
            Self::Network { transport, host, port } => {
                write!(formatter, "{}://{host}:{port}", transport.as_str())
            }
        }
    }
}

/// A certificate and its key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and those between it and an authority.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// `[audit.otlp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Where logs are posted, in full.
    pub address: String,
    /// A file with headers, a line each: they may hold a token.
    pub headers_file: Option<PathBuf>,
    /// The authorities that sign the collector's certificate; the system's without it.
    pub ca_file: Option<PathBuf>,
    /// What this side proves itself with.
    pub client_identity: Option<ClientIdentity>,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// How long a request may take.
    pub timeout: Duration,
    /// Entries of a request at most.
    pub batch_entries_max: usize,
    /// How long the first of them waits for others.
    pub batch_wait: Duration,
}
