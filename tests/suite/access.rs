//! Who may do what: default deny, proofs of who is calling, and which way they may come.

mod entry;
mod guesses;
mod proof;

use keypod_tests::{Answer, Client, SidecarBuilder};
use serde_json::{Value, json};

/// One request for each action and each way to ask for it: what it needs, and the answer of who may.
struct Ask {
    action: &'static str,
    path: &'static str,
    /// `None`: a `GET`.
    body: Option<Value>,
    octets: Option<Vec<u8>>,
    allowed: u16,
}

fn ask(action: &'static str, path: &'static str, body: Value, allowed: u16) -> Ask {
    Ask { action, path, body: Some(body), octets: None, allowed }
}

fn octets(action: &'static str, path: &'static str, octets: Vec<u8>) -> Ask {
    Ask { action, path, body: None, octets: Some(octets), allowed: 200 }
}

fn look(action: &'static str, path: &'static str) -> Ask {
    Ask { action, path, body: None, octets: None, allowed: 200 }
}

async fn asks(admin: &Client) -> Vec<Ask> {
    let text = admin.encrypt("demo", b"hello", &json!({})).await;
    let long = vec![7; 70_000];
    let sealed = admin.post_octets("/v1/encrypt?key=demo", &json!({}), long.clone()).await.body;
    vec![
        ask("encrypt", "/v1/encrypt", json!({ "key": "demo", "plaintext": "" }), 200),
        ask(
            "encrypt",
            "/v1/encrypt/batch",
            json!({ "key": "demo", "items": [{ "plaintext": "" }] }),
            200,
        ),
        octets("encrypt", "/v1/encrypt?key=demo", vec![1]),
        octets("encrypt", "/v1/encrypt?key=demo", long),
        ask("decrypt", "/v1/decrypt", json!({ "ciphertext": text }), 200),
        octets("decrypt", "/v1/decrypt", sealed.clone()),
        ask("rewrap", "/v1/rewrap", json!({ "ciphertext": text }), 200),
        octets("rewrap", "/v1/rewrap", sealed),
        // What is allowed goes on to the next question: the key is there already, the confirmation is wrong.
        ask("create_key", "/v1/keys", json!({ "name": "demo" }), 409),
        look("read_key", "/v1/keys/demo"),
        ask("rotate", "/v1/rotate", json!({ "key": "demo" }), 200),
        ask("set_state", "/v1/keys/demo/versions/1/state", json!({ "state": "enabled" }), 200),
        ask("destroy", "/v1/keys/demo/versions/1/destroy", json!({ "confirm": "" }), 400),
        ask("destroy", "/v1/keys/demo/versions/1/destroy/cancel", json!({}), 409),
        look("read_status", "/v1/status"),
        ask("audit_hash", "/v1/audit/hash", json!({ "subject": "patient-4711" }), 200),
        ask("break_glass", "/v1/emergency", json!({ "reason": "why it is", "minutes": 1 }), 400),
    ]
}

async fn send(client: &Client, ask: &Ask) -> Answer {
    match (&ask.body, &ask.octets) {
        (_, Some(octets)) => client.post_octets(ask.path, &json!({}), octets.clone()).await,
        (Some(body), None) => client.post_json(ask.path, body).await,
        (None, None) => client.get(ask.path).await,
    }
}

#[tokio::test]
async fn each_action_needs_its_own_permission_and_no_other_helps() {
    let actions: Vec<_> = keypod::policy::Action::ALL.map(|action| action.as_str()).into();
    let mut builder = SidecarBuilder::new().key("demo").caller("nobody", "", r#""*""#);
    for action in &actions {
        let others: Vec<_> = actions.iter().filter(|other| *other != action).collect();
        let others = format!("{others:?}").replace(['[', ']'], "");
        builder = builder
            .caller(&format!("only-{action}"), &format!("{action:?}"), r#""demo""#)
            .caller(&format!("all-but-{action}"), &others, r#""*""#)
            .caller(&format!("elsewhere-{action}"), &format!("{action:?}"), r#""demo2", "dem""#);
    }
    let sidecar = builder.start().await;
    let asks = asks(&sidecar.client()).await;
    for action in &actions {
        assert!(asks.iter().any(|ask| ask.action == *action), "nothing asks for {action}");
        let only = sidecar.client_of(&format!("only-{action}"));
        let all_but = sidecar.client_of(&format!("all-but-{action}"));
        for ask in &asks {
            let (permitted, other) =
                if ask.action == *action { (&only, &all_but) } else { (&all_but, &only) };
            let answer = send(permitted, ask).await;
            assert_eq!(answer.status, ask.allowed, "{} {}", ask.path, answer.code());
            send(other, ask).await.assert_problem(403, "forbidden");
        }
        // An action on the sidecar itself is about no key.
        let elsewhere = sidecar.client_of(&format!("elsewhere-{action}"));
        for ask in asks.iter().filter(|ask| {
            ask.action == *action
                && !["/v1/status", "/v1/emergency", "/v1/audit/hash"].contains(&ask.path)
        }) {
            send(&elsewhere, ask).await.assert_problem(403, "forbidden");
        }
    }
    for ask in &asks {
        send(&sidecar.client_of("nobody"), ask).await.assert_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn lists_hold_what_the_caller_may_see() {
    let sidecar = SidecarBuilder::new()
        .config("[keys]\nsecond_person = true")
        .caller("clinic", r#""read_key", "destroy""#, r#""clinic-*""#)
        .caller("blind", r#""encrypt""#, r#""*""#)
        .key("clinic-7")
        .key("orders")
        .start()
        .await;
    for key in ["clinic-7", "orders"] {
        let path = format!("/v1/keys/{key}/versions/1/destroy");
        let body = json!({ "confirm": format!("{key}/1") });
        assert_eq!(sidecar.client().post_json(&path, &body).await.status, 202);
    }
    let seen = async |caller: &str, path: &str, list: &str, field: &str| {
        let answer = sidecar.client_of(caller).get(path).await.json();
        let list = answer[list].as_array().unwrap().clone();
        list.iter().map(|row| row[field].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // The key that the sidecar made for itself is seen by who may see every key, and by nobody else.
    for (caller, keys, expected) in [
        ("admin", vec!["clinic-7", "keypod.audit", "orders"], vec!["clinic-7", "orders"]),
        ("clinic", vec!["clinic-7"], vec!["clinic-7"]),
        ("blind", vec![], vec![]),
    ] {
        assert_eq!(seen(caller, "/v1/keys", "keys", "name").await, keys);
        let mut waiting = seen(caller, "/v1/approvals", "approvals", "key").await;
        waiting.sort();
        assert_eq!(waiting, expected);
    }
}

#[tokio::test]
async fn a_denial_names_the_caller_in_the_log_and_not_in_the_answer() {
    let sidecar = SidecarBuilder::new().caller("orders", "", "").key("demo").start().await;
    let denied = sidecar.client_of("orders").get("/v1/keys/demo").await;
    denied.assert_problem(403, "forbidden");
    assert!(!String::from_utf8_lossy(&denied.body).contains("orders"));
    let line = sidecar.log().lines().find(|line| line.contains("denied")).unwrap().to_owned();
    assert!(
        line.contains("orders") && line.contains("read_key") && line.contains("demo"),
        "{line}"
    );
}
