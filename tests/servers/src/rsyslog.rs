//! rsyslog, from Debian's package: takes syslog messages over TCP, UDP and a socket of the file system, parses them, and
//! writes what it has understood to a file.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::Leash;
use crate::moto::fail;

const PROGRAM: &str = "/usr/sbin/rsyslogd";
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS_MAX: usize = 400;
/// How many ports are tried: another process may take one between its choice and its use.
const PORTS_MAX: usize = 5;

const CONFIGURATION: &str = r#"
global(workDirectory="FOLDER")
module(load="imtcp")
module(load="imudp")
module(load="imuxsock" SysSock.Use="off")
input(type="imtcp" port="PORT" address="127.0.0.1")
input(type="imudp" port="PORT" address="127.0.0.1")
input(type="imuxsock" Socket="FOLDER/log.sock" UseSpecialParser="off" ParseHostname="on" IgnoreTimestamp="off" RateLimit.Interval="0")
template(name="all" type="list" option.jsonf="on") {
  property(outname="priority" name="pri" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="version" name="protocol-version" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="application" name="app-name" format="jsonf")
  property(outname="process" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
}
if $app-name == "keypod" or $app-name == "probe" then action(type="omfile" file="FOLDER/messages" template="all")
"#;

/// A running rsyslog.
#[derive(Debug)]
pub struct Rsyslog {
    port: u16,
    folder: TempDir,
    _leash: Leash,
}

impl Rsyslog {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed, or takes no messages.
    #[must_use]
    pub fn start() -> Self {
        if !Path::new(PROGRAM).exists() {
            fail("no rsyslogd here: apt-get install rsyslog");
        }
        for _ in 0..PORTS_MAX {
            match Self::try_start() {
                Ok(Some(server)) => return server,
                Ok(None) => {}
                Err(problem) => fail(&format!("rsyslog does not start: {problem}")),
            }
        }
        fail("every port that was free was taken when rsyslog wanted it")
    }

    fn try_start() -> io::Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let place = folder.path().to_string_lossy();
        let text = CONFIGURATION.replace("FOLDER", &place).replace("PORT", &port.to_string());
        let configuration = folder.path().join("rsyslog.conf");
        fs::write(&configuration, text)?;
        let mut command = Command::new(PROGRAM);
        command.arg("-n").arg("-f").arg(configuration).arg("-i").arg(folder.path().join("pid"));
        let leash = Leash::start(&command, &folder.path().join("log"))?;
        let server = Self { port, folder, _leash: leash };
        for _ in 0..LOOKS_MAX {
            server.probe();
            let came = server.all();
            let came = |by: &str| came.iter().any(|message| message["msgid"] == by);
            if came("tcp") && came("udp") && server.socket().exists() {
                return Ok(Some(server));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(None)
    }

    /// Sends a message each way; who is not there yet does not get it.
    fn probe(&self) {
        let message = |by: &str| format!("<14>1 - - probe - {by} - x");
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
            let message = message("tcp");
            let _ = write!(stream, "{} {message}", message.len());
        }
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(message("udp").as_bytes(), (Ipv4Addr::LOCALHOST, self.port));
        }
    }

    /// Its port, of TCP and of UDP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its socket in the file system.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("log.sock")
    }

    /// The messages of Keypod that came so far.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        let mut all = self.all();
        all.retain(|message| message["application"] == "keypod");
        all
    }

    fn all(&self) -> Vec<Value> {
        crate::json_lines(&self.folder.path().join("messages"))
    }
}
