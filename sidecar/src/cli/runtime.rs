//! Runs a command's future until it ends or a signal ends it.
//!
//! The future is dropped before the exit, and its temporary files vanish with it. The command runs on a worker,
//! so that a write that blocks (a pipe that nobody reads) never keeps a signal from being seen. Depends on
//! [`super::failure`].

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;

/// How long an interrupted command may take to let go of what it holds.
const LET_GO_MAX: Duration = Duration::from_secs(2);

/// Runs `command` on a worker to its end, or until SIGINT, SIGTERM or SIGHUP.
pub(super) fn run(
    command: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    until_signalled(async |ended| {
        let mut task = tokio::spawn(command);
        tokio::select! {
            result = &mut task => result.context("the command failed from within")?,
            number = ended => {
                task.abort();
                let _ = tokio::time::timeout(LET_GO_MAX, task).await;
                Err(Failure::Signal(number).into())
            }
        }
    })
}

/// Runs `command` on this thread, likewise: for one that writes nothing before its end.
pub(super) fn run_here<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    until_signalled(async |ended| {
        tokio::select! {
            result = command => result,
            number = ended => Err(Failure::Signal(number).into()),
        }
    })
}

/// Runs `work` with a future that is the number of the signal that ends it.
fn until_signalled<T>(
    work: impl AsyncFnOnce(Pin<&mut dyn Future<Output = u8>>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    forbid_core_dumps();
    // Two workers: one may be in a blocking write while the other drives the sockets and the signals.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")?;
    let result = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let ended = pin!(async {
            tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
                _ = hangup.recv() => 1,
            }
        });
        work(ended).await
    });
    // A read of standard input may still be waiting on its thread: leave it behind.
    runtime.shutdown_background();
    result
}

/// Plaintext passes through this process, so its memory goes to no core file. Where the limit cannot be
/// lowered, the command is still of use.
fn forbid_core_dumps() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}
