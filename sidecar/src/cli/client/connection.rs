//! Opens a connection to the sidecar, and keeps it for one request after another.
//!
//! Depends on hyper and [`super::endpoint`]. Invariant: a refusal that comes before the request's body was read
//! is still read (`a_refusal_before_the_body_was_read_is_still_understood`).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

use super::endpoint::{Address, Endpoint};
use crate::cli::failure::Failure;

/// An open connection. Dropping it closes it, whatever is on its way.
#[derive(Debug)]
pub(in crate::cli) struct Connection<B> {
    /// Sends one request at a time.
    pub(in crate::cli) sender: SendRequest<B>,
    task: AbortHandle,
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    /// Connects to the sidecar at `endpoint`.
    pub(in crate::cli) async fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let address = endpoint.address();
        match address {
            Address::Socket(path) => match UnixStream::connect(path).await {
                Ok(stream) => Self::over(stream).await,
                Err(error) => Err(unreachable(address, &error)),
            },
            Address::Tcp(to) => match TcpStream::connect(to).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    Self::over(stream).await
                }
                Err(error) => Err(unreachable(address, &error)),
            },
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> anyhow::Result<Self> {
        let stream = TokioIo::new(ReadsOn { stream, write_failed: false });
        let (sender, connection) = handshake(stream).await?;
        let task = tokio::spawn(async move {
            // Whoever waits for an answer is told; nobody else has to be.
            let _ = connection.await;
        });
        Ok(Self { sender, task: task.abort_handle() })
    }
}

fn unreachable(address: &Address, error: &io::Error) -> anyhow::Error {
    let text = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("this user may not open {address}: the socket's mode or group keeps it out")
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no sidecar listens on {address}: start it with `keypod serve` or `keypod dev`, or \
             name another with --socket or --addr"
        ),
        _ => format!("cannot connect to {address}: {error}"),
    };
    Failure::Unreachable(text).into()
}

/// A stream that is read to its end even if it can no longer be written. A server that refuses a request
/// answers and closes, while the body is still being sent; hyper would report the failed write and drop the
/// answer. Here the write waits instead, and reading finds the answer, or the end.
struct ReadsOn<T> {
    stream: T,
    write_failed: bool,
}

impl<T> ReadsOn<T> {
    fn keep<V>(&mut self, outcome: io::Result<V>) -> Poll<io::Result<V>> {
        match outcome {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                // Nothing wakes this again but the reading half, which is what is being waited for.
                self.write_failed = true;
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadsOn<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadsOn<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_failed {
            return Poll::Pending;
        }
        let outcome = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.keep(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.write_failed {
            return Poll::Pending;
        }
        let outcome = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, parts));
        self.keep(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
