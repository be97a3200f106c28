//! SIGTERM and SIGINT: what is in flight ends within its bound, everything else is turned away.

use keypod_tests::{Sidecar, SidecarBuilder, until};
use rustix::process::Signal;
use serde_json::json;
use tokio::net::{TcpStream, UnixStream};

use crate::pieces::{begin_stream, rest_of};

#[tokio::test]
async fn a_stream_in_flight_ends_whole_after_sigterm_and_everything_else_is_turned_away() {
    let mut sidecar = Sidecar::start().await;
    assert_eq!(sidecar.observe("/readyz").await.status, 200);
    let (pieces, answer) = begin_stream(&sidecar.client(), vec![1; 200_000]).await;
    sidecar.signal(Signal::TERM);
    until("it drains", async || sidecar.log().contains("\"draining\"")).await;
    assert_eq!(sidecar.observe("/readyz").await.status, 503);
    assert_eq!(sidecar.observe("/livez").await.status, 200);
    until("TCP refuses", async || TcpStream::connect(sidecar.tcp()).await.is_err()).await;
    until("the socket is gone", async || !sidecar.socket().exists()).await;

    pieces.send(vec![2; 200_000]).await.unwrap();
    drop(pieces);
    let sealed = rest_of(answer).await.unwrap();
    assert!(sidecar.wait().await.success(), "{}", sidecar.log());
    sidecar.restart().await;
    let opened = sidecar.client().post_octets("/v1/decrypt", &json!({}), sealed).await;
    assert_eq!(opened.body, [vec![1; 200_000], vec![2; 200_000]].concat());
}

#[tokio::test]
async fn a_stream_that_stalls_is_cut_at_the_bound_and_the_exit_code_says_so() {
    let builder = SidecarBuilder::new().key("demo");
    let mut sidecar = builder.config("[limits]\ndrain_timeout = \"300ms\"").start().await;
    let (pieces, answer) = begin_stream(&sidecar.client(), vec![1; 200_000]).await;
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait().await.code(), Some(1), "{}", sidecar.log());
    assert!(sidecar.log().contains("limits.drain_timeout"), "{}", sidecar.log());
    assert!(sidecar.log().contains("\"closed\""), "the store is closed all the same");
    assert!(rest_of(answer).await.is_err(), "an answer that was cut does not end cleanly");
    drop(pieces);
    sidecar.restart().await;
    let context = json!({ "a": "b" });
    let ciphertext = sidecar.client().encrypt("demo", b"after", &context).await;
    assert_eq!(sidecar.client().decrypt(&ciphertext, &context).await, b"after");
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_hold_it_up() {
    // A bound far beyond what any test waits: only an orderly end can come in time.
    let config = "[limits]\ndrain_timeout = \"1h\"\nheader_timeout = \"1h\"";
    let mut sidecar = SidecarBuilder::new().key("demo").config(config).start().await;
    let client = sidecar.client();
    client.encrypt("demo", b"a connection that is kept alive", &json!({})).await;
    let silent = TcpStream::connect(sidecar.tcp()).await.unwrap();
    let mut half = TcpStream::connect(sidecar.tcp()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, b"POST /v1/encrypt HTT").await.unwrap();
    let unix = UnixStream::connect(sidecar.socket()).await.unwrap();
    sidecar.until_idle().await;
    assert!(sidecar.stop().await.success(), "{}", sidecar.log());
    drop((silent, half, unix, client));
}

#[tokio::test]
async fn sigint_ends_it_in_order_too() {
    let mut sidecar = Sidecar::start().await;
    sidecar.signal(Signal::INT);
    assert!(sidecar.wait().await.success());
    assert!(sidecar.log().contains("\"closed\"") && !sidecar.socket().exists());
}
