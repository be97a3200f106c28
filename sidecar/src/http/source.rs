//! Where a connection comes from, on the kernel's word: the user at the other end.
//!
//! The Unix socket says it at once. For TCP the kernel's table of sockets says it, which costs a walk through all of
//! them: so it is asked only about connections that showed wrong credentials, once for each, one at a time.

use std::fmt;
use std::net::SocketAddr;

use tokio::sync::{Mutex, OnceCell, Semaphore};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A user of this machine, or of another container of the pod.
    User(u32),
    /// The kernel does not say.
    Unknown,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(formatter, "uid {uid}"),
            Self::Unknown => formatter.write_str("unknown"),
        }
    }
}

/// One walk through the kernel's table at a time: each has the permit until it has ended, whoever still waits for it.
static WALK: Mutex<()> = Mutex::const_new(());
/// More do not wait for theirs: where they come from is not known then.
static WAITING: Semaphore = Semaphore::const_new(32);

/// Both ends of a TCP connection.
#[derive(Debug)]
pub(super) struct TcpEnds {
    client: SocketAddr,
    server: SocketAddr,
    source: OnceCell<Source>,
}

impl TcpEnds {
    pub(super) fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self { client, server, source: OnceCell::new() }
    }

    /// Who has the client's end.
    pub(super) async fn source(&self) -> Source {
        let (client, server) = (self.client, self.server);
        let find = || async move {
            let Ok(_waiting) = WAITING.try_acquire() else { return Source::Unknown };
            let walk = WALK.lock().await;
            let found = tokio::task::spawn_blocking(move || {
                let _walk = walk;
                owner(client, server)
            });
            found.await.ok().flatten().map_or(Source::Unknown, Source::User)
        };
        *self.source.get_or_init(find).await
    }
}

/// The user whose socket goes from `client` to `server`. A socket that its process has closed has no inode: it is
/// nobody's, and its user is said to be root.
fn owner(client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let same = |entry: SocketAddr, wanted: SocketAddr| {
        entry.port() == wanted.port() && entry.ip().to_canonical() == wanted.ip().to_canonical()
    };
    let tables = [procfs::net::tcp, procfs::net::tcp6];
    tables.into_iter().filter_map(|table| table().ok()).flatten().find_map(|entry| {
        let is_it = same(entry.local_address, client) && same(entry.remote_address, server);
        (is_it && entry.inode != 0).then_some(entry.uid)
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn the_owner_of_a_tcp_connection_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).await.unwrap();
            let server = listener.local_addr().unwrap();
            let client = TcpStream::connect(server).await.unwrap();
            let (_accepted, from) = listener.accept().await.unwrap();
            assert_eq!(from, client.local_addr().unwrap());
            let uid = rustix::process::getuid().as_raw();
            assert_eq!(TcpEnds::new(from, server).source().await, Source::User(uid));
        }
    }

    #[tokio::test]
    async fn a_connection_that_its_client_has_closed_is_nobody_s_and_not_root_s() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).await.unwrap();
        let (_accepted, from) = listener.accept().await.unwrap();
        drop(client);
        assert_eq!(TcpEnds::new(from, server).source().await, Source::Unknown);
    }

    #[tokio::test]
    async fn a_connection_that_is_not_there_is_nobody_s() {
        let ends = TcpEnds::new("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        assert_eq!(ends.source().await, Source::Unknown);
    }
}
