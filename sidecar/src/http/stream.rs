//! Encrypt, decrypt and rewrap binary bodies of any length, with back-pressure and in constant memory.
//!
//! The answer's body is pulled: a segment is read, worked on and sent only when the client has taken the one
//! before. All that can be refused is refused before the answer begins, the first segment's authenticity
//! included; a failure after that breaks the answer off and never ends it cleanly (test
//! `a_failure_in_the_middle_breaks_the_answer_off`). The last bytes leave when the audit log has how it ended. Context
//! comes in `Keypod-Context`.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use super::answer::Answer;
use super::body::BodyReader;
use super::error::Failure;
use super::unread::Unread;
use super::{Api, Call, json};
use crate::audit::{Attempt, Receipt};
use crate::envelope::{
    Context, FORMAT_OVERHEAD_BYTES, HEADER_BYTES, Header, LastSegment, SEGMENT_BYTES, SealSegment,
    Suite, TAG_BYTES,
};
use crate::limits::{BodyMemory, InFlight, STREAM_MEMORY_BYTES};
use crate::names::{KeyName, KeyVersion};
use crate::secret::{OpenBuffer, Plaintext};
use crate::service::{Code, Error, OpeningStream, RewrappingStream, SealingStream};

pub(super) static CONTEXT: HeaderName = HeaderName::from_static("keypod-context");
pub(super) static NEW_CONTEXT: HeaderName = HeaderName::from_static("keypod-new-context");
static KEY: HeaderName = HeaderName::from_static("keypod-key");
static KEY_VERSION: HeaderName = HeaderName::from_static("keypod-key-version");

const _: () = assert!(STREAM_MEMORY_BYTES == 4 * SEALED_SEGMENT_BYTES, "four segments");
/// A sealed segment that is not the last.
const SEALED_SEGMENT_BYTES: usize = SEGMENT_BYTES + TAG_BYTES;

/// What a stream holds until it ends.
struct Held {
    body: BodyReader,
    /// Bytes of the message that have come in.
    taken: usize,
    answer_timeout: Duration,
    _in_flight: InFlight,
    _memory: BodyMemory,
}

impl Held {
    fn new(api: &Api, call: Call) -> Result<Self, Failure> {
        let memory = call.in_flight.memory().take(STREAM_MEMORY_BYTES)?;
        let answer_timeout = api.settings.answer_timeout;
        let (body, in_flight) = (call.body, call.in_flight);
        Ok(Self { body, taken: 0, answer_timeout, _in_flight: in_flight, _memory: memory })
    }

    /// The next segment of a plaintext, and whether it is the last.
    async fn plain_segment(&mut self) -> Result<(SealSegment, LastSegment), Failure> {
        let mut segment = SealSegment::new();
        let last = last(self.body.fill_segment(&mut segment).await?);
        self.taken += segment.len();
        Ok((segment, last))
    }

    /// The next sealed segment, which begins with `start`, and whether it is the last.
    async fn sealed_segment(
        &mut self,
        start: Option<&[u8]>,
    ) -> Result<(OpenBuffer, LastSegment), Failure> {
        let mut segment = Vec::with_capacity(SEALED_SEGMENT_BYTES);
        segment.extend_from_slice(start.unwrap_or_default());
        let ended = self.body.fill(&mut segment, SEALED_SEGMENT_BYTES).await?;
        self.taken += segment.len();
        Ok((OpenBuffer::from_received(segment), last(ended)))
    }
}

pub(super) async fn encrypt(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let key = key_of_query(call.query())?;
    call.refuse_header(&NEW_CONTEXT)?;
    let context = context_of(call.headers(), &CONTEXT)?.unwrap_or_default();
    let known_len = call.body.exact_len().and_then(|len| usize::try_from(len).ok());
    if let Some(len) = known_len.filter(|len| *len <= SEGMENT_BYTES) {
        let _memory = call.in_flight.memory().take(len)?;
        let buffer = call.body.plaintext(len).await?;
        let sealed = api.service.encrypt(attempt, &key, &context, buffer).await?;
        let (sealed, receipt) = sealed.into_parts();
        let body = Body::from(sealed.ciphertext.into_bytes());
        return Ok(octets(&receipt, body, &sealed.key, sealed.version));
    }
    let (stream, begun) = api.service.begin_encrypt(attempt, &key, &context).await?.into_parts();
    let (name, version) = (stream.key().name().clone(), stream.key().version());
    let start = Bytes::copy_from_slice(stream.header());
    let sealing = Sealing { stream, held: Held::new(api, call)? };
    let body = body_of(start, LastSegment::No, sealing, attempt).await?;
    Ok(octets(&begun, body, &name, version))
}

struct Sealing {
    stream: SealingStream,
    held: Held,
}

impl Segments for Sealing {
    async fn next(&mut self) -> Result<(Bytes, LastSegment), Failure> {
        let (segment, last) = self.held.plain_segment().await?;
        Ok((self.stream.seal(segment, last).await?.into(), last))
    }

    fn held(&self) -> &Held {
        &self.held
    }
}

pub(super) async fn decrypt(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    call.refuse_header(&NEW_CONTEXT)?;
    let context = context_of(call.headers(), &CONTEXT)?.unwrap_or_default();
    let (start, header) = read_header(&mut call.body).await?;
    if header.suite() == Suite::Whole {
        let (buffer, _memory) = rest_of_whole(api, &mut call, start).await?;
        let opened = api.service.decrypt(attempt, &context, buffer).await?;
        let (opened, receipt) = opened.into_parts();
        let body = Body::from(Bytes::from_owner(PlaintextBytes(opened.plaintext)));
        return Ok(octets(&receipt, body, &opened.key, opened.version));
    }
    let begun = api.service.begin_decrypt(attempt, &context, &header).await?;
    let (mut stream, begun) = begun.into_parts();
    let (name, version) = (stream.key().name().clone(), stream.key().version());
    let mut held = Held::new(api, call)?;
    let (segment, last) = held.sealed_segment(start.get(HEADER_BYTES..)).await?;
    let first = Bytes::from_owner(PlaintextBytes(stream.open(segment, last).await?));
    let body = body_of(first, last, Opening { stream, held }, attempt).await?;
    Ok(octets(&begun, body, &name, version))
}

struct Opening {
    stream: OpeningStream,
    held: Held,
}

impl Segments for Opening {
    async fn next(&mut self) -> Result<(Bytes, LastSegment), Failure> {
        let (segment, last) = self.held.sealed_segment(None).await?;
        Ok((Bytes::from_owner(PlaintextBytes(self.stream.open(segment, last).await?)), last))
    }

    fn held(&self) -> &Held {
        &self.held
    }
}

/// Beyond API.md: a ciphertext of any length moves to the newest version, its plaintext seen by nobody.
pub(super) async fn rewrap(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let context = context_of(call.headers(), &CONTEXT)?.unwrap_or_default();
    let new_context = context_of(call.headers(), &NEW_CONTEXT)?;
    let (start, header) = read_header(&mut call.body).await?;
    if header.suite() == Suite::Whole {
        let (buffer, _memory) = rest_of_whole(api, &mut call, start).await?;
        let sealed = api.service.rewrap(attempt, &context, new_context.as_ref(), buffer).await?;
        let (sealed, receipt) = sealed.into_parts();
        let body = Body::from(sealed.ciphertext.into_bytes());
        return Ok(octets(&receipt, body, &sealed.key, sealed.version));
    }
    let begun = api.service.begin_rewrap(attempt, &context, new_context.as_ref(), &header);
    let (mut stream, begun) = begun.await?.into_parts();
    let (name, version) = {
        let key = stream.sealing().key();
        (key.name().clone(), key.version())
    };
    let mut held = Held::new(api, call)?;
    let mut first = stream.sealing().header().to_vec();
    let (segment, last) = held.sealed_segment(start.get(HEADER_BYTES..)).await?;
    first.extend_from_slice(&stream.rewrap(segment, last).await?);
    let body = body_of(first.into(), last, Rewrapping { stream, held }, attempt).await?;
    Ok(octets(&begun, body, &name, version))
}

struct Rewrapping {
    stream: RewrappingStream,
    held: Held,
}

impl Segments for Rewrapping {
    async fn next(&mut self) -> Result<(Bytes, LastSegment), Failure> {
        let (segment, last) = self.held.sealed_segment(None).await?;
        Ok((self.stream.rewrap(segment, last).await?.into(), last))
    }

    fn held(&self) -> &Held {
        &self.held
    }
}

/// Reads as much as a header needs, and parses it.
async fn read_header(body: &mut BodyReader) -> Result<(Vec<u8>, Header), Failure> {
    let mut start = Vec::with_capacity(FORMAT_OVERHEAD_BYTES);
    body.fill(&mut start, FORMAT_OVERHEAD_BYTES).await?;
    let header = Header::parse(&start).map_err(Error::from)?;
    Ok((start, header))
}

/// The whole message that begins with `start`: its length has the limit of a JSON body.
async fn rest_of_whole(
    api: &Api,
    call: &mut Call,
    start: Vec<u8>,
) -> Result<(OpenBuffer, BodyMemory), Failure> {
    let bytes_max = api.settings.json_body_bytes_max.saturating_sub(start.len());
    let rest = call.body.whole(bytes_max, call.in_flight.memory()).await?;
    let mut whole = start;
    whole.reserve_exact(rest.len());
    whole.extend_from_slice(&rest);
    Ok((OpenBuffer::from_received(whole), rest.into_memory()))
}

fn last(ended: bool) -> LastSegment {
    if ended { LastSegment::Yes } else { LastSegment::No }
}

/// An answer that is made segment by segment.
trait Segments: Send + 'static {
    /// The next segment of the answer, and whether it is the last.
    fn next(&mut self) -> impl Future<Output = Result<(Bytes, LastSegment), Failure>> + Send;

    /// What it holds until it ends.
    fn held(&self) -> &Held;
}

/// `first`, and then what `segments` gives until the last one. A failure is an error of the body, which the
/// HTTP library turns into a broken connection, and not its end. What has begun to be answered takes the attempt along:
/// one that its client gives up is recorded as that.
async fn body_of(
    first: Bytes,
    last: LastSegment,
    segments: impl Segments,
    attempt: &mut Attempt,
) -> Result<Body, Failure> {
    if last == LastSegment::Yes {
        attempt.about_bytes(segments.held().taken);
        attempt.succeed().await.map_err(Error::from)?;
        return Ok(Body::from(first));
    }
    attempt.about_bytes(segments.held().taken);
    let timeout = segments.held().answer_timeout;
    let more = Some(Unread::new(Answering { segments, attempt: attempt.hand_over() }, timeout));
    let rest = stream::try_unfold(more, |unread| async move {
        let Some(unread) = unread else { return Ok(None) };
        let Some(mut answering) = unread.take() else {
            return Err(BrokenOff { code: "unread" });
        };
        match answering.next().await {
            Ok((bytes, LastSegment::Yes)) => Ok(Some((bytes, None))),
            Ok((bytes, LastSegment::No)) => {
                unread.put_back(answering);
                Ok(Some((bytes, Some(unread))))
            }
            Err(failure) => {
                let code = failure.code().as_str();
                // Nobody waits: the client has the break in any case.
                drop(answering.attempt.fail(code));
                tracing::warn!(code, "a stream was broken off");
                metrics::counter!("keypod_streams_broken_off_total", "code" => code).increment(1);
                Err(BrokenOff { code })
            }
        }
    });
    Ok(Body::from_stream(stream::iter([Ok(first)]).chain(rest)))
}

/// An answer under way.
struct Answering<S> {
    segments: S,
    attempt: Attempt,
}

impl<S: Segments> Answering<S> {
    /// The next segment. The last one is given when the audit log has it.
    async fn next(&mut self) -> Result<(Bytes, LastSegment), Failure> {
        let next = self.segments.next().await;
        self.attempt.about_bytes(self.segments.held().taken);
        let (bytes, last) = next?;
        if last == LastSegment::Yes {
            self.attempt.succeed().await.map_err(Error::from)?;
        }
        Ok((bytes, last))
    }
}

/// A plaintext as the bytes of an answer: wiped once they are sent.
struct PlaintextBytes(Plaintext);

impl AsRef<[u8]> for PlaintextBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_bytes()
    }
}

/// What ends an answer in the middle; the client sees a broken connection.
#[derive(Debug, thiserror::Error)]
#[error("the stream was broken off: {code}")]
struct BrokenOff {
    code: &'static str,
}

fn octets(receipt: &Receipt, body: Body, key: &KeyName, version: KeyVersion) -> Answer {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(name) = HeaderValue::from_str(key.as_str()) {
        headers.insert(&KEY, name);
    }
    headers.insert(&KEY_VERSION, HeaderValue::from(version.number()));
    Answer::new(receipt, response)
}

/// The one parameter that the query has: `key`.
fn key_of_query(query: Option<&str>) -> Result<KeyName, Failure> {
    let wanted = || {
        Failure::new(Code::InvalidRequest, "give the key in the query: ?key=NAME, and nothing else")
    };
    // A key name has no character that would be percent-encoded.
    let name = query.and_then(|query| query.strip_prefix("key=")).ok_or_else(wanted)?;
    name.parse().map_err(|_| wanted())
}

/// The context in the header `name`: base64url, without padding, of a JSON object.
fn context_of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Context>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wanted = || {
        let detail =
            format!("{name} must be one base64url, without padding, of a JSON object of strings");
        Failure::new(Code::InvalidRequest, detail)
    };
    if values.next().is_some() {
        return Err(wanted());
    }
    let text = Zeroizing::new(URL_SAFE_NO_PAD.decode(value.as_bytes()).map_err(|_| wanted())?);
    json::parse(&text).map(Some)
}
