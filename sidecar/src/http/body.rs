//! Where plaintext enters: the bytes of a request's body. Where they are copied, it is into memory that wipes itself.
//!
//! Every read has a limit and a time-out: a body that makes no progress ends with 408, one past its limit with
//! 413 before it is read. What cannot be wiped is what the HTTP library reads into (ARCHITECTURE.md).

use std::ops::Deref;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use futures_util::FutureExt as _;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::error::Failure;
use crate::envelope::SealSegment;
use crate::limits::{BodyMemory, Limit, Memory};
use crate::secret::{SealBuffer, WipedBytes};
use crate::service::Code;

/// A refused body is read on, up to this length and time, so that its sender sees the answer.
const DRAINED_BYTES_MAX: usize = 16 << 20;
const DRAINED_TIME_MAX: Duration = Duration::from_secs(5);
/// The room that a body gets at first; it doubles as the body grows.
const FIRST_ROOM: usize = 4096;

/// A request's body while it is read.
#[derive(Debug)]
pub(super) struct BodyReader {
    body: Body,
    pending: Bytes,
    ended: bool,
    timeout: Duration,
}

/// A whole body in memory.
pub(super) struct WholeBody {
    bytes: Received,
    memory: BodyMemory,
}

enum Received {
    /// In one piece, where the HTTP library has read it to: a copy that wipes itself would be one more.
    AsItCame(Bytes),
    /// In several, put together in memory that wipes itself.
    Gathered(WipedBytes),
}

impl WholeBody {
    /// Lets the bytes go and keeps their memory counted, for a copy of them.
    pub(super) fn into_memory(self) -> BodyMemory {
        self.memory
    }
}

impl Deref for WholeBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Received::AsItCame(bytes) => bytes,
            Received::Gathered(bytes) => bytes,
        }
    }
}

impl BodyReader {
    pub(super) fn new(body: Body, timeout: Duration) -> Self {
        Self { body, pending: Bytes::new(), ended: false, timeout }
    }

    /// The length, if the request says it.
    pub(super) fn exact_len(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// All of the body, if it has at most `bytes_max` bytes and is there within the time-out. Memory is counted
    /// as the bytes come: a client that only says that it will send much takes nothing from the others.
    pub(super) async fn whole(
        &mut self,
        bytes_max: usize,
        memory: &Memory,
    ) -> Result<WholeBody, Failure> {
        self.refuse_too_large(bytes_max)?;
        within(self.timeout, self.collect(bytes_max, memory)).await?
    }

    async fn collect(&mut self, bytes_max: usize, share: &Memory) -> Result<WholeBody, Failure> {
        let mut memory = share.take(0)?;
        let mut bytes = WipedBytes::default();
        let expected = self.exact_len().and_then(|len| usize::try_from(len).ok());
        while let Some(frame) = self.next().await? {
            let needed = bytes.len() + frame.len();
            if needed > bytes_max {
                return Err(too_large(bytes_max));
            }
            if bytes.is_empty() && self.body.is_end_stream() {
                share.grow(&mut memory, needed)?;
                return Ok(WholeBody { bytes: Received::AsItCame(frame), memory });
            }
            if needed > bytes.capacity() {
                let room = needed.next_power_of_two().max(FIRST_ROOM);
                let room = expected.map_or(room, |expected| room.min(expected.max(needed)));
                share.grow(&mut memory, room)?;
                make_room(&mut bytes, room);
            }
            bytes.extend_from_slice(&frame);
        }
        Ok(WholeBody { bytes: Received::Gathered(bytes), memory })
    }

    /// All of a body of known length, as a plaintext to seal, if it is there within the time-out.
    pub(super) async fn plaintext(&mut self, len: usize) -> Result<SealBuffer, Failure> {
        within(self.timeout, self.collect_plaintext(len)).await?
    }

    async fn collect_plaintext(&mut self, len: usize) -> Result<SealBuffer, Failure> {
        let mut buffer = SealBuffer::with_len(len);
        let mut room = buffer.expose_plaintext_mut();
        while let Some(frame) = self.next().await? {
            let Some((now, later)) = std::mem::take(&mut room).split_at_mut_checked(frame.len())
            else {
                return Err(broken_off());
            };
            now.copy_from_slice(&frame);
            room = later;
        }
        if room.is_empty() { Ok(buffer) } else { Err(broken_off()) }
    }

    /// Fills `segment`, and says whether the body has ended after it.
    pub(super) async fn fill_segment(
        &mut self,
        segment: &mut SealSegment,
    ) -> Result<bool, Failure> {
        while !segment.is_full() {
            if !self.refill().await? {
                return Ok(true);
            }
            let mut bytes: &[u8] = &self.pending;
            segment.fill_from(&mut bytes);
            let taken = self.pending.len() - bytes.len();
            self.pending.advance(taken);
        }
        Ok(!self.refill().await?)
    }

    /// Appends to `bytes` until it has `len` bytes, and says whether the body has ended after it.
    pub(super) async fn fill(&mut self, bytes: &mut Vec<u8>, len: usize) -> Result<bool, Failure> {
        while bytes.len() < len {
            if !self.refill().await? {
                return Ok(true);
            }
            let taken = self.pending.len().min(len - bytes.len());
            bytes.extend_from_slice(&self.pending.split_to(taken));
        }
        Ok(!self.refill().await?)
    }

    /// Whether there is at least one byte in `pending`, reading on if need be; `false` at the end of the body.
    async fn refill(&mut self) -> Result<bool, Failure> {
        while self.pending.is_empty() {
            match self.next().await? {
                Some(frame) => self.pending = frame,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if !self.pending.is_empty() {
            return Ok(Some(std::mem::take(&mut self.pending)));
        }
        while !self.ended {
            match within(self.timeout, self.body.frame()).await? {
                None => self.ended = true,
                Some(Err(_)) => return Err(broken_off()),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Refuses a body that says of itself that it is too large.
    fn refuse_too_large(&self, bytes_max: usize) -> Result<(), Failure> {
        match self.exact_len() {
            Some(len) if len > bytes_max as u64 => Err(too_large(bytes_max)),
            _ => Ok(()),
        }
    }
}

/// Gives `bytes` room for `room` bytes in a new allocation, so that the old one is wiped: a `Vec` that grows by
/// itself leaves its old bytes behind.
fn make_room(bytes: &mut WipedBytes, room: usize) {
    let mut larger = WipedBytes::with_capacity(room);
    larger.extend_from_slice(bytes);
    *bytes = larger;
}

/// What `work` gives, if it is there within `timeout`. A small body comes with its head: for that no timer is
/// started.
async fn within<T>(timeout: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
    let mut work = pin!(work);
    if let Some(done) = work.as_mut().now_or_never() {
        return Ok(done);
    }
    tokio::time::timeout(timeout, work).await.map_err(|_| too_slow())
}

fn too_slow() -> Failure {
    Limit::BodyTimeout.bit();
    Failure::new(
        Code::RequestTimeout,
        "send the body faster and without pauses, or raise limits.body_timeout",
    )
}

fn too_large(bytes_max: usize) -> Failure {
    Limit::BodyBytes.bit();
    let detail = format!(
        "send at most {bytes_max} bytes; larger messages go as application/octet-stream, of any length"
    );
    Failure::new(Code::PayloadTooLarge, detail)
}

fn broken_off() -> Failure {
    Failure::new(Code::InvalidRequest, "the body ended before its end: send it whole")
}

/// Reads the rest of a body that nobody wants in the background, within bounds: closing a connection with unread
/// bytes in it would take the answer away from the client.
impl Drop for BodyReader {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut body = std::mem::take(&mut self.body);
        runtime.spawn(tokio::time::timeout(DRAINED_TIME_MAX, async move {
            let mut drained = 0;
            while let Some(Ok(frame)) = body.frame().await {
                drained += frame.data_ref().map_or(0, Bytes::len);
                if drained > DRAINED_BYTES_MAX {
                    break;
                }
            }
        }));
    }
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`
    Json,
    /// `application/octet-stream`
    Octets,
}

/// What the headers say that the body is. A coded body is refused: it could grow when it is decoded.
pub(super) fn media(headers: &HeaderMap) -> Option<Media> {
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return None;
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (media, None) = (types.next()?, types.next()) else { return None };
    let media = media.to_str().ok()?;
    let (essence, parameters) = media.split_once(';').unwrap_or((media, ""));
    let (essence, charset) = (essence.trim(), parameters.trim());
    let is_utf_8 = ["", "charset=utf-8", "charset=\"utf-8\""]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known));
    if essence.eq_ignore_ascii_case("application/json") && is_utf_8 {
        Some(Media::Json)
    } else if essence.eq_ignore_ascii_case("application/octet-stream") && charset.is_empty() {
        Some(Media::Octets)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn media_of(content_type: &'static str) -> Option<Media> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        media(&headers)
    }

    #[test]
    fn only_json_in_utf_8_and_plain_octets_are_taken() {
        for json in ["application/json", "Application/JSON", "application/json; charset=UTF-8"] {
            assert_eq!(media_of(json), Some(Media::Json), "{json}");
        }
        assert_eq!(media_of("application/octet-stream"), Some(Media::Octets));
        for other in ["text/plain", "application/json; charset=latin1", "application/jsonx", ""] {
            assert_eq!(media_of(other), None, "{other}");
        }
        assert_eq!(media(&HeaderMap::new()), None);
    }

    #[test]
    fn a_coded_body_is_refused_however_its_coding_is_said() {
        for codings in [&["gzip"][..], &["identity", "gzip"], &["gzip, identity"], &["br"], &[""]] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            for coding in codings {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            assert_eq!(media(&headers), None, "{codings:?}");
        }
    }

    #[test]
    fn a_growing_body_keeps_what_it_has() {
        let mut bytes = WipedBytes::default();
        for round in 0..1000_u32 {
            if bytes.len() + 4 > bytes.capacity() {
                let room = 2 * bytes.capacity() + 4;
                make_room(&mut bytes, room);
            }
            bytes.extend_from_slice(&round.to_be_bytes());
        }
        assert_eq!(bytes.len(), 4000);
        assert!(bytes.starts_with(&[0, 0, 0, 0, 0, 0, 0, 1]));
    }

    #[tokio::test]
    async fn segments_are_filled_across_frames_and_the_end_is_seen() {
        let frames = [vec![1; 40_000], vec![], vec![2; 40_000]];
        let frames = frames.map(|frame| Ok::<_, std::io::Error>(Bytes::from(frame)));
        let body = Body::from_stream(futures_util::stream::iter(frames));
        let mut reader = BodyReader::new(body, Duration::from_secs(5));
        let mut first = SealSegment::new();
        assert!(!reader.fill_segment(&mut first).await.unwrap());
        assert!(first.is_full());
        let mut second = SealSegment::new();
        assert!(reader.fill_segment(&mut second).await.unwrap());
        assert_eq!(second.len(), 80_000 - 65_536);
    }
}
