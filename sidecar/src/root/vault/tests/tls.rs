use std::sync::OnceLock;

use keypod_test_servers::{Certificates, VaultTls};
use rustls::NamedGroup;

use super::*;

fn server(tls: VaultTls) -> &'static VaultServer {
    static SERVERS: [OnceLock<VaultServer>; 2] = [OnceLock::new(), OnceLock::new()];
    SERVERS[usize::from(tls == VaultTls::Mutual)].get_or_init(|| {
        let server = VaultServer::start(tls).unwrap();
        server.make_key("keypod", &json!({})).unwrap();
        server
    })
}

fn root(
    server: &VaultServer,
    folder: &TempDir,
    change: impl FnOnce(&mut VaultSettings, &Certificates),
) -> VaultRoot {
    let auth = VaultAuth::TokenFile(private_file(folder, "token", server.root_token()));
    let mut settings = settings(server.tls_address(), "keypod", auth);
    let certificates = server.certificates().unwrap();
    settings.ca_file = Some(certificates.ca.clone());
    change(&mut settings, certificates);
    open(&settings)
}

async fn unavailable(root: &VaultRoot) -> String {
    let error = root.check("test").await.unwrap_err();
    assert!(matches!(error, RootError::Unavailable { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_another_authority_signed_is_not_spoken_to() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(VaultTls::Server);
    root(server, &folder, |_, _| ()).check("test").await.unwrap();
    let other = root(server, &folder, |settings, certificates| {
        settings.ca_file = Some(certificates.other_ca.clone());
    });
    let said = unavailable(&other).await;
    assert!(said.contains("UnknownIssuer") && said.contains("set ca_file"), "{said}");
    let another_name = root(server, &folder, |settings, _| {
        settings.address = settings.address.replace("127.0.0.1", "127.0.0.2");
    });
    // Where only 127.0.0.1 is served, it is refused; where both are, the name is not in the certificate.
    unavailable(&another_name).await;
    let plain = root(server, &folder, |settings, _| {
        settings.address = server.address().replace("http://", "https://");
    });
    unavailable(&plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_wants_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(VaultTls::Mutual);
    let with = root(server, &folder, |settings, certificates| {
        settings.client_identity = Some(ClientIdentity {
            cert_file: certificates.client_cert.clone(),
            key_file: certificates.client_key.clone(),
        });
    });
    with.check("test").await.unwrap();
    let without = root(server, &folder, |_, _| ());
    let said = unavailable(&without).await;
    // In TLS 1.3 the refusal comes after the client's handshake has ended, and may lose the race against its request.
    let (refused, broke) =
        (said.to_lowercase().contains("certificate"), said.contains("connection broke"));
    assert!(refused || broke, "{said}");
}

#[test]
fn files_of_tls_that_are_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::write(folder.path()).unwrap();
    let token = private_file(&folder, "token", "hvs.token");
    let open = |change: &dyn Fn(&mut VaultSettings)| {
        let auth = VaultAuth::TokenFile(token.clone());
        let mut settings = settings("https://127.0.0.1:1", "keypod", auth);
        settings.ca_file = Some(certificates.ca.clone());
        change(&mut settings);
        let opened = VaultRoot::open(&settings, PATIENT, &arena());
        opened.map(drop).map_err(|error| error.to_string())
    };
    let identity = |cert_file: &PathBuf, key_file: &PathBuf| {
        Some(ClientIdentity { cert_file: cert_file.clone(), key_file: key_file.clone() })
    };
    let Certificates { client_cert, client_key, server_key, .. } = &certificates;
    assert_eq!(open(&|_| ()), Ok(()));
    assert_eq!(open(&|set| set.client_identity = identity(client_cert, client_key)), Ok(()));
    let not_pem = private_file(&folder, "not.pem", "-----BEGIN CERTIFICATE-----\nAAAA");
    let error = open(&|set| set.ca_file = Some(not_pem.clone())).unwrap_err();
    assert!(error.contains("not.pem holds no certificate in PEM"), "{error}");
    let error = open(&|set| set.ca_file = Some(client_key.clone())).unwrap_err();
    assert!(error.contains("client.key holds no certificate in PEM"), "{error}");
    let error = open(&|set| set.ca_file = Some("/nowhere/ca.pem".into())).unwrap_err();
    assert!(error.contains("/nowhere/ca.pem cannot be read"), "{error}");
    let error = open(&|set| set.client_identity = identity(client_cert, client_cert)).unwrap_err();
    assert!(error.contains("client.pem holds no private key"), "{error}");
    let error = open(&|set| set.client_identity = identity(client_cert, server_key)).unwrap_err();
    assert!(error.contains("server.key do not belong together"), "{error}");
}

/// What the root says first, read as a server reads it.
#[tokio::test]
async fn the_post_quantum_exchange_is_offered_first() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::write(folder.path()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let auth = VaultAuth::TokenFile(private_file(&folder, "token", "hvs.token"));
    let mut settings = settings(&address, "keypod", auth);
    settings.ca_file = Some(certificates.ca.clone());
    let root = open(&settings);
    let hello = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut acceptor = rustls::server::Acceptor::default();
        loop {
            acceptor.read_tls(&mut stream).unwrap();
            if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error).unwrap() {
                return accepted.client_hello().named_groups().unwrap().to_vec();
            }
        }
    });
    let (asked, groups) = tokio::join!(root.check("test"), hello);
    assert!(matches!(asked, Err(RootError::Unavailable { .. })), "{asked:?}");
    assert_eq!(groups.unwrap()[0], NamedGroup::X25519MLKEM768);
}
