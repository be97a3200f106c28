//! A TCP proxy that misbehaves as it is told: between Keypod and a server that is well.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Between two looks at what is told.
const TICK: Duration = Duration::from_millis(2);

/// How the proxy treats connections, those that there are and new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Everything passes.
    None,
    /// Every piece of an answer comes this much later.
    Delay(Duration),
    /// Nobody listens: connections are refused, and those that there are end.
    Refuse,
    /// Connections are accepted and reset; those that there are too.
    Reset,
    /// Of each answer this many bytes come, and then the connection ends.
    Half(usize),
    /// Connections are accepted, and nothing ever comes back.
    BlackHole,
}

/// A proxy in front of one server. It ends when this is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    fault: Mutex<Fault>,
    open: Mutex<Vec<TcpStream>>,
    accepted: AtomicUsize,
    stopped: AtomicBool,
}

impl FaultProxy {
    /// A proxy on a free port of 127.0.0.1, in front of `upstream`.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            fault: Mutex::new(Fault::None),
            open: Mutex::default(),
            accepted: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept_all(listener, address));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that it has accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Misbehaves in this way from now on.
    pub fn set(&self, fault: Fault) {
        *lock(&self.shared.fault) = fault;
        if matches!(fault, Fault::Refuse | Fault::Reset) {
            self.cut();
        }
    }

    /// Ends every connection that there is.
    pub fn cut(&self) {
        for connection in lock(&self.shared.open).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.cut();
    }
}

impl Shared {
    fn accept_all(self: Arc<Self>, listener: TcpListener, address: SocketAddr) {
        let mut listener = Some(listener);
        while !self.stopped.load(Ordering::SeqCst) {
            match (self.fault(), &listener) {
                (Fault::Refuse, _) => listener = None,
                (_, None) => listener = TcpListener::bind(address).ok(),
                (fault, Some(listening)) => self.accept_one(listening, fault),
            }
            thread::sleep(TICK);
        }
    }

    fn accept_one(self: &Arc<Self>, listener: &TcpListener, fault: Fault) {
        let _ = listener.set_nonblocking(true);
        while let Ok((client, _)) = listener.accept() {
            self.accepted.fetch_add(1, Ordering::SeqCst);
            let _ = client.set_nonblocking(false);
            if fault == Fault::Reset {
                // Closed with a linger of nothing, it is reset and not ended in order.
                let _ = rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO));
                continue;
            }
            let this = Arc::clone(self);
            thread::spawn(move || this.carry(client));
        }
    }

    /// Carries both ways until either side ends.
    fn carry(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.upstream) else { return };
        let copies = [&client, &server, &client, &server].map(TcpStream::try_clone);
        let [Ok(client_kept), Ok(server_kept), Ok(client_out), Ok(server_in)] = copies else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        lock(&self.open).extend([client_kept, server_kept]);
        let up = Arc::clone(&self);
        let upwards = thread::spawn(move || up.pump(client, server, false));
        self.pump(server_in, client_out, true);
        let _ = upwards.join();
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut piece = vec![0; 64 * 1024];
        let mut carried = 0;
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let Some(mut read) = piece.get(..length) else { break };
            match self.fault() {
                Fault::BlackHole => continue,
                Fault::Delay(by) if is_answer => thread::sleep(by),
                Fault::Half(bytes) if is_answer => {
                    read = read.get(..bytes.saturating_sub(carried)).unwrap_or(read);
                }
                _ => {}
            }
            carried += length;
            if to.write_all(read).is_err() || read.len() < length {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn fault(&self) -> Fault {
        *lock(&self.fault)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
