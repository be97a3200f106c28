//! Bounds what clients hold that do not read their answers: time, places in flight, memory.
//!
//! A connection whose client takes nothing for `limits.answer_timeout` is cut ([`CutWhenUnread`]). On HTTP/2 a
//! client can keep one stream's window shut and the connection alive, so a streamed answer is given up by itself
//! ([`Unread`]). An answer that is whole in memory counts as a body until it is sent ([`hold`]). Held by
//! `a_client_that_never_reads_its_stream_is_given_up_and_holds_no_place` and its neighbours in the suite
//! `pressure`.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::error::Failure;
use crate::limits::{BodyMemory, Limit, Memory};

/// Smaller answers do not count: about what the kernel takes in without waiting for the client.
const UNCOUNTED_BYTES_MAX: u64 = 128 << 10;

/// Counts an answer that is whole in memory against the memory for bodies, until its last byte is sent.
pub(super) async fn hold(response: Response, share: &Memory) -> Result<Response, Failure> {
    let len = response.body().size_hint().exact().unwrap_or(0);
    if len <= UNCOUNTED_BYTES_MAX {
        return Ok(response);
    }
    let memory = share.take(usize::try_from(len).unwrap_or(usize::MAX))?;
    let (parts, body) = response.into_parts();
    // It is there already: nothing is waited for, and a single frame is not copied.
    let bytes = body.collect().await.map_err(|_| super::error::panicked())?.to_bytes();
    let held = HeldBytes { bytes, _memory: memory };
    Ok(Response::from_parts(parts, Body::from(Bytes::from_owner(held))))
}

struct HeldBytes {
    bytes: Bytes,
    _memory: BodyMemory,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What makes a streamed answer, while its client has not asked for more. It is dropped if that takes too long.
pub(super) struct Unread<S> {
    slot: Arc<Mutex<Slot<S>>>,
    watch: JoinHandle<()>,
}

struct Slot<S> {
    /// How often it was put back.
    turn: u64,
    source: Option<S>,
}

impl<S: Send + 'static> Unread<S> {
    /// Keeps `source` until it is taken, for `timeout` between two takings.
    pub(super) fn new(source: S, timeout: Duration) -> Self {
        let slot = Arc::new(Mutex::new(Slot { turn: 0, source: Some(source) }));
        let watch = tokio::spawn(give_up_unread(Arc::downgrade(&slot), timeout));
        Self { slot, watch }
    }

    /// What makes the answer; nothing if it was given up.
    pub(super) fn take(&self) -> Option<S> {
        lock(&self.slot).source.take()
    }

    /// Waits for the client again.
    pub(super) fn put_back(&self, source: S) {
        let mut slot = lock(&self.slot);
        slot.turn += 1;
        slot.source = Some(source);
    }
}

impl<S> Drop for Unread<S> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

async fn give_up_unread<S>(slot: Weak<Mutex<Slot<S>>>, timeout: Duration) {
    let mut seen = None;
    loop {
        let Some(slot_now) = slot.upgrade() else { return };
        let unread = {
            let mut slot = lock(&slot_now);
            let unread = seen == Some(slot.turn);
            seen = Some(slot.turn);
            if unread { slot.source.take() } else { None }
        };
        drop(slot_now);
        if unread.is_some() {
            tracing::warn!(
                "a stream was given up: its client did not read (limits.answer_timeout)"
            );
            Limit::AnswerTimeout.bit();
            return;
        }
        tokio::time::sleep(timeout).await;
    }
}

/// Nothing that is done under this lock can panic halfway.
fn lock<S>(slot: &Mutex<Slot<S>>) -> std::sync::MutexGuard<'_, Slot<S>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that fails once a write has waited for `timeout`.
pub(super) struct CutWhenUnread<S> {
    stream: S,
    timeout: Duration,
    /// Runs while a write waits.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> CutWhenUnread<S> {
    pub(super) fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, timeout, waits: None }
    }

    /// `written`, or the time-out if it waits for too long.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let timeout = self.timeout;
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(waits.as_mut().poll(cx));
        Limit::AnswerTimeout.bit();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CutWhenUnread<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CutWhenUnread<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(60 * 60);

    #[tokio::test]
    async fn a_write_that_waits_too_long_fails_and_one_that_waits_less_does_not() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut near = CutWhenUnread::new(near, LONG);
        let reader = tokio::spawn(async move {
            let mut four = [0; 4];
            for _ in 0..3 {
                tokio::time::sleep(SHORT).await;
                far.read_exact(&mut four).await.unwrap();
            }
            far
        });
        near.write_all(&[1; 16]).await.unwrap();
        let _reads_no_more = reader.await.unwrap();
        near.timeout = SHORT;
        let stuck = near.write_all(&[1]).await.unwrap_err();
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_nobody_takes_is_dropped_and_what_is_taken_in_time_is_not() {
        let source = Arc::new(());
        let unread = Unread::new(Arc::clone(&source), LONG);
        for _ in 0..5 {
            tokio::time::sleep(SHORT).await;
            let taken = unread.take().expect("it was taken in time");
            unread.put_back(taken);
        }
        drop(unread);
        let unread = Unread::new(Arc::clone(&source), SHORT);
        let taken = unread.take();
        // However long the work on it takes: the client has asked.
        tokio::time::sleep(SHORT * 10).await;
        assert_eq!(Arc::strong_count(&source), 2);
        unread.put_back(taken.expect("nobody gives up what is being worked on"));
        while Arc::strong_count(&source) > 1 {
            tokio::time::sleep(SHORT).await;
        }
        assert_eq!(unread.take(), None);
    }
}
