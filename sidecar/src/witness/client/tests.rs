//! The client against a real witness over HTTP, and against a stand-in for what a real one does not say.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use keypod_test_servers::{VaultServer, VaultTls};

use super::*;
use crate::witness::server::{Address, serve};
use crate::witness::testing::{Site, TestAuthority, TestLog};

const FIRST: &str = "keypod/ns/app/0001";
const SECOND: &str = "keypod/ns/app/0002";

fn settings(url: &str, key: &str) -> WitnessSettings {
    WitnessSettings {
        url: url.to_owned(),
        socket: None,
        key: CosignatureKey::parse(key).unwrap(),
        ca_file: None,
        attempt_timeout: Duration::from_secs(30),
    }
}

/// A witness that serves, until its test ends.
struct Serving {
    site: Site,
    url: String,
}

impl Serving {
    async fn start(site: Site) -> Self {
        let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
        let witness = Arc::clone(&site.witness);
        let (at, served) = serve(witness, address, std::future::pending()).await.unwrap();
        tokio::spawn(served);
        Self { site, url: format!("http://{at}") }
    }

    fn client(&self) -> WitnessClient {
        WitnessClient::new(settings(&self.url, &self.site.witness.verification_key())).unwrap()
    }

    fn certificate(
        &self,
        log: &TestLog,
        number: u64,
        previous: Option<(&TestLog, u64)>,
    ) -> Vec<u8> {
        self.site.authority.signed(&log.certificate(number, previous).text())
    }
}

/// A log that nothing has come before.
fn first() -> TestLog {
    TestLog::new(FIRST, 1)
}

async fn with_first() -> (Serving, WitnessClient) {
    let serving = Serving::start(Site::new()).await;
    let client = serving.client();
    let certificate = serving.certificate(&first(), 1, None);
    client.add_log(&certificate, &first()).await.unwrap();
    (serving, client)
}

#[tokio::test]
async fn a_log_is_told_of_and_cosigned_as_it_grows_also_by_a_client_that_knows_nothing() {
    let (serving, client) = with_first().await;
    let mut log = first();
    for size in [1, 1, 5, 300] {
        log = log.grown(size, "entry");
        for client in [&client, &serving.client()] {
            let cosigned = client.cosign(&log).await.unwrap();
            assert_eq!((cosigned.origin.as_str(), cosigned.size), (FIRST, size));
            let note = [&log.checkpoint(size)[..], cosigned.line.as_bytes()].concat();
            let note = Note::from_bytes(&note).unwrap();
            let key = serving.site.witness.verification_key();
            let key = CosignatureKey::parse(&key).unwrap();
            assert!(super::super::keys::is_signed_by(&note, &[key]));
        }
    }
}

#[tokio::test]
async fn a_log_that_was_not_told_of_is_unknown() {
    let serving = Serving::start(Site::new()).await;
    let error = serving.client().cosign(&first().grown(1, "entry")).await.unwrap_err();
    assert!(matches!(error, AskError::UnknownLog), "{error:?}");
    assert!(!error.may_pass() && !error.is_alarm());
}

#[tokio::test]
async fn a_log_that_is_behind_its_witness_is_an_alarm() {
    let (serving, client) = with_first().await;
    client.cosign(&first().grown(9, "entry")).await.unwrap();
    for client in [&client, &serving.client()] {
        let error = client.cosign(&first().grown(6, "entry")).await.unwrap_err();
        assert!(matches!(&error, AskError::RolledBack { size: 9, .. }), "{error:?}");
        assert!(error.is_alarm() && error.to_string().contains("up to 9 entries"), "{error}");
        for size in [9, 12] {
            let forked = first().grown(6, "entry").grown(size, "another");
            let error = client.cosign(&forked).await.unwrap_err();
            assert!(matches!(error, AskError::Forked) && error.is_alarm(), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_start_after_an_unclean_end_follows_and_one_on_an_older_disk_does_not() {
    let (serving, client) = with_first().await;
    let log = first().grown(9, "entry");
    client.cosign(&first().grown(5, "entry")).await.unwrap();
    let second = TestLog::new(SECOND, 2);
    // Older than the witness.
    for size in [1, 4] {
        let certificate = serving.certificate(&second, 2, Some((&log, size)));
        let error = serving.client().add_log(&certificate, &log).await.unwrap_err();
        let AskError::RolledBack { origin, size: 5 } = &error else { panic!("{error:?}") };
        assert_eq!(origin, FIRST);
    }
    // An empty one in its place.
    let certificate = serving.certificate(&second, 1, None);
    let error = serving.client().add_log(&certificate, &log).await.unwrap_err();
    assert!(matches!(error, AskError::RolledBack { size: 5, .. }), "{error:?}");
    // Another one, as long.
    let forked = first().grown(9, "another");
    let certificate = serving.certificate(&second, 2, Some((&forked, 9)));
    let error = serving.client().add_log(&certificate, &forked).await.unwrap_err();
    assert!(matches!(error, AskError::Forked), "{error:?}");
    // And the real one, which had more than was cosigned.
    let certificate = serving.certificate(&second, 2, Some((&log, 9)));
    serving.client().add_log(&certificate, &log).await.unwrap();
    client.cosign(&second.clone().grown(3, "entry")).await.unwrap();
    // The old one goes on elsewhere.
    let error = client.cosign(&log.grown(20, "entry")).await.unwrap_err();
    assert!(matches!(error, AskError::NotTrusted), "{error:?}");
}

#[tokio::test]
async fn chains_and_authorities_that_are_not_known_are_said() {
    let serving = Serving::start(Site::new()).await;
    let log = first().grown(3, "entry");
    let second = TestLog::new(SECOND, 2);
    let certificate = serving.certificate(&second, 2, Some((&log, 3)));
    let error = serving.client().add_log(&certificate, &log).await.unwrap_err();
    assert!(matches!(error, AskError::UnknownChain), "{error:?}");
    let certificate = TestAuthority::new(1).signed(&first().certificate(1, None).text());
    let error = serving.client().add_log(&certificate, &log).await.unwrap_err();
    assert!(matches!(error, AskError::NotTrusted), "{error:?}");
    let error = serving.client().add_log(b"nothing", &log).await.unwrap_err();
    assert!(matches!(error, AskError::NoCertificate), "{error:?}");
}

#[tokio::test]
async fn a_witness_is_reached_by_its_socket_too_and_a_stale_one_is_replaced() {
    let site = Site::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("witness.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = Address::Unix(path.clone());
    let witness = Arc::clone(&site.witness);
    let (_, served) = serve(witness, listen.clone(), std::future::pending()).await.unwrap();
    tokio::spawn(served);
    let mut by_socket = settings("http://witness/", &site.witness.verification_key());
    by_socket.socket = Some(path.clone());
    let client = WitnessClient::new(by_socket).unwrap();
    let certificate = site.authority.signed(&first().certificate(1, None).text());
    client.add_log(&certificate, &first()).await.unwrap();
    client.cosign(&first().grown(2, "entry")).await.unwrap();
    let witness = Arc::clone(&site.witness);
    assert!(serve(witness, listen, std::future::pending()).await.is_err(), "it is in use");
}

/// Answers each request, by its number, with what `answer` says.
async fn stand_in(
    answer: impl Fn(usize) -> (u16, String) + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, answer) = (Arc::clone(&asked), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (count, answer) = (Arc::clone(&count), Arc::clone(&answer));
            let service = service_fn(move |request: Request<Incoming>| {
                let (count, answer) = (Arc::clone(&count), Arc::clone(&answer));
                async move {
                    let _ = request.into_body().collect().await;
                    let (status, body) = answer(count.fetch_add(1, Ordering::SeqCst));
                    let builder = Response::builder().status(status);
                    let builder = builder.header("location", "http://127.0.0.1:1/");
                    let response = builder.body(Full::new(Bytes::from(body))).unwrap();
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, asked)
}

#[tokio::test]
async fn nothing_is_believed_but_a_cosignature_by_the_witness_s_own_key() {
    let key = Site::new().witness.verification_key();
    let (serving, other) = with_first().await;
    let log = first().grown(4, "entry");
    let others = other.cosign(&log).await.unwrap().line;
    let own_key = serving.site.witness.verification_key();
    let of_another_size = other.cosign(&first().grown(5, "entry")).await.unwrap().line;
    let own_of = |line: String| move |_| (200, line.clone());
    for (key, line) in [
        (&key, others.clone()),
        (&own_key, of_another_size),
        (&own_key, String::new()),
        (&own_key, "no signature\n".to_owned()),
        (&own_key, others.replacen('A', "B", 1)),
        (&own_key, format!("{}{others}", "\u{2014} x AAAAAAAA\n".repeat(16))),
    ] {
        let (url, _) = stand_in(own_of(line.clone())).await;
        let client = WitnessClient::new(settings(&url, key)).unwrap();
        let error = client.cosign(&log).await.unwrap_err();
        assert!(matches!(error, AskError::NotCosigned), "{line}: {error:?}");
    }
    // Beside lines of others, its own is found.
    let (url, _) = stand_in(own_of(format!("\u{2014} x AAAAAAAA\nwhat?\n{others}"))).await;
    let client = WitnessClient::new(settings(&url, &own_key)).unwrap();
    assert_eq!(client.cosign(&log).await.unwrap().line, others);
}

#[tokio::test]
async fn answers_that_make_no_sense_end_it_and_are_bounded() {
    let key = Site::new().witness.verification_key();
    let log = first().grown(4, "entry");
    let ask = async |status: u16, body: &str| {
        let body = body.to_owned();
        let (url, asked) = stand_in(move |_| (status, body.clone())).await;
        let client = WitnessClient::new(settings(&url, &key)).unwrap();
        let error = client.cosign(&log).await.unwrap_err();
        assert!(asked.load(Ordering::SeqCst) <= 4);
        error
    };
    for (status, body) in [
        (409, "three\n"),
        (409, "0\n"),
        (409, ""),
        (409, "4"),
        (409, "04\n"),
        (200, &"x".repeat(20_000)),
    ] {
        let error = ask(status, body).await;
        assert!(matches!(error, AskError::BadAnswer), "{status} {body}: {error:?}");
    }
    // A size that comes back whatever it is asked with.
    let (url, asked) = stand_in(|number| (409, format!("{}\n", 1 + number % 2))).await;
    let client = WitnessClient::new(settings(&url, &key)).unwrap();
    let error = client.cosign(&log).await.unwrap_err();
    assert!(matches!(error, AskError::BadAnswer) && asked.load(Ordering::SeqCst) == 4, "{error:?}");
    assert!(matches!(ask(403, "no").await, AskError::NotTrusted));
    assert!(matches!(ask(400, "no").await, AskError::Refused { status: 400 }));
    // It is not followed: the certificate would go who knows where.
    assert!(matches!(ask(307, "").await, AskError::Refused { status: 307 }));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_not_for_ever() {
    let (serving, _) = with_first().await;
    let key = serving.site.witness.verification_key();
    let log = first().grown(4, "entry");
    let line = serving.client().cosign(&log).await.unwrap().line;
    let (url, asked) =
        stand_in(move |number| if number < 2 { (503, String::new()) } else { (200, line.clone()) })
            .await;
    let client = WitnessClient::new(settings(&url, &key)).unwrap();
    client.cosign(&log).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let (url, asked) = stand_in(|_| (503, String::new())).await;
    let client = WitnessClient::new(settings(&url, &key)).unwrap();
    let error = client.cosign(&log).await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("503"), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let client = WitnessClient::new(settings("http://127.0.0.1:1", &key)).unwrap();
    assert!(client.cosign(&log).await.unwrap_err().may_pass());
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_authorities_know_and_with_nobody_else() {
    let server = VaultServer::start(VaultTls::Server).unwrap();
    let log = first().grown(1, "entry");
    let mut settings = settings(server.tls_address(), &Site::new().witness.verification_key());
    let stranger = WitnessClient::new(settings.clone()).unwrap();
    let error = stranger.cosign(&log).await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("set ca_file"), "{error}");
    settings.ca_file = Some(server.certificates().unwrap().ca.clone());
    // It is no witness, which is told over TLS.
    let error = WitnessClient::new(settings).unwrap().cosign(&log).await.unwrap_err();
    assert!(!error.may_pass(), "{error:?}");
}

#[test]
fn an_address_is_safe_and_has_no_user() {
    let key = Site::new().witness.verification_key();
    for good in
        ["https://w.example", "https://w.example/a/b/", "http://127.0.0.1:1", "http://[::1]"]
    {
        assert!(WitnessClient::new(settings(good, &key)).is_ok(), "{good}");
    }
    for bad in [
        "http://w.example",
        "https://user@w.example",
        "https://w.example?a",
        "https://w.example#a",
        "ftp://w.example",
        "w.example",
        "",
    ] {
        let error = WitnessClient::new(settings(bad, &key)).unwrap_err();
        assert!(matches!(error, ClientError::Address), "{bad}: {error}");
    }
    let mut settings = settings("https://w.example", &key);
    settings.ca_file = Some("/nowhere".into());
    assert!(matches!(WitnessClient::new(settings).unwrap_err(), ClientError::CaFile { .. }));
}
