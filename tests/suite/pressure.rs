//! Input that is cut, huge, slow, endless, garbled or simply much: a clear error, bounded memory, nothing lost,
//! and afterwards everything works as before.

mod broken;
mod http2;
mod many;
mod slow;

use std::time::Duration;

use keypod_tests::{Client, Sidecar, SidecarBuilder, WAIT_MAX};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TOKEN: &str = "admin-token-0123456789abcdefghij";
/// What a sidecar may keep of memory that an attack made it use: allocators do not give everything back.
const KEPT_BYTES_MAX: u64 = 48 << 20;

/// A sidecar under attack, and how large it was before.
struct Target {
    sidecar: Sidecar,
    resident_before: u64,
}

impl Target {
    async fn start(limits: &str) -> Self {
        let builder = SidecarBuilder::new().key("demo").variable("KEYPOD_LOG__FILTER", "info");
        let sidecar = builder.config(&format!("[limits]\n{limits}")).start().await;
        let context = json!({});
        let ciphertext = sidecar.client().encrypt("demo", &[0; 100_000], &context).await;
        sidecar.client().decrypt(&ciphertext, &context).await;
        let resident_before = sidecar.resident_bytes();
        Self { sidecar, resident_before }
    }

    fn client(&self) -> Client {
        self.sidecar.client()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.sidecar.tcp()).await.unwrap()
    }

    #[track_caller]
    fn assert_memory_bounded(&self, more: u64) {
        let (before, now) = (self.resident_before, self.sidecar.resident_bytes());
        assert!(now <= before + more, "resident memory grew from {before} to {now} bytes");
    }

    /// Panics unless it serves as before, has nothing in flight and has not kept much memory.
    async fn assert_unharmed(&self) {
        self.sidecar.until_idle().await;
        for client in [self.client(), Client::unix(&self.sidecar.socket(), Some(TOKEN))] {
            let context = json!({ "after": "it" });
            let ciphertext = client.encrypt("demo", b"as before", &context).await;
            assert_eq!(client.decrypt(&ciphertext, &context).await, b"as before");
        }
        assert_eq!(self.sidecar.observe("/readyz").await.status, 200);
        self.assert_memory_bounded(KEPT_BYTES_MAX);
        let log = self.sidecar.log();
        assert!(!log.contains("panicked") && !log.contains("\"ERROR\""), "{log}");
    }
}

/// The head of a request with this caller's token; the body follows.
fn head(method: &str, path: &str, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{more}\r\n"
    )
}

/// Everything that comes back until the other side ends the connection, however it ends it.
async fn read_to_end(connection: &mut TcpStream) -> String {
    read_until(connection, "\0 nobody sends this").await
}

/// What comes back until this text, or until the other side ends the connection.
async fn read_until(connection: &mut TcpStream, text: &str) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(WAIT_MAX, async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = connection.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..read]);
            if String::from_utf8_lossy(&bytes).contains(text) {
                break;
            }
        }
    });
    read.await.expect("the sidecar answers or ends the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends these bytes on a connection of their own, closes the sending side, and returns what comes back.
async fn exchange(target: &Target, bytes: &[u8]) -> String {
    let mut connection = target.connect().await;
    // The other side may have answered and closed before it has read everything.
    let _ = connection.write_all(bytes).await;
    let _ = connection.shutdown().await;
    read_to_end(&mut connection).await
}

/// Writes until the other side takes no more for this long.
async fn write_until_it_stalls(connection: &mut TcpStream, piece: &[u8], pause: Duration) -> usize {
    let mut written = 0;
    while let Ok(Ok(more)) = tokio::time::timeout(pause, connection.write(piece)).await {
        written += more;
    }
    written
}
