//! Targets that do not take what they are sent: the sidecar serves on, and stops in time.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use keypod_tests::{Sidecar, SidecarBuilder, until};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::{assert_whole, builder, use_it};

/// A sidecar whose standard output is a pipe, and the end of the pipe to read from.
async fn on_a_pipe(builder: SidecarBuilder) -> (Sidecar, File) {
    let pipe = builder.folder().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .unwrap();
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    // To open it does not wait for who writes, so it is there first.
    let reader = File::options().read(true).custom_flags(nonblocking).open(&pipe).unwrap();
    let script = format!("exec \"$@\" > '{}'", pipe.display());
    let sidecar = builder.audit("stdout = true").under(&["sh", "-c", &script, "sh"]).start().await;
    (sidecar, reader)
}

/// Everything in the folder of the audit log, as text.
fn logged(sidecar: &Sidecar) -> String {
    fn collect(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => collect(&path, text),
                path => text
                    .push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default())),
            }
        }
    }
    let mut text = String::new();
    collect(&sidecar.folder().join("audit"), &mut text);
    text
}

async fn many_encryptions(sidecar: &Sidecar, count: usize) {
    let client = sidecar.client();
    for _ in 0..count {
        client.encrypt("demo", b"x", &json!({})).await;
    }
}

#[tokio::test]
async fn standard_output_carries_the_whole_log_as_json_lines() {
    let (mut sidecar, mut reader) = on_a_pipe(builder()).await;
    use_it(&sidecar).await;
    assert!(sidecar.stop().await.success(), "{}", sidecar.log());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_whole(&lines);
    let line = text.lines().find(|line| line.contains("\"operation\":\"encrypt\"")).unwrap();
    assert!(line.starts_with("{\"log\":\"") && line.contains(",\"index\":"), "{line}");
    let (_, members) = line.split_once(",\"time\":").unwrap();
    let entry = format!("{{\"time\":{members}");
    assert!(logged(&sidecar).contains(&entry), "an entry's own bytes are in its line: {entry}");
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_holds_nothing_up_but_itself() {
    let (mut sidecar, reader) = on_a_pipe(builder()).await;
    // A pipe has 64 KiB.
    until("the pipe is full", async || {
        many_encryptions(&sidecar, 50).await;
        sidecar.metric("keypod_audit_sink_waiting").await > 60.0
    })
    .await;
    use_it(&sidecar).await;
    assert!(sidecar.stop().await.success(), "{}", sidecar.log());
    assert!(sidecar.log().contains("they are in the log alone"), "{}", sidecar.log());
    assert!(logged(&sidecar).contains("\"operation\":\"close\""), "the log itself is whole");
    drop(reader);
}

#[tokio::test]
async fn a_pipe_that_is_closed_costs_copies_which_the_log_says_once() {
    let (mut sidecar, reader) = on_a_pipe(builder()).await;
    drop(reader);
    use_it(&sidecar).await;
    until("copies are lost", async || sidecar.metric("keypod_audit_sink_lost_total").await >= 4.0)
        .await;
    until("that it fails is shown", async || {
        sidecar.metric("keypod_audit_sink_failing").await > 0.5
    })
    .await;
    assert!(sidecar.stop().await.success(), "{}", sidecar.log());
    let logged = logged(&sidecar);
    let said = logged.split("\"operation\":\"sink_lost\"").skip(1);
    let said: Vec<_> = said.map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
    assert!(said.iter().all(|entry| entry.contains("\"sink\":\"stdout\"")), "{said:?}");
    assert!((1..=2).contains(&said.len()), "it is said, and does not feed itself: {said:?}");
}

#[tokio::test]
async fn a_collector_that_accepts_and_never_answers_is_left_behind() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    let taking = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            kept.push(stream);
        }
    });
    let table =
        format!("[audit.otlp]\naddress = \"http://{address}/v1/logs\"\nbatch_wait = \"0s\"");
    let mut sidecar = builder().config(&table).start().await;
    use_it(&sidecar).await;
    until("copies wait", async || sidecar.metric("keypod_audit_sink_waiting").await >= 4.0).await;
    let stopped = tokio::time::timeout(Duration::from_secs(30), sidecar.stop()).await;
    assert!(stopped.expect("it stops in time").success(), "{}", sidecar.log());
    assert!(sidecar.log().contains("they are in the log alone"), "{}", sidecar.log());
    taking.abort();
}

#[tokio::test]
async fn a_collector_that_comes_later_gets_what_waited_for_it() {
    // Taken, given back, and taken again when the sidecar has something to say.
    let place = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let table = format!("[audit.syslog]\naddress = \"tcp://{address}\"");
    let mut sidecar = builder().config(&table).start().await;
    use_it(&sidecar).await;
    until("the target is known to fail", async || {
        sidecar.metric("keypod_audit_sink_failing").await > 0.5
    })
    .await;
    let collector = TcpListener::bind(address).await.unwrap();
    let mut stream = collector.accept().await.unwrap().0;
    let read = tokio::spawn(async move {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.map(|_| bytes)
    });
    assert!(sidecar.stop().await.success(), "{}", sidecar.log());
    let bytes = read.await.unwrap().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<Value> = messages(&text).collect();
    assert_whole(&lines);
    assert!(sidecar.log().contains("taken again"), "{}", sidecar.log());
}

/// The JSON of each message in a stream that counts octets.
fn messages(mut stream: &str) -> impl Iterator<Item = Value> {
    std::iter::from_fn(move || {
        let (length, rest) = stream.split_once(' ')?;
        let (message, rest) = rest.split_at(length.parse().unwrap());
        stream = rest;
        let (_, text) = message.split_once("\"] ").unwrap();
        Some(serde_json::from_str(text).unwrap())
    })
}
