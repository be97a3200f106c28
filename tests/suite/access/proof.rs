//! How a caller proves who they are: tokens, and the peer's user on the socket.

use keypod_tests::{Client, Sidecar, SidecarBuilder, WAIT_MAX};
use serde_json::json;

const TOKEN: &str = "admin-token-0123456789abcdefghij";

/// The status of `GET /v1/status` with these `Authorization` headers.
async fn status(client: &Client, headers: &[&str]) -> u16 {
    let mut request = client.request("GET", "/v1/status");
    for header in headers {
        request = request.header("authorization", *header);
    }
    let answer = client.send(request).await;
    if answer.status != 200 {
        answer.assert_problem(401, "unauthenticated");
    }
    answer.status
}

#[tokio::test]
async fn only_one_right_bearer_token_is_a_proof() {
    let good = format!("Bearer {TOKEN}");
    for over_tcp in [true, false] {
        // Each way in has its sidecar: many refusals of one user are answered slower and slower.
        let sidecar = Sidecar::start().await;
        let unix = Client::unix(&sidecar.socket(), None);
        let client = if over_tcp { Client::tcp(sidecar.tcp(), None) } else { unix };
        assert_eq!(status(&client, &[&good]).await, 200);
        assert_eq!(status(&client, &[&good.replace("Bearer", "bearer")]).await, 200);
        for bad in [
            TOKEN,
            "Bearer",
            "Bearer ",
            "Bearer admin",
            &format!("Bearer {TOKEN}x"),
            &format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]),
            &format!("Bearer {}", TOKEN.to_uppercase()),
            &format!("Bearer {TOKEN} {TOKEN}"),
            &format!("Basic {TOKEN}"),
            &format!("Bearer {}", "x".repeat(5_000)),
        ] {
            assert_eq!(status(&client, &[bad]).await, 401, "{bad}");
        }
        assert_eq!(status(&client, &[&good, &good]).await, 401);
        assert_eq!(status(&client, &[]).await, 401);
    }
}

#[tokio::test]
async fn the_peers_user_is_a_proof_on_the_socket_and_nowhere_else() {
    let uid = rustix::process::geteuid().as_raw();
    let caller = format!(
        "[[callers]]\nname = \"peer\"\nuid = {uid}\noperations = [\"read_key\"]\nkeys = [\"demo\"]"
    );
    let sidecar = SidecarBuilder::new().config(&caller).key("demo").start().await;
    let socket = Client::unix(&sidecar.socket(), None);
    assert_eq!(socket.get("/v1/keys/demo").await.status, 200);
    socket.get("/v1/status").await.assert_problem(403, "forbidden");
    let two = Client::unix_http2(&sidecar.socket(), None);
    assert_eq!(two.get("/v1/keys/demo").await.status, 200);
    let tcp = Client::tcp(sidecar.tcp(), None);
    tcp.get("/v1/keys/demo").await.assert_problem(401, "unauthenticated");
    // Who shows a token is who the token says, or nobody.
    let admin = Client::unix(&sidecar.socket(), Some(TOKEN));
    assert_eq!(admin.get("/v1/status").await.status, 200);
    let wrong = Client::unix(&sidecar.socket(), Some("wrong-token-0123456789abcdefghij"));
    wrong.get("/v1/keys/demo").await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn another_user_is_not_the_peer_that_is_allowed() {
    let other = rustix::process::geteuid().as_raw() + 1;
    let caller =
        format!("[[callers]]\nname = \"other\"\nuid = {other}\noperations = [\"read_status\"]");
    let sidecar = SidecarBuilder::new().config(&caller).start().await;
    let socket = Client::unix(&sidecar.socket(), None);
    socket.get("/v1/status").await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_token_file_that_changes_is_read_again() {
    let sidecar = Sidecar::start().await;
    let old = sidecar.client();
    let new = Client::tcp(sidecar.tcp(), Some("another-token-0123456789abcdefg"));
    let beside = sidecar.folder().join("new.token");
    std::fs::write(&beside, "another-token-0123456789abcdefg\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&beside, sidecar.token_file("admin")).unwrap();
    let taken = tokio::time::timeout(WAIT_MAX, async {
        while new.get("/v1/status").await.status != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    taken.await.expect("the new token is taken in time");
    old.get("/v1/status").await.assert_problem(401, "unauthenticated");
    new.encrypt("demo", b"the key is the same", &json!({})).await;
}

#[tokio::test]
async fn a_token_file_that_cannot_be_used_keeps_a_sidecar_from_starting() {
    let builder = SidecarBuilder::new();
    builder.write();
    for (token, mode) in
        [("short", 0o600), ("with space 0123456789abcdefghij", 0o600), (TOKEN, 0o604)]
    {
        use std::os::unix::fs::PermissionsExt;
        let file = builder.folder().join("admin.token");
        std::fs::write(&file, token).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let (status, text) = builder.run_serve(&[]);
        assert_eq!(status.code(), Some(78), "{text}");
        assert!(text.contains("admin.token") && !text.contains(token), "{text}");
    }
}
