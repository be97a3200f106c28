//! The bare handler: takes the body in and gives the same bytes back. The HTTP stack of Keypod and nothing else.
//!
//! Built with the same crates, the same settings of the release profile, and hyper as `axum::serve` runs it.

use std::path::Path;

use anyhow::Context as _;
use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::say;

/// Its name of the socket.
pub(crate) const SOCKET: &str = "bare.sock";
/// The path that it serves.
pub(crate) const PATH: &str = "/echo";

/// Serves on a port that the system chooses, which is printed, and on a socket in `folder`, until it is killed.
pub(crate) async fn serve(folder: &Path) -> anyhow::Result<()> {
    let router = Router::new().route(PATH, post(|body: Bytes| async move { body }));
    let tcp = TcpListener::bind(("127.0.0.1", 0)).await?;
    let unix = UnixListener::bind(folder.join(SOCKET)).context("cannot make the bare socket")?;
    say(&tcp.local_addr()?.to_string())?;
    loop {
        tokio::select! {
            accepted = tcp.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connect(router.clone(), stream);
            }
            accepted = unix.accept() => connect(router.clone(), accepted?.0),
        }
    }
}

fn connect(router: Router, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    tokio::spawn(async move {
        let service = TowerToHyperService::new(router);
        let builder = auto::Builder::new(TokioExecutor::new());
        // A connection that breaks is its client's to report.
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    });
}
