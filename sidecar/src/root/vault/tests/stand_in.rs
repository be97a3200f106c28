//! What no real Vault says on demand, from a listener that answers as it is told and remembers what it was asked.

use std::sync::Mutex;

use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::*;

/// A status, headers and a body.
type Answer = (u16, Vec<(&'static str, String)>, String);

#[derive(Clone, Debug)]
struct Asked {
    path: String,
    headers: http::HeaderMap,
    body: Value,
}

struct StandIn {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl StandIn {
    async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let asked = Asked {
                            path: parts.uri.path().to_owned(),
                            headers: parts.headers,
                            body: serde_json::from_slice(&body).unwrap_or_default(),
                        };
                        let (status, headers, text) = answer(&asked);
                        seen.lock().unwrap().push(asked);
                        let mut response = Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        response.body(Full::new(Bytes::from(text)))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, asked }
    }

    fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }

    fn everything(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn vault_says(status: u16, said: &str) -> Answer {
    (status, Vec::new(), json!({"errors": [said]}).to_string())
}

fn token_file(folder: &TempDir) -> VaultAuth {
    VaultAuth::TokenFile(private_file(folder, "token", "hvs.canary-token\n"))
}

fn approle(folder: &TempDir) -> VaultAuth {
    VaultAuth::AppRole {
        mount: "team/approle".to_owned(),
        role_id: "canary-role".to_owned(),
        secret_id_file: private_file(folder, "secret-id", "canary-secret-id"),
    }
}

async fn answered(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> RootError {
    let folder = tempfile::tempdir().unwrap();
    let stand_in = StandIn::start(answer).await;
    let root = open(&settings(&stand_in.address, "keypod", token_file(&folder)));
    root.wrap(&secret(), binding()).await.unwrap_err()
}

#[tokio::test]
async fn only_the_token_and_the_namespace_of_the_settings_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    for namespace in [None, Some("team/eu".to_owned())] {
        let stand_in = StandIn::start(|_| vault_says(400, "enough")).await;
        let mut settings = settings(&stand_in.address, "keypod", token_file(&folder));
        settings.namespace.clone_from(&namespace);
        let _ = open(&settings).wrap(&secret(), binding()).await.unwrap_err();
        let asked = stand_in.asked("/v1/transit/encrypt/keypod");
        let [Asked { headers, body, .. }] = asked.as_slice() else { panic!("{asked:?}") };
        let header = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("x-vault-namespace"), namespace);
        assert_eq!(header("x-vault-token").as_deref(), Some("hvs.canary-token"));
        assert_eq!(header("x-vault-request").as_deref(), Some("true"));
        assert_eq!(body["associated_data"], STANDARD.encode(binding().to_bytes()));
        assert_eq!(body["plaintext"], STANDARD.encode([0x5a; 32]));
        assert_eq!(body.as_object().unwrap().len(), 2);
    }
}

/// `vaultrs` and HTTP clients would take these; the test above must hold with them.
#[test]
fn nothing_is_taken_from_the_environment() {
    let nobody = "http://127.0.0.1:1";
    let test =
        concat!(module_path!(), "::only_the_token_and_the_namespace_of_the_settings_are_sent");
    let test = test.split_once("::").unwrap().1;
    let mut run = std::process::Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", test]);
    for (name, value) in [
        ("VAULT_ADDR", nobody),
        ("VAULT_TOKEN", "hvs.of-the-environment"),
        ("VAULT_NAMESPACE", "of-the-environment"),
        ("VAULT_CACERT", "/nowhere"),
        ("VAULT_SKIP_VERIFY", "1"),
        ("HTTP_PROXY", nobody),
        ("http_proxy", nobody),
        ("ALL_PROXY", nobody),
        ("all_proxy", nobody),
    ] {
        run.env(name, value);
    }
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let elsewhere = StandIn::start(|_| (200, Vec::new(), "{}".to_owned())).await;
    for status in [301, 302, 307, 308] {
        let location = format!("{}/v1/transit/encrypt/keypod", elsewhere.address);
        let error =
            answered(move |_| (status, vec![("location", location.clone())], String::new())).await;
        assert!(matches!(error, RootError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("redirect"), "{error}");
    }
    assert!(elsewhere.everything().is_empty());
}

#[tokio::test]
async fn what_is_not_vaults_answer_passes_by_itself() {
    for status in [400, 403, 404, 405, 500, 502, 504] {
        let error = answered(move |_| (status, Vec::new(), "<html>denied</html>".to_owned())).await;
        assert!(matches!(error, RootError::Unavailable { .. }), "{status}: {error:?}");
        assert!(error.to_string().contains("not by Vault"), "{error}");
    }
    for text in ["", "<html>", "{}", r#"{"data":{}}"#, r#"{"data":{"ciphertext":7}}"#] {
        let error = answered(|_| (200, Vec::new(), text.to_owned())).await;
        assert!(matches!(error, RootError::Unavailable { .. }), "{text}: {error:?}");
    }
    let endless = answered(|_| (200, Vec::new(), "x".repeat(1024 * 1024))).await;
    assert!(endless.to_string().contains("more than"), "{endless}");
}

#[tokio::test]
async fn states_of_the_server_pass_by_themselves_and_say_what_to_do() {
    let cases = [
        (503, "Vault is sealed", "unseal it"),
        (503, "server is not yet initialized", "vault operator init"),
        (472, "", "a standby answered"),
        (473, "", "a standby answered"),
        (412, "required index state not present", "a standby answered"),
        (500, "internal error", "it answered 500: internal error"),
        (502, "bad gateway", "it answered 502"),
        (501, "not implemented", "it answered 501"),
    ];
    for (status, said, wanted) in cases {
        let error = answered(move |_| vault_says(status, said)).await;
        assert!(matches!(error, RootError::Unavailable { .. }), "{status}: {error:?}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let busy = |_: &Asked| (429, vec![("retry-after", "7".to_owned())], "{}".to_owned());
    let Err(RootError::Throttled { retry_after, .. }) = Err::<(), _>(answered(busy).await) else {
        panic!()
    };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_ciphertext_that_vault_would_not_write_is_not_kept() {
    let odd = ["vault:v01:AAAA", "vault:v1:AAAA", "plain", "vault:v1:"];
    for odd in odd {
        let answer = json!({
            "request_id": "", "lease_id": "", "renewable": false, "lease_duration": 0,
            "data": {"ciphertext": odd},
        });
        let error = answered(move |_| (200, Vec::new(), answer.to_string())).await;
        assert!(matches!(error, RootError::Unusable { .. }), "{odd}: {error:?}");
    }
}

#[tokio::test]
async fn a_plaintext_that_is_no_key_is_corrupt() {
    let wrapped = WrappedKey::from_bytes(NOBODYS.as_bytes().to_vec());
    for plaintext in [
        String::new(),
        STANDARD.encode([1; 31]),
        STANDARD.encode([1; 33]),
        "?".repeat(44),
        "x".repeat(4000),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let answer = json!({
            "request_id": "", "lease_id": "", "renewable": false, "lease_duration": 0,
            "data": {"plaintext": plaintext},
        });
        let stand_in = StandIn::start(move |_| (200, Vec::new(), answer.to_string())).await;
        let root = open(&settings(&stand_in.address, "keypod", token_file(&folder)));
        let error = root.unwrap_key(&wrapped, binding()).await.unwrap_err();
        assert!(matches!(error, RootError::Corrupt { .. }), "{plaintext}: {error:?}");
    }
}

#[tokio::test]
async fn a_login_that_fails_fails_once_for_all_who_wait() {
    let folder = tempfile::tempdir().unwrap();
    let stand_in = StandIn::start(|_| vault_says(503, "Vault is sealed")).await;
    let root = open(&settings(&stand_in.address, "keypod", approle(&folder)));
    let secret = secret();
    let calls = (0..32).map(|_| root.wrap(&secret, binding()));
    for outcome in join_all(calls).await {
        assert!(matches!(outcome, Err(RootError::Unavailable { .. })), "{outcome:?}");
    }
    assert_eq!(stand_in.everything().len(), 1);
    let _ = root.wrap(&secret, binding()).await.unwrap_err();
    assert_eq!(stand_in.asked("/v1/auth/team/approle/login").len(), 2, "the next call tries again");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&address, "keypod", token_file(&folder));
    let root = VaultRoot::open(&settings, Duration::from_millis(50), &arena()).unwrap();
    let error = root.wrap(&secret(), binding()).await.unwrap_err();
    assert!(matches!(error, RootError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("no answer in time"), "{error}");
}

/// A server that repeats all that it was sent, in each of its answers.
fn echo(status: u16) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    move |asked| {
        let said = format!("{:?} {}", asked.headers, asked.body);
        let token = asked.headers.get("x-vault-token").map(|value| value.to_str().unwrap());
        vault_says(status, &format!("{said} {}", token.unwrap_or_default()))
    }
}

#[tokio::test]
async fn no_token_secret_or_jwt_is_in_an_error_or_in_debug() {
    let folder = tempfile::tempdir().unwrap();
    let jwt = VaultAuth::Kubernetes {
        mount: "kubernetes".to_owned(),
        role: "keypod".to_owned(),
        token_file: private_file(&folder, "jwt", "canary-jwt"),
    };
    for status in [400, 403, 404, 500, 501, 503] {
        for auth in [token_file(&folder), approle(&folder), jwt.clone()] {
            let stand_in = StandIn::start(echo(status)).await;
            let root = open(&settings(&stand_in.address, "keypod", auth));
            let wrapped = WrappedKey::from_bytes(NOBODYS.as_bytes().to_vec());
            let errors = [
                root.wrap(&secret(), binding()).await.map(drop).unwrap_err(),
                root.unwrap_key(&wrapped, binding()).await.map(drop).unwrap_err(),
                root.check("test").await.map(drop).unwrap_err(),
            ];
            let plaintext = STANDARD.encode([0x5a; 32]);
            for error in errors {
                let text =
                    format!("{error:?} {root:?} {}", crate::error_chain::error_chain(&error));
                assert!(!text.contains("canary"), "{status}: {text}");
                assert!(!text.contains(&plaintext), "{status}: {text}");
            }
            assert!(!stand_in.everything().is_empty());
        }
    }
}
