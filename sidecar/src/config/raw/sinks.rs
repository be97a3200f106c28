//! `[audit.syslog]` and `[audit.otlp]` as written, and what makes them valid.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::root::{ADDRESS_WANTED, is_safe_address};
use super::{Problem, check_times};
use crate::root::is_this_machine;
use crate::sinks::{ClientIdentity, OtlpSettings, SyslogPlace, SyslogSettings, SyslogTransport};

/// What every collector takes over UDP (RFC 5426, section 3.2), and what one should take in a stream (RFC 5425, section
/// 4.3.1).
const UDP_MESSAGE_BYTES: usize = 2048;
const MESSAGE_BYTES: usize = 8192;
/// The longest entry and what stands around it.
const MESSAGE_BYTES_MAX: usize = 128 << 10;
/// The longest datagram over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// The number that stands in examples (RFC 5612), and in nothing else.
const EXAMPLE_NUMBER: u32 = 32473;
const PLACE_WANTED: &str =
    "unix:PATH, or tls://HOST:PORT, tcp://HOST:PORT or udp://HOST:PORT, and nothing after the port";
const FACILITY_MAX: u8 = 23;
const BATCH_ENTRIES_MAX: usize = 8192;
const BATCH_WAIT_MAX: Duration = Duration::from_secs(60);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSyslog {
    address: String,
    #[serde(default)]
    in_the_clear: bool,
    #[serde(default = "default_facility")]
    facility: u8,
    message_bytes_max: Option<usize>,
    enterprise_number: Option<u32>,
    ca_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
}

/// "log audit" (RFC 5424, table 1).
fn default_facility() -> u8 {
    13
}

impl RawSyslog {
    pub(super) fn check(self) -> Result<SyslogSettings, Problem> {
        let at = |name: &str| format!("audit.syslog.{name}");
        let place = place(&self.address);
        let place = place.ok_or_else(|| Problem::new(at("address"), PLACE_WANTED))?;
        let (usual, most) = match &place {
            SyslogPlace::Network { transport: SyslogTransport::Udp, .. } => {
                (UDP_MESSAGE_BYTES, DATAGRAM_BYTES_MAX)
            }
            _ => (MESSAGE_BYTES, MESSAGE_BYTES_MAX),
        };
        if !self.in_the_clear && travels_in_the_clear(&place) {
            let problem = "to another machine over TLS (tls://), or say in_the_clear = true: who listens, or answers in its place, reads what happens here";
            return Err(Problem::new(at("address"), problem));
        }
        let over_tls =
            matches!(place, SyslogPlace::Network { transport: SyslogTransport::Tls, .. });
        if !over_tls && (self.ca_file.is_some() || self.client_cert_file.is_some()) {
            return Err(Problem::new(at("ca_file"), "certificates go with tls:// alone"));
        }
        if self.facility > FACILITY_MAX {
            return Err(Problem::new(at("facility"), "from 0 to 23; 13 is that of logs of audits"));
        }
        if matches!(self.enterprise_number, Some(0 | EXAMPLE_NUMBER)) {
            let problem = "your own number at IANA; 32473 is for examples (RFC 5612)";
            return Err(Problem::new(at("enterprise_number"), problem));
        }
        let message_bytes_max = self.message_bytes_max.unwrap_or(usual);
        if !(UDP_MESSAGE_BYTES..=most).contains(&message_bytes_max) {
            let problem = format!("from {UDP_MESSAGE_BYTES} to {most}");
            return Err(Problem::new(at("message_bytes_max"), problem));
        }
        Ok(SyslogSettings {
            place,
            facility: self.facility,
            message_bytes_max,
            enterprise_number: self.enterprise_number,
            ca_file: self.ca_file,
            client_identity: identity("audit.syslog", self.client_cert_file, self.client_key_file)?,
        })
    }
}

fn place(address: &str) -> Option<SyslogPlace> {
    if let Some(path) = address.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return path.is_absolute().then_some(SyslogPlace::Unix(path));
    }
    let (scheme, authority) = address.split_once("://")?;
    let known = [SyslogTransport::Udp, SyslogTransport::Tcp, SyslogTransport::Tls];
    let transport = known.into_iter().find(|known| known.as_str() == scheme)?;
    let authority: http::uri::Authority = authority.parse().ok()?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let bare = !authority.as_str().contains('@') && !host.is_empty();
    let port = authority.port_u16().filter(|port| bare && *port != 0)?;
    Some(SyslogPlace::Network { transport, host, port })
}

fn travels_in_the_clear(place: &SyslogPlace) -> bool {
    match place {
        SyslogPlace::Unix(_) | SyslogPlace::Network { transport: SyslogTransport::Tls, .. } => {
            false
        }
        SyslogPlace::Network { host, .. } => !is_this_machine(host),
    }
}

fn identity(
    table: &str,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
) -> Result<Option<ClientIdentity>, Problem> {
    match (cert_file, key_file) {
        (None, None) => Ok(None),
        (Some(cert_file), Some(key_file)) => Ok(Some(ClientIdentity { cert_file, key_file })),
        _ => {
            let problem = "client_cert_file and client_key_file go together";
            Err(Problem::new(format!("{table}.client_cert_file"), problem))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOtlp {
    address: String,
    headers_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
    #[serde(default)]
    compression: RawCompression,
    #[serde(default = "default_timeout", with = "humantime_serde")]
    timeout: Duration,
    #[serde(default = "default_batch_entries_max")]
    batch_entries_max: usize,
    #[serde(default = "default_batch_wait", with = "humantime_serde")]
    batch_wait: Duration,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum RawCompression {
    #[default]
    Gzip,
    None,
}

/// The three of these are what OpenTelemetry's own exporters have.
fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_batch_entries_max() -> usize {
    512
}

fn default_batch_wait() -> Duration {
    Duration::from_secs(1)
}

impl RawOtlp {
    pub(super) fn check(self) -> Result<OtlpSettings, Problem> {
        let at = |name: &str| format!("audit.otlp.{name}");
        if !is_safe_address(&self.address) {
            return Err(Problem::new(at("address"), ADDRESS_WANTED));
        }
        check_times(&[("audit.otlp.timeout", self.timeout)])?;
        if self.timeout > TIMEOUT_MAX {
            return Err(Problem::new(at("timeout"), "at most a minute"));
        }
        if self.batch_wait > BATCH_WAIT_MAX {
            return Err(Problem::new(at("batch_wait"), "at most a minute; \"0s\": at once"));
        }
        if !(1..=BATCH_ENTRIES_MAX).contains(&self.batch_entries_max) {
            let problem = format!("from 1 to {BATCH_ENTRIES_MAX}");
            return Err(Problem::new(at("batch_entries_max"), problem));
        }
        Ok(OtlpSettings {
            address: self.address,
            headers_file: self.headers_file,
            ca_file: self.ca_file,
            client_identity: identity("audit.otlp", self.client_cert_file, self.client_key_file)?,
            gzip: self.compression == RawCompression::Gzip,
            timeout: self.timeout,
            batch_entries_max: self.batch_entries_max,
            batch_wait: self.batch_wait,
        })
    }
}
