use std::io::Read;
use std::net::TcpListener;
use std::thread;

use rustls::NamedGroup;
use rustls::server::Acceptor;

use super::*;

/// What a client offers in its first message, from the start of the connection on.
struct Offer {
    groups: Vec<NamedGroup>,
    /// The message as it came.
    bytes: Vec<u8>,
}

/// Reads one client's first message, and closes.
fn offer(listener: &TcpListener) -> Offer {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut acceptor, mut bytes) = (Acceptor::default(), Vec::new());
    loop {
        let mut some = [0; 4096];
        let len = stream.read(&mut some).unwrap();
        assert_ne!(len, 0, "it closed before it had said what it offers");
        bytes.extend_from_slice(&some[..len]);
        acceptor.read_tls(&mut &some[..len]).unwrap();
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error).unwrap() {
            let groups = accepted.client_hello().named_groups().unwrap().to_vec();
            return Offer { groups, bytes };
        }
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|found| found == part)
}

#[tokio::test]
async fn tls_offers_a_post_quantum_group_first_and_nothing_below_1_2() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let listening = thread::spawn(move || offer(&listener));
    let refused = root("alias/keypod", &endpoint).wrap(&secret(), binding()).await.unwrap_err();
    assert!(matches!(refused, RootError::Unavailable { .. }), "{refused:?}");

    let offer = listening.join().unwrap();
    assert_eq!(offer.groups.first(), Some(&NamedGroup::X25519MLKEM768));
    // supported_versions (43): TLS 1.3, then 1.2, and no more.
    assert!(has(&offer.bytes, &[0, 43, 0, 5, 4, 3, 4, 3, 3]));
    // key_share (51) begins with a share of X25519MLKEM768 (0x11ec), of 1216 bytes: no second round is needed.
    assert!(has(&offer.bytes, &[0x11, 0xec, 0x04, 0xc0]));
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_away_and_gets_no_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let listening = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let mut came = Vec::new();
        let _ = stream.read_to_end(&mut came);
        came
    });
    let refused = root("alias/keypod", &endpoint).wrap(&secret(), binding()).await.unwrap_err();
    assert!(matches!(refused, RootError::Unavailable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("cannot be reached"), "{refused}");
    assert!(!has(&listening.join().unwrap(), b"TrentService"));
}

#[tokio::test]
async fn a_secret_never_goes_over_plain_http_to_another_machine() {
    for endpoint in ["http://192.0.2.1:80", "http://kms.example", "ftp://127.0.0.1", "kms.example"]
    {
        let settings = settings("alias/keypod", endpoint);
        let opened = AwsKmsRoot::with_chain(&settings, &chain(credentials()), PATIENT, &arena());
        assert!(matches!(opened, Err(AwsKmsRootError::PlainEndpoint { .. })), "{opened:?}");
    }
    // Nor where the endpoint comes from the environment or a profile: that could be anywhere.
    let stand_in = KmsStandIn::alone(Answer::access_denied());
    let mut settings = settings("alias/keypod", "");
    settings.endpoint = None;
    let chain = chain(credentials()).into_builder().endpoint_url(stand_in.endpoint()).build();
    let root = AwsKmsRoot::with_chain(&settings, &chain, PATIENT, &arena()).unwrap();
    let refused = root.wrap(&secret(), binding()).await.unwrap_err();
    assert!(matches!(refused, RootError::Unusable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("set root.aws_kms.endpoint"), "{refused}");
    assert_eq!(stand_in.seen().len(), 0);
}

#[test]
fn an_endpoint_goes_with_no_switch_that_chooses_another() {
    for (fips, dual_stack) in [(true, false), (false, true)] {
        let mut settings = settings("alias/keypod", "https://kms.example");
        (settings.fips, settings.dual_stack) = (fips, dual_stack);
        let opened = AwsKmsRoot::with_chain(&settings, &chain(credentials()), PATIENT, &arena());
        assert_eq!(opened.unwrap_err(), AwsKmsRootError::TwoEndpoints);
        settings.endpoint = None;
        root_of(&settings);
    }
    let chain = chain(credentials()).into_builder().use_fips(true).build();
    let settings = settings("alias/keypod", "https://kms.example");
    let opened = AwsKmsRoot::with_chain(&settings, &chain, PATIENT, &arena());
    assert_eq!(opened.unwrap_err(), AwsKmsRootError::TwoEndpoints);
}
