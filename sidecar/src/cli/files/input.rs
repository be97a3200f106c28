//! Reads an input in constant memory, and makes it the body of a request.
//!
//! Depends on [`super::plan::Source`] and [`crate::cli::client`]. Reads happen on a thread of their own, so that a
//! slow input never keeps an answer or a signal waiting. Every buffer is wiped. Invariant: an input that changed
//! its length while it was read is an error (`a_file_that_grows_or_shrinks_is_an_error`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use zeroize::Zeroizing;

use super::plan::Source;
use super::progress::Progress;
use crate::cli::client::{RequestBody, whole};

/// Read ahead before anything is sent: whatever ends within it is sent whole, with its length. One byte more
/// than suite 0x01 takes (FORMAT.md).
const HEAD_BYTES: usize = (64 << 10) + 1;
/// Bytes of one read after that.
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks that may wait to be sent.
const CHUNKS_WAITING_MAX: usize = 4;
/// How long the reader may take to end once the sidecar has seen the end of its input.
const READER_END_MAX: Duration = Duration::from_secs(5);
/// What text form begins with (FORMAT.md).
const TEXT_PREFIX: &[u8] = b"kp1.";

/// What a result takes over from a file that it replaces or was made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    /// Permission bits.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
}

/// An opened input, of which the beginning has been read.
pub(super) struct Input {
    head: Zeroizing<Vec<u8>>,
    /// What comes after the head; `None` if the head is everything.
    rest: Option<Box<dyn Read + Send>>,
    /// Bytes of all of it, where they are known.
    pub(super) length: Option<u64>,
    /// Of the file, if it is one.
    pub(super) attributes: Option<Attributes>,
}

impl Input {
    /// Opens `source` and reads its head.
    pub(super) async fn open(source: &Source) -> anyhow::Result<Self> {
        let source = source.clone();
        spawn_blocking(move || Self::open_blocking(&source)).await?.context("cannot read it")
    }

    fn open_blocking(source: &Source) -> io::Result<Self> {
        let (mut reader, length, attributes): (Box<dyn Read + Send>, _, _) = match source {
            Source::Stdin => (Box::new(io::stdin()), None, None),
            Source::Named(path) => with_attributes(File::open(path)?, false)?,
            Source::Found(path) => {
                // Since the folder was walked, somebody may have put a link or a pipe there.
                let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
                let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
                with_attributes(file, true)?
            }
        };
        let head = read_chunk(&mut reader, HEAD_BYTES)?;
        if head.len() < HEAD_BYTES {
            let length = Some(head.len() as u64);
            return Ok(Self { head, rest: None, length, attributes });
        }
        Ok(Self { head, rest: Some(reader), length, attributes })
    }

    /// Whether it is a ciphertext in text form.
    pub(super) fn is_text(&self) -> bool {
        self.head.starts_with(TEXT_PREFIX)
    }

    /// All of it, if that is at most `bytes_max`.
    pub(super) async fn read_whole(self, bytes_max: usize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let read = move || -> io::Result<Option<Zeroizing<Vec<u8>>>> {
            let mut all = Zeroizing::new(Vec::with_capacity(bytes_max.saturating_add(1)));
            all.extend_from_slice(
                self.head.get(..bytes_max.min(self.head.len())).unwrap_or_default(),
            );
            if let Some(rest) = self.rest {
                let room = bytes_max.saturating_add(1).saturating_sub(all.len());
                rest.take(room as u64).read_to_end(&mut all)?;
            }
            Ok((self.head.len().max(all.len()) <= bytes_max).then_some(all))
        };
        let all = spawn_blocking(read).await?.context("cannot read it")?;
        all.with_context(|| format!("too long for text form, which takes {bytes_max} bytes"))
    }

    /// Makes it a request's body. What was read counts as progress.
    pub(super) fn into_body(self, progress: &Progress) -> (RequestBody, Reading) {
        let Some(rest) = self.rest else {
            progress.advance(self.head.len());
            return (whole(self.head), Reading::default());
        };
        let (chunks, received) = mpsc::channel(CHUNKS_WAITING_MAX);
        let failure = Arc::new(OnceLock::new());
        let mut reader = Reader { rest, head: Some(self.head), left: self.length };
        let (noted, progress) = (Arc::clone(&failure), progress.clone());
        let ended = spawn_blocking(move || {
            loop {
                let chunk = match reader.next_chunk() {
                    Ok(Some(chunk)) => Ok(chunk),
                    Ok(None) => return,
                    Err(error) => {
                        let _ = noted.set(error.to_string());
                        Err(error)
                    }
                };
                let failed = chunk.is_err();
                progress.advance(chunk.as_ref().map_or(0, |chunk| chunk.len()));
                let gone = chunks.blocking_send(chunk.map(Bytes::from_owner)).is_err();
                if failed || (gone && reader.left != Some(0)) {
                    return;
                }
            }
        });
        let body = ChannelBody { chunks: received, left: self.length };
        (body.boxed(), Reading { ended: Some(ended), failure })
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Input({} bytes read ahead)", self.head.len())
    }
}

type Opened = (Box<dyn Read + Send>, Option<u64>, Option<Attributes>);

fn with_attributes(file: File, only_regular: bool) -> io::Result<Opened> {
    let metadata = file.metadata()?;
    if only_regular && !metadata.is_file() {
        return Err(io::Error::other("not a regular file any more"));
    }
    let mode = metadata.mode() & 0o777;
    let attributes = Attributes { mode, uid: metadata.uid(), gid: metadata.gid() };
    let is_file = metadata.is_file();
    let length = is_file.then_some(metadata.len());
    Ok((Box::new(file), length, is_file.then_some(attributes)))
}

/// Up to `bytes` of `reader`: fewer only at its end.
fn read_chunk(reader: &mut impl Read, bytes: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut chunk = Zeroizing::new(vec![0; bytes]);
    let mut filled = 0;
    while let Some(room) = chunk.get_mut(filled..).filter(|room| !room.is_empty()) {
        match reader.read(room) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(chunk)
}

struct Reader {
    rest: Box<dyn Read + Send>,
    head: Option<Zeroizing<Vec<u8>>>,
    /// Bytes that are still to come, where the length is known.
    left: Option<u64>,
}

impl Reader {
    /// The next chunk, or `None` at the end.
    fn next_chunk(&mut self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let chunk = match self.head.take() {
            Some(head) => head,
            None => read_chunk(&mut self.rest, CHUNK_BYTES)?,
        };
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(chunk.len() as u64)
                .ok_or_else(|| io::Error::other("the file grew while it was read"))?;
        }
        match (chunk.is_empty(), self.left) {
            (true, Some(1..)) => Err(io::Error::other("the file shrank while it was read")),
            (true, _) => Ok(None),
            (false, _) => Ok(Some(chunk)),
        }
    }
}

/// The reading of an input whose body has been handed to a request.
#[derive(Debug, Default)]
pub(super) struct Reading {
    ended: Option<JoinHandle<()>>,
    failure: Arc<OnceLock<String>>,
}

impl Reading {
    /// Why the reading failed, if it has.
    pub(super) fn failure(&self) -> Option<anyhow::Error> {
        self.failure.get().map(|text| anyhow::anyhow!("cannot read it: {text}"))
    }

    /// Succeeds if the input was read to its end. To be asked once the whole answer is there.
    pub(super) async fn ended(self) -> anyhow::Result<()> {
        if let Some(ended) = self.ended {
            let ended = tokio::time::timeout(READER_END_MAX, ended).await;
            ended.context("the sidecar's answer ended before the input did")??;
        }
        match self.failure.get() {
            Some(text) => Err(anyhow::anyhow!("cannot read it: {text}")),
            None => Ok(()),
        }
    }
}

/// Chunks from the reader, as a body.
struct ChannelBody {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    left: Option<u64>,
}

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.chunks.poll_recv(context).map(|chunk| {
            let chunk = chunk?;
            if let (Ok(bytes), Some(left)) = (&chunk, &mut self.left) {
                *left = left.saturating_sub(bytes.len() as u64);
            }
            Some(chunk.map(Frame::data))
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(length: u64, content: &'static [u8]) -> io::Result<usize> {
        let mut reader = Reader { rest: Box::new(content), head: None, left: Some(length) };
        let mut total = 0;
        while let Some(chunk) = reader.next_chunk()? {
            total += chunk.len();
        }
        Ok(total)
    }

    #[test]
    fn a_file_that_grows_or_shrinks_is_an_error() {
        assert_eq!(read_all(3, b"abc").unwrap(), 3);
        assert!(read_all(2, b"abc").unwrap_err().to_string().contains("grew"));
        assert!(read_all(4, b"abc").unwrap_err().to_string().contains("shrank"));
    }

    #[tokio::test]
    async fn an_input_that_ends_within_its_head_has_a_length() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = Source::Named(file.path().to_owned());
        for (bytes, known_whole) in [(0, true), (HEAD_BYTES - 1, true), (HEAD_BYTES, false)] {
            std::fs::write(file.path(), vec![7; bytes]).unwrap();
            let input = Input::open(&source).await.unwrap();
            assert_eq!(input.rest.is_none(), known_whole, "{bytes}");
            assert_eq!(input.length, Some(bytes as u64));
        }
    }

    #[tokio::test]
    async fn text_form_has_a_longest_input() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = Source::Named(file.path().to_owned());
        let read = async |bytes: usize, bytes_max: usize| {
            std::fs::write(file.path(), vec![7; bytes]).unwrap();
            Input::open(&source).await.unwrap().read_whole(bytes_max).await.map(|all| all.len())
        };
        for (bytes, bytes_max) in [(0, 10), (10, 10), (200_000, 200_000)] {
            assert_eq!(read(bytes, bytes_max).await.unwrap(), bytes);
        }
        for (bytes, bytes_max) in [(11, 10), (200_000, 10), (200_001, 200_000)] {
            assert!(read(bytes, bytes_max).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_link_in_a_folder_is_not_followed_even_if_it_came_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("late");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(Input::open(&Source::Found(path.clone())).await.is_err());
        assert!(Input::open(&Source::Named(path)).await.is_ok());
    }
}
