//! Requests that are sent piece by piece, when the test says so.

use bytes::Bytes;
use futures_util::stream;
use keypod_tests::Client;
use tokio::sync::mpsc;

/// What the pieces of a body go into; dropped, the body ends.
pub(crate) type Pieces = mpsc::Sender<Vec<u8>>;

/// A body of unknown length, and what its pieces go into.
pub(crate) fn pieces() -> (Pieces, reqwest::Body) {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(1);
    let frames = stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(Bytes::from(piece)), receiver))
    });
    (sender, reqwest::Body::wrap_stream(frames))
}

/// A stream that is being encrypted under `demo`: its answer has begun, its body goes on.
pub(crate) async fn begin_stream(client: &Client, first: Vec<u8>) -> (Pieces, reqwest::Response) {
    let (pieces, body) = pieces();
    let request = client.request("POST", "/v1/encrypt?key=demo");
    let request = request.header("content-type", "application/octet-stream").body(body);
    pieces.send(first).await.unwrap();
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    (pieces, answer)
}

/// What is left of an answer, if it comes to its end.
pub(crate) async fn rest_of(mut answer: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut rest = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        rest.extend_from_slice(&chunk);
    }
    Ok(rest)
}
