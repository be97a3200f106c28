//! A connection that sends bytes as they are given: for requests that no decent client would send.

use std::net::SocketAddr;
use std::path::Path;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream};

use crate::{Answer, WAIT_MAX};

trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Duplex for T {}

/// One HTTP/1.1 connection.
#[allow(missing_debug_implementations, reason = "a socket says nothing")]
pub struct Raw {
    reader: ReadHalf<Box<dyn Duplex>>,
    writer: Option<WriteHalf<Box<dyn Duplex>>>,
    received: Vec<u8>,
}

impl Raw {
    /// Over TCP.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn tcp(address: SocketAddr) -> Self {
        Self::over(Box::new(TcpStream::connect(address).await.expect("a connection")))
    }

    /// Over a Unix socket.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn unix(path: &Path) -> Self {
        Self::over(Box::new(UnixStream::connect(path).await.expect("a connection")))
    }

    fn over(stream: Box<dyn Duplex>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader, writer: Some(writer), received: Vec::new() }
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// If the other side does not take them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let writer = self.writer.as_mut().expect("nobody else sends");
        writer.write_all(bytes.as_ref()).await.expect("the bytes are taken");
    }

    /// Sends these bytes again and again, beside whatever else happens, until the other side takes no more.
    ///
    /// # Panics
    /// If it sends like that already.
    pub fn send_without_end(&mut self, bytes: Vec<u8>) {
        let mut writer = self.writer.take().expect("nobody else sends");
        tokio::spawn(async move { while writer.write_all(&bytes).await.is_ok() {} });
    }

    /// Reads one answer, and whether it is whole: its length or its last chunk came.
    ///
    /// # Panics
    /// If there is no answer, or it does not come in time.
    pub async fn answer(&mut self) -> (Answer, bool) {
        let answer = tokio::time::timeout(WAIT_MAX, self.read_answer()).await;
        answer.expect("an answer comes in time").expect("an answer")
    }

    /// The head of a chunked answer is read over; the first `len` bytes of its body, whether or not it goes on.
    ///
    /// # Panics
    /// If they do not come in time.
    pub async fn received_of_body(&mut self, len: usize) -> Vec<u8> {
        let head = tokio::time::timeout(WAIT_MAX, self.until(b"\r\n\r\n")).await;
        let head = head.expect("a head comes in time").expect("a head comes");
        let head = String::from_utf8_lossy(&head);
        assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
        self.received_of_chunks(len).await
    }

    /// Whole chunks, until there are `len` bytes, of an answer that has begun.
    ///
    /// # Panics
    /// If they do not come in time.
    pub async fn received_of_chunks(&mut self, len: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < len {
            let chunk = tokio::time::timeout(WAIT_MAX, self.chunk(&mut body)).await;
            assert!(chunk.expect("a chunk comes in time").is_some(), "it ends early");
        }
        body
    }

    /// Whether the other side closes the connection without another byte.
    ///
    /// # Panics
    /// If it does neither in time.
    pub async fn is_closed(&mut self) -> bool {
        let more = tokio::time::timeout(WAIT_MAX, self.more());
        !more.await.expect("it closes in time") && self.received.is_empty()
    }

    async fn more(&mut self) -> bool {
        let mut bytes = vec![0; 16 << 10];
        match self.reader.read(&mut bytes).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.received.extend_from_slice(bytes.get(..read).unwrap_or_default());
                true
            }
        }
    }

    /// The bytes up to and without `end`.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.received.windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                let bytes = self.received.drain(..at).collect();
                self.received.drain(..end.len());
                return Some(bytes);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.received.len() < len {
            if !self.more().await {
                return None;
            }
        }
        Some(self.received.drain(..len).collect())
    }

    async fn read_answer(&mut self) -> Option<(Answer, bool)> {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await?).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?);
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").parse().ok();
        let whole = match length {
            Some(length) => match self.exactly(length).await {
                Some(body) => {
                    answer.body = body;
                    true
                }
                None => false,
            },
            None => self.chunks(&mut answer.body).await.is_some(),
        };
        Some((answer, whole))
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        while self.chunk(body).await? > 0 {}
        Some(())
    }

    async fn chunk(&mut self, body: &mut Vec<u8>) -> Option<usize> {
        let size = String::from_utf8(self.until(b"\r\n").await?).ok()?;
        let size = usize::from_str_radix(&size, 16).ok()?;
        body.extend(self.exactly(size).await?);
        self.exactly(2).await?;
        Some(size)
    }
}
