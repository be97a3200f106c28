use serde_json::json;

use super::*;
use crate::cli::testing::{Answer, Sidecar};

#[tokio::test]
async fn json_goes_out_and_comes_back_with_the_headers_of_every_request() {
    let sidecar = Sidecar::start(|request| {
        let header = |name: &str| request.headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("host"), "localhost");
        assert_eq!(header("content-type"), "application/json");
        Answer::json(201, &serde_json::from_slice(&request.body).unwrap())
    });
    let body = json!({ "name": "demo" });
    let mut client = sidecar.client();
    for _ in 0..3 {
        assert_eq!(client.post("/v1/keys", Some(&body)).await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_post_without_a_body_has_the_length_zero() {
    let sidecar = Sidecar::start(|request| {
        let length = request.headers.get("content-length").unwrap().to_str().unwrap();
        Answer::json(200, &json!({ "length": length, "body": request.body }))
    });
    let answer = sidecar.client().post("/v1/approvals/a", None).await.unwrap();
    assert_eq!(answer, json!({ "length": "0", "body": [] }));
}

#[tokio::test]
async fn a_problem_becomes_an_error_with_its_code() {
    let sidecar = Sidecar::start(|_| Answer::problem(404, "key_not_found"));
    let error = sidecar.client().read("/v1/keys/x").await.unwrap_err();
    assert_eq!(error.downcast_ref().map(Problem::code), Some("key_not_found"));
    assert_eq!(error.to_string(), "Refused (key_not_found, request r1)");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let sidecar = Sidecar::start(|_| Answer::json(200, &json!({})).breaking_off());
    let error = sidecar.client().read("/v1/status").await.unwrap_err();
    assert!(format!("{error:#}").contains("broke off"), "{error:#}");
}

#[tokio::test]
async fn a_refusal_before_the_body_was_read_is_still_understood() {
    let sidecar = Sidecar::refusing(403, "forbidden");
    let request = Request::post("/v1/encrypt").body(whole(Zeroizing::new(vec![0; 8 << 20])));
    let error = sidecar.client().send(request.unwrap()).await.unwrap_err();
    assert_eq!(error.downcast_ref().map(Problem::code), Some("forbidden"), "{error:#}");
}

#[tokio::test]
async fn nobody_listening_is_said_with_what_to_do() {
    let endpoint = Endpoint::on_socket("/nonexistent/keypod.sock".as_ref());
    let error = Client::of(endpoint).read("/").await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no sidecar listens on /nonexistent/keypod.sock"), "{text}");
    assert!(text.contains("keypod dev"), "{text}");
}
