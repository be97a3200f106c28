//! Signed tokens of real issuers, good and forged, at a real sidecar: people of Vault's OpenID Connect provider, and
//! service accounts of a real API server of Kubernetes.

mod account;
mod accounts;
mod people;
mod person;

pub(crate) use account::{Account, own_token};
pub(crate) use person::Person;

use keypod_tests::{Answer, Client, Sidecar, SidecarBuilder};
use serde_json::{Value, json};

/// The configuration that has a sidecar believe these issuers.
pub(crate) fn identity(issuers: &str) -> String {
    format!("[identity]\nrefresh_after = \"1s\"\n{issuers}")
}

/// A sidecar with these issuers, where `policy` decides and `demo` is a key.
async fn sidecar(issuers: &str, policy: &str) -> Sidecar {
    builder(issuers, policy).start().await
}

fn builder(issuers: &str, policy: &str) -> SidecarBuilder {
    let builder = SidecarBuilder::new().key("demo");
    let folder = builder.folder().join("policies");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("tokens.cedar"), policy).unwrap();
    let section =
        format!("{}\n[policy]\nfolder = {:?}", identity(issuers), folder.to_str().unwrap());
    builder.config(&section)
}

fn both_ways(sidecar: &Sidecar, token: &str) -> [Client; 2] {
    [Client::tcp(sidecar.tcp(), Some(token)), Client::unix(&sidecar.socket(), Some(token))]
}

/// The answer's body without its request id, which is a refusal for want of a caller.
fn unauthenticated(answer: &Answer) -> Value {
    answer.assert_problem(401, "unauthenticated");
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    body
}

/// What comes to who shows nothing at all.
async fn stranger(sidecar: &Sidecar) -> Value {
    unauthenticated(&Client::tcp(sidecar.tcp(), None).get("/v1/status").await)
}

/// Checks that `token` is refused on both ways in, with the very words that a stranger gets.
async fn assert_refused(sidecar: &Sidecar, token: &str, what: &str) {
    assert_all_refused(sidecar, &[(what, token.to_owned())]).await;
}

/// The same for each of these, all at once: refusals of one user are answered slower and slower.
async fn assert_all_refused(sidecar: &Sidecar, tokens: &[(&str, String)]) {
    let stranger = stranger(sidecar).await;
    let each = tokens.iter().flat_map(|(what, token)| {
        both_ways(sidecar, token)
            .map(|client| async move { (what, unauthenticated(&client.get("/v1/status").await)) })
    });
    for (what, answer) in futures_util::future::join_all(each).await {
        assert_eq!(answer, stranger, "{what}");
    }
}

/// Checks that no part of `token` is in the log.
fn assert_not_logged(sidecar: &Sidecar, token: &str) {
    let log = sidecar.log();
    for part in token.split('.').filter(|part| part.len() > 8) {
        let (head, tail) = (&part[..part.len() / 2], &part[part.len() / 2..]);
        assert!(!log.contains(head) && !log.contains(tail), "a part of a token is in the log");
    }
}

async fn decrypts(client: &Client, sealed: &str) -> u16 {
    client.try_decrypt(sealed, &json!({})).await.status
}
