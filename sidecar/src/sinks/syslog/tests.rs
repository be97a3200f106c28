use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::sinks::ClientIdentity;
use crate::sinks::testing::{checkpoint, entry, usual};

fn settings(place: SyslogPlace) -> SyslogSettings {
    SyslogSettings {
        place,
        facility: 13,
        message_bytes_max: 2048,
        enterprise_number: None,
        ca_file: None,
        client_identity: None,
    }
}

fn network(transport: SyslogTransport, address: SocketAddr) -> SyslogPlace {
    SyslogPlace::Network { transport, host: address.ip().to_string(), port: address.port() }
}

fn syslog(place: SyslogPlace) -> Syslog {
    Syslog::open(&settings(place)).unwrap()
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The text of a message, and the number in it.
fn parts(message: &[u8]) -> (String, u64) {
    let message = String::from_utf8(message.to_vec()).unwrap();
    let (head, text) = message.split_once("] ").unwrap();
    let (_, number) = head.split_once("sequenceId=\"").unwrap();
    (text.to_owned(), number.trim_end_matches('"').parse().unwrap())
}

/// The next message of a stream that counts octets.
async fn frame(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut length = 0;
    loop {
        match stream.read_u8().await.unwrap() {
            b' ' => break,
            digit => length = length * 10 + usize::from(digit - b'0'),
        }
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.unwrap();
    message
}

#[tokio::test]
async fn datagrams_arrive_at_a_socket_of_the_file_system_and_wait_for_it_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (mut syslog, tally) = (syslog(SyslogPlace::Unix(path.clone())), Tally::new(NAME));
    let mut events = VecDeque::from([usual(0), checkpoint(1, "note\n")]);
    let fault = syslog.send(&mut events, &tally).await.unwrap_err();
    assert!(fault.reason.contains(path.to_str().unwrap()) && events.len() == 2, "{fault:?}");

    let collector = UnixDatagram::bind(&path).unwrap();
    let wanted: Vec<_> = events.iter().map(line).collect();
    syslog.send(&mut events, &tally).await.unwrap();
    let mut buffer = [0; 4096];
    for (number, wanted) in (1..).zip(&wanted) {
        let bytes = collector.recv(&mut buffer).await.unwrap();
        let (text, sequence) = parts(&buffer[..bytes]);
        assert_eq!((text.as_bytes(), sequence), (wanted.as_slice(), number));
    }
    drop(collector);
    std::fs::remove_file(&path).unwrap();
    let collector = UnixDatagram::bind(&path).unwrap();
    let mut events = VecDeque::from([usual(1)]);
    syslog.send(&mut events, &tally).await.unwrap_err();
    syslog.send(&mut events, &tally).await.unwrap();
    let bytes = collector.recv(&mut buffer).await.unwrap();
    assert_eq!(parts(&buffer[..bytes]).1, 3, "the number of one that was not taken is used again");
    assert_eq!(tally.counts(), (2, 0));
}

#[tokio::test]
async fn of_an_entry_that_is_too_long_it_is_said_that_there_is_one() {
    let collector = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let place = network(SyslogTransport::Udp, collector.local_addr().unwrap());
    let (mut syslog, tally) = (syslog(place), Tally::new(NAME));
    let long = format!(
        r#"{{"time":"2026-11-24T06:00:00.123Z","operation":"decrypt_batch","outcome":"ok","items":"{}"}}"#,
        "i".repeat(5000)
    );
    syslog.send(&mut VecDeque::from([entry(7, &long), usual(8)]), &tally).await.unwrap();
    let mut buffer = [0; 4096];
    let bytes = collector.recv(&mut buffer).await.unwrap();
    let said: serde_json::Value = serde_json::from_str(&parts(&buffer[..bytes]).0).unwrap();
    assert_eq!((&said["index"], &said["operation"]), (&7.into(), &"decrypt_batch".into()));
    assert_eq!((&said["entry_bytes"], said["items"].is_null()), (&long.len().into(), true));
    let bytes = collector.recv(&mut buffer).await.unwrap();
    assert!(parts(&buffer[..bytes]).0.contains("\"index\":8,"));
    assert_eq!(tally.counts(), (1, 1), "a copy that says less is a copy that is lost");
}

#[tokio::test]
async fn a_stream_that_breaks_is_made_again_and_nothing_is_missing() {
    let (listener, address) = listen().await;
    let mut syslog = syslog(network(SyslogTransport::Tcp, address));
    let tally = Tally::new(NAME);
    let first = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // What a collector says is nothing to a client.
        stream.write_all(b"hello\n").await.unwrap();
        let message = frame(&mut stream).await;
        (message, stream)
    };
    let mut events = VecDeque::from([usual(0)]);
    let (sent, (message, stream)) = tokio::join!(syslog.send(&mut events, &tally), first);
    sent.unwrap();
    assert_eq!(parts(&message), (String::from_utf8(line(&usual(0))).unwrap(), 1));

    drop(stream);
    let mut events: VecDeque<_> = (1..4).map(usual).collect();
    // It may take a moment until this side hears of the end.
    while syslog.connection.is_some() {
        let mut nothing = VecDeque::new();
        let _ = syslog.send(&mut nothing, &tally).await;
        tokio::task::yield_now().await;
    }
    let second = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut numbers = Vec::new();
        for _ in 0..3 {
            numbers.push(parts(&frame(&mut stream).await).1);
        }
        numbers
    };
    let (sent, numbers) = tokio::join!(syslog.send(&mut events, &tally), second);
    sent.unwrap();
    assert_eq!((numbers, tally.counts()), (vec![2, 3, 4], (4, 0)));
}

#[tokio::test]
async fn a_collector_that_talks_without_an_end_is_left() {
    let (listener, address) = listen().await;
    let mut syslog = syslog(network(SyslogTransport::Tcp, address));
    let tally = Tally::new(NAME);
    let talks = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
    });
    let mut faults = Vec::new();
    while faults.is_empty() {
        let mut events = VecDeque::from([usual(0)]);
        faults.extend(syslog.send(&mut events, &tally).await.err());
    }
    assert!(faults[0].reason.contains("without an end"), "{faults:?}");
    talks.await.unwrap();
}

/// A server's configuration, and the PEM of the authority that its certificate is signed by: itself.
fn tls_server(with_clients: bool) -> (TlsAcceptor, String, String) {
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if with_clients {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = builder.with_single_cert(vec![certificate.der().clone()], private).unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate.pem(), key.serialize_pem())
}

async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor) -> std::io::Result<Vec<u8>> {
    let (stream, _) = listener.accept().await?;
    let mut stream = acceptor.accept(stream).await?;
    Ok(frame(&mut stream).await)
}

#[tokio::test]
async fn over_tls_the_collector_proves_itself_and_so_does_this_side_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (acceptor, certificate, key) = tls_server(true);
    let stranger = tls_server(false).1;
    for (name, text) in [("ca", &certificate), ("key", &key), ("other", &stranger)] {
        std::fs::write(path(name), text).unwrap();
    }
    let (listener, address) = listen().await;
    let mut settings = settings(network(SyslogTransport::Tls, address));
    settings.ca_file = Some(path("ca"));
    let identity = ClientIdentity { cert_file: path("ca"), key_file: path("key") };
    settings.client_identity = Some(identity);
    let tally = Tally::new(NAME);
    let mut syslog = Syslog::open(&settings).unwrap();
    let mut events = VecDeque::from([usual(0)]);
    let (sent, message) =
        tokio::join!(syslog.send(&mut events, &tally), accept(&listener, &acceptor));
    sent.unwrap();
    assert_eq!(parts(&message.unwrap()).0.as_bytes(), line(&usual(0)));

    settings.client_identity = None;
    let mut syslog = Syslog::open(&settings).unwrap();
    let mut events = VecDeque::from([usual(1)]);
    let (sent, message) =
        tokio::join!(syslog.send(&mut events, &tally), accept(&listener, &acceptor));
    assert!(message.is_err() && events.len() == 1, "a client without a certificate is refused");
    assert!(sent.unwrap_err().reason.contains("tls://127.0.0.1"));

    settings.ca_file = Some(path("other"));
    let mut syslog = Syslog::open(&settings).unwrap();
    let (checked, message) = tokio::join!(syslog.check(), accept(&listener, &acceptor));
    let fault = checked.unwrap_err();
    assert!(message.is_err() && fault.reason.contains("audit.syslog.ca_file"), "{fault:?}");
    assert_eq!(tally.counts(), (1, 0));
}

#[tokio::test]
async fn a_file_that_holds_no_certificate_is_named_when_the_sidecar_starts() {
    let mut settings = settings(network(SyslogTransport::Tls, ([127, 0, 0, 1], 1).into()));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret").unwrap();
    settings.ca_file = Some(file.path().to_owned());
    let error = Syslog::open(&settings).unwrap_err().to_string();
    assert!(error.contains(file.path().to_str().unwrap()) && !error.contains("secret"), "{error}");
    settings.ca_file = Some("/dev/zero".into());
    assert!(matches!(Syslog::open(&settings), Err(SinkError::Unreadable { .. })));
}

#[tokio::test]
async fn whether_a_collector_is_there_can_be_asked() {
    let (listener, address) = listen().await;
    assert!(
        syslog(network(SyslogTransport::Tcp, address)).check().await.unwrap().contains("answers")
    );
    let mut stream: TcpStream = listener.accept().await.unwrap().0;
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "and nothing is sent for it");
    drop(listener);
    let fault = syslog(network(SyslogTransport::Tcp, address)).check().await.unwrap_err();
    assert!(fault.reason.contains(&address.to_string()), "{fault:?}");
}
