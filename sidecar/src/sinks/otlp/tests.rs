use std::io::Read as _;
use std::net::SocketAddr;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::SystemClock;
use crate::sinks::testing::{checkpoint, entry, usual};

/// A collector that answers each request with the next of these bytes, and then closes.
struct Collector {
    listener: TcpListener,
    address: SocketAddr,
}

/// A request: its head in lower case, and its body.
struct Asked {
    head: String,
    body: Vec<u8>,
}

impl Asked {
    fn message(&self) -> ExportLogsServiceRequest {
        let mut body = Vec::new();
        match self.head.contains("\r\ncontent-encoding: gzip\r\n") {
            true => drop(GzDecoder::new(self.body.as_slice()).read_to_end(&mut body).unwrap()),
            false => body.clone_from(&self.body),
        }
        ExportLogsServiceRequest::decode(body.as_slice()).unwrap()
    }
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    fn settings(&self) -> OtlpSettings {
        OtlpSettings {
            address: format!("http://{}/v1/logs", self.address),
            headers_file: None,
            ca_file: None,
            client_identity: None,
            gzip: false,
            timeout: Duration::from_secs(30),
            batch_entries_max: 512,
            batch_wait: Duration::ZERO,
        }
    }

    fn target(&self) -> Otlp {
        open(&self.settings())
    }

    /// Takes a request and gives `answer`.
    async fn answer(&self, answer: &[u8]) -> (Asked, TcpStream) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let asked = read(&mut stream).await;
        // A client may have had enough before the end.
        let _ = stream.write_all(answer).await;
        (asked, stream)
    }
}

fn open(settings: &OtlpSettings) -> Otlp {
    Otlp::open(settings, "clinic/orders", Arc::new(SystemClock)).unwrap()
}

async fn read(stream: &mut TcpStream) -> Asked {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest);
    let length = length.split_once("\r\n").map_or("0", |(length, _)| length);
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    Asked { head, body }
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn ok() -> Vec<u8> {
    http("200 OK", "", b"")
}

fn attribute<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

#[tokio::test]
async fn entries_and_checkpoints_are_records_with_their_bytes_as_body() {
    let collector = Collector::start().await;
    for gzip in [false, true] {
        let mut target = open(&OtlpSettings { gzip, ..collector.settings() });
        let alarm = r#"{"time":"2026-11-24T06:00:00.123Z","operation":"begin_emergency","outcome":"ok","caller":"a\nb"}"#;
        let mut events = VecDeque::from([usual(0), entry(1, alarm), checkpoint(2, "note\n")]);
        let tally = Tally::new(NAME);
        let answer = ok();
        let (sent, (asked, _)) =
            tokio::join!(target.send(&mut events, &tally), collector.answer(&answer));
        sent.unwrap();
        assert_eq!((events.len(), tally.counts()), (0, (2, 0)));
        assert!(asked.head.starts_with("post /v1/logs http/1.1\r\n"), "{}", asked.head);
        assert!(asked.head.contains("\r\ncontent-type: application/x-protobuf\r\n"));
        let message = asked.message();
        let logs = &message.resource_logs[0];
        let resource = &logs.resource.as_ref().unwrap().attributes;
        assert_eq!(attribute(resource, "service.name"), Some(&text("keypod")));
        assert_eq!(attribute(resource, "service.instance.id"), Some(&text("clinic/orders")));
        let records = &logs.scope_logs[0].log_records;
        let severities: Vec<_> = records.iter().map(|record| record.severity_number).collect();
        assert_eq!(severities, [9, 19, 9]);
        let names: Vec<_> = records.iter().map(|record| record.event_name.as_str()).collect();
        let (an_entry, a_checkpoint) = ("keypod.audit.entry", "keypod.audit.checkpoint");
        assert_eq!(names, [an_entry, an_entry, a_checkpoint]);
        assert_eq!(records[0].time_unix_nano, 1_795_500_000_123_000_000);
        assert!(records[2].observed_time_unix_nano > 0);
        assert_eq!(records[1].body, Some(AnyValue { value: Some(text(alarm)) }));
        let of_entry = &records[1].attributes;
        assert_eq!(attribute(of_entry, "keypod.audit.log"), Some(&text("keypod/test/1")));
        assert_eq!(attribute(of_entry, "keypod.audit.index"), Some(&Value::IntValue(1)));
        assert_eq!(attribute(of_entry, "log.record.uid"), Some(&text("keypod/test/1/1")));
        assert_eq!(
            attribute(&records[2].attributes, "keypod.audit.size"),
            Some(&Value::IntValue(2))
        );
    }
}

#[tokio::test]
async fn what_may_pass_is_sent_again_and_what_will_not_is_lost() {
    let collector = Collector::start().await;
    let mut target = collector.target();
    for (status, headers, after) in [
        ("429 Too Many Requests", "retry-after: 7\r\n", Some(7)),
        ("503 Service Unavailable", "retry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\n", None),
        ("502 Bad Gateway", "", None),
        ("504 Gateway Timeout", "", None),
    ] {
        let (mut events, tally) = (VecDeque::from([usual(0)]), Tally::new(NAME));
        let answer = http(status, headers, b"secret");
        let (sent, _) = tokio::join!(target.send(&mut events, &tally), collector.answer(&answer));
        let fault = sent.unwrap_err();
        assert_eq!((fault.after, events.len()), (after.map(Duration::from_secs), 1), "{status}");
        assert!(!fault.reason.contains("secret"), "{fault:?}");
    }
    for status in ["400 Bad Request", "401 Unauthorized", "404 Not Found", "500 Oops", "501 No"] {
        let (mut events, tally) = (VecDeque::from([usual(0), usual(1)]), Tally::new(NAME));
        let answer = http(status, "", b"secret");
        let (sent, _) = tokio::join!(target.send(&mut events, &tally), collector.answer(&answer));
        let fault = sent.unwrap_err();
        assert_eq!((events.len(), tally.counts(), tally.take_unsaid()), (0, (0, 2), 2), "{status}");
        assert!(!fault.reason.contains("secret") && !fault.reason.contains("Oops"), "{fault:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (collector, elsewhere) = (Collector::start().await, Collector::start().await);
    let mut target = collector.target();
    for status in ["301 Moved", "307 Temporary", "308 Permanent"] {
        let (mut events, tally) = (VecDeque::from([usual(0)]), Tally::new(NAME));
        let answer = http(status, &format!("location: http://{}/\r\n", elsewhere.address), b"");
        let (sent, _) = tokio::join!(target.send(&mut events, &tally), collector.answer(&answer));
        assert!(sent.is_err() && tally.counts() == (0, 1));
    }
    let nobody = elsewhere.listener.accept();
    assert!(futures_util::FutureExt::now_or_never(nobody).is_none(), "nobody came");
}

#[tokio::test]
async fn records_that_a_collector_says_it_refused_are_lost_and_no_more_than_there_were() {
    let collector = Collector::start().await;
    let mut target = collector.target();
    for (rejected, counts) in [(1, (1, 1)), (i64::MAX, (0, 2)), (-5, (2, 0)), (0, (2, 0))] {
        let partial = ExportLogsPartialSuccess {
            rejected_log_records: rejected,
            error_message: "secret".to_owned(),
        };
        let answer = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let answer = http("200 OK", "", &answer);
        let (mut events, tally) = (VecDeque::from([usual(0), usual(1)]), Tally::new(NAME));
        let (sent, _) = tokio::join!(target.send(&mut events, &tally), collector.answer(&answer));
        assert_eq!((events.len(), tally.counts(), sent.is_err()), (0, counts, counts.1 > 0));
        assert!(!format!("{sent:?}").contains("secret"));
    }
    let lost = entry(0, r#"{"operation":"sink_lost","outcome":"failed"}"#);
    let (mut events, tally) = (VecDeque::from([lost]), Tally::new(NAME));
    let partial =
        ExportLogsPartialSuccess { rejected_log_records: 1, error_message: String::new() };
    let answer = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let answer = http("200 OK", "", &answer);
    let _ = tokio::join!(target.send(&mut events, &tally), collector.answer(&answer));
    assert_eq!((tally.counts(), tally.take_unsaid()), ((0, 1), 0), "it does not feed itself");
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read_to_it() {
    let collector = Collector::start().await;
    let mut target = collector.target();
    let (mut events, tally) = (VecDeque::from([usual(0)]), Tally::new(NAME));
    let endless = async {
        let (mut stream, _) = collector.listener.accept().await.unwrap();
        read(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        while stream.write_all(b"8\r\nxxxxxxxx\r\n").await.is_ok() {}
    };
    let (sent, ()) = tokio::join!(target.send(&mut events, &tally), endless);
    assert_eq!((sent, tally.counts()), (Ok(()), (1, 0)), "its status said that it was taken");
}

#[tokio::test]
async fn a_collector_that_never_answers_or_closes_in_the_middle_is_asked_again() {
    let collector = Collector::start().await;
    let settings = OtlpSettings { timeout: Duration::from_millis(50), ..collector.settings() };
    let (mut events, tally) = (VecDeque::from([usual(0)]), Tally::new(NAME));
    let mut target = open(&settings);
    let (sent, _) = tokio::join!(target.send(&mut events, &tally), collector.answer(b""));
    assert!(sent.unwrap_err().reason.contains("no answer in time"));
    for answer in
        [&b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nxx"[..], b"HTTP/1.1 2", b"\x00\xff"]
    {
        let closes = async { drop(collector.answer(answer).await) };
        let (sent, ()) = tokio::join!(target.send(&mut events, &tally), closes);
        assert!(sent.is_err() && events.len() == 1);
    }
    assert_eq!(tally.counts(), (0, 0));
}

#[tokio::test]
async fn headers_are_read_from_their_file_for_each_request_and_stand_in_no_fault() {
    let collector = Collector::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "Authorization: Bearer first").unwrap();
    let headers_file = Some(file.path().to_owned());
    let mut target = open(&OtlpSettings { headers_file, ..collector.settings() });
    let tally = Tally::new(NAME);
    let answer = http("429 No", "", b"");
    for token in ["first", "second"] {
        std::fs::write(file.path(), format!("Authorization: Bearer {token}")).unwrap();
        let mut events = VecDeque::from([usual(0)]);
        let (sent, (asked, _)) =
            tokio::join!(target.send(&mut events, &tally), collector.answer(&answer));
        assert!(asked.head.contains(&format!("\r\nauthorization: bearer {token}\r\n")));
        assert!(!sent.unwrap_err().reason.contains(token));
    }
    std::fs::write(file.path(), "secret").unwrap();
    let mut events = VecDeque::from([usual(0)]);
    let fault = target.send(&mut events, &tally).await.unwrap_err();
    assert!(events.len() == 1 && !fault.reason.contains("secret"), "{fault:?}");
    assert!(!format!("{target:?}").contains("first"));
}

#[tokio::test]
async fn whether_a_collector_takes_logs_can_be_asked() {
    let collector = Collector::start().await;
    let answer = ok();
    let mut target = collector.target();
    let (checked, (asked, _)) = tokio::join!(target.check(), collector.answer(&answer));
    assert!(checked.unwrap().contains("answers") && asked.body.is_empty());
    let answer = http("404 Not Found", "", b"");
    let (checked, _) = tokio::join!(target.check(), collector.answer(&answer));
    assert!(checked.unwrap_err().reason.contains("404"));
    let address = collector.address;
    drop(collector.listener);
    assert!(target.check().await.unwrap_err().reason.contains(&address.to_string()));
}
