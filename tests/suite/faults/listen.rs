//! Sockets and ports that are taken, stale, or something else.

use std::os::unix::net::UnixListener;

use keypod_tests::{Client, Sidecar, SidecarBuilder};
use serde_json::json;

use super::assert_says;

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let mut sidecar = Sidecar::start().await;
    sidecar.kill().await;
    assert!(sidecar.socket().exists(), "a killed process leaves its socket behind");
    sidecar.restart().await;
    let client = Client::unix(&sidecar.socket(), Some("admin-token-0123456789abcdefghij"));
    client.encrypt("demo", b"over the new socket", &json!({})).await;
}

#[test]
fn a_socket_that_another_process_serves_is_not_taken() {
    let builder = SidecarBuilder::new();
    let path = builder.folder().join("keypod.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let words = ["keypod.sock", "another process serves", "listen.unix"];
    assert_says(builder.fail_to_start(), Some(1), &words);
    assert!(path.exists());
    // It still reaches who had it: the first in the queue is the sidecar's own look, and then this one.
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.incoming().take_while(Result::is_ok).count(), 2);
}

#[test]
fn a_file_under_the_socket_s_name_is_left_alone() {
    let builder = SidecarBuilder::new();
    let path = builder.folder().join("keypod.sock");
    std::fs::write(&path, "a letter").unwrap();
    let words = ["keypod.sock", "is not a socket", "move it away", "listen.unix"];
    assert_says(builder.fail_to_start(), Some(1), &words);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a letter");
}

#[test]
fn a_socket_in_a_folder_that_is_not_there_says_what_to_make() {
    let builder = SidecarBuilder::new().variable("KEYPOD_LISTEN__UNIX", "/nonexistent/k.sock");
    assert_says(builder.fail_to_start(), Some(1), &["/nonexistent/k.sock", "make its folder"]);
}

#[test]
fn a_group_that_is_not_there_is_named() {
    let builder = SidecarBuilder::new().variable("KEYPOD_LISTEN__UNIX_GROUP", "nobodies");
    let words = ["nobodies", "listen.unix_group"];
    assert_says(builder.fail_to_start(), super::CONFIGURATION, &words);
}

#[test]
fn a_port_that_is_taken_is_named_with_its_setting() {
    for (variable, setting) in
        [("KEYPOD_LISTEN__TCP", "listen.tcp"), ("KEYPOD_LISTEN__HEALTH", "listen.health")]
    {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let builder = SidecarBuilder::new().variable(variable, &address);
        let words = [address.as_str(), "it is taken", setting];
        assert_says(builder.fail_to_start(), Some(1), &words);
    }
}
