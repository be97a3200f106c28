//! What the running sidecar says of itself at `/openapi.json`, against the page that other programs are
//! written for (`tests/contract/API.md`).

mod page;

use std::collections::{BTreeMap, BTreeSet};

use keypod_tests::{Client, Sidecar};
use page::{Fields, Page};
use serde_json::Value;

/// Served by later versions: each is taken out of here when it comes.
const ROUTES_TO_COME: [&str; 1] = ["POST /v1/erase"];
const CODES_TO_COME: [&str; 1] = ["subject_erased"];

async fn served(sidecar: &Sidecar) -> Value {
    let answer = sidecar.client().get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    answer.json()
}

/// `METHOD /path` of every operation, and the operation.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.insert(format!("{} {path}", method.to_ascii_uppercase()), operation);
        }
    }
    operations
}

#[tokio::test]
async fn the_description_has_the_routes_of_the_page_and_no_other() {
    let document = served(&Sidecar::start().await).await;
    let served: BTreeSet<_> = operations(&document).into_keys().collect();
    let mut expected: BTreeSet<_> = Page::read().routes.into_iter().map(|row| row.route).collect();
    for route in ROUTES_TO_COME {
        assert!(expected.remove(route), "{route} is no longer on the page");
    }
    expected.insert("GET /openapi.json".to_owned());
    assert_eq!(served, expected);
}

#[tokio::test]
async fn the_description_has_the_codes_of_the_page_with_their_statuses() {
    let document = served(&Sidecar::start().await).await;
    let mut described = BTreeSet::new();
    for operation in operations(&document).values() {
        for (status, response) in operation["responses"].as_object().unwrap() {
            if response["content"].get("application/problem+json").is_some() {
                let header = |name| response["headers"].get(name).is_some();
                assert_eq!(header("Retry-After"), status == "429" || status == "503");
                assert_eq!(header("Allow"), status == "405");
                assert_eq!(header("WWW-Authenticate"), status == "401");
                let codes = response["description"].as_str().unwrap().split(", ");
                described.extend(codes.map(|code| (status.clone(), code.to_owned())));
            }
        }
    }
    let mut expected = Page::read().codes;
    let before = expected.len();
    expected.retain(|(_, code)| !CODES_TO_COME.contains(&code.as_str()));
    assert_eq!(before - expected.len(), CODES_TO_COME.len());
    assert_eq!(described, expected);
    let listed = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    let listed: BTreeSet<_> = listed.iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(listed, expected.iter().map(|(_, code)| code.as_str()).collect());
}

/// The fields of a schema, those of items too, and whether each may be left out.
fn fields(document: &Value, schema: &Value, prefix: &str, found: &mut Fields) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return fields(document, schema, prefix, found);
    }
    for one_of in schema["oneOf"].as_array().into_iter().flatten() {
        fields(document, one_of, prefix, found);
    }
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        if property["items"].is_object() {
            fields(document, &property["items"], &format!("{path}[]."), found);
        }
        found.insert(path, !required.contains(&Value::from(name.as_str())));
    }
}

#[tokio::test]
async fn bodies_and_answers_have_the_fields_of_the_page() {
    let document = served(&Sidecar::start().await).await;
    let operations = operations(&document);
    let mut compared = 0;
    for row in Page::read().routes {
        let Some(operation) = operations.get(&row.route) else { continue };
        let answer =
            ["202", "201", "200"].iter().find_map(|status| operation["responses"].get(status));
        for (expected, message, takes_more) in
            [(row.body, &operation["requestBody"], true), (row.answer, answer.unwrap(), false)]
        {
            let Some(expected) = expected else { continue };
            let schema = &message["content"]["application/json"]["schema"];
            let mut found = Fields::new();
            fields(&document, schema, "", &mut found);
            for (name, optional) in &expected {
                assert_eq!(found.remove(name), Some(*optional), "{} {name}", row.route);
            }
            let more = found.values().all(|optional| *optional && takes_more);
            assert!(more, "{} has {found:?}, which the page has not", row.route);
            compared += 1;
        }
    }
    assert!(compared >= 14, "only {compared} bodies were found on the page");
}

#[tokio::test]
async fn the_description_is_the_same_on_every_transport_and_needs_a_caller() {
    let sidecar = Sidecar::start().await;
    let document = served(&sidecar).await;
    let socket = Client::unix(&sidecar.socket(), Some("admin-token-0123456789abcdefghij"));
    assert_eq!(socket.get("/openapi.json").await.json(), document);
    let stranger = Client::tcp(sidecar.tcp(), None);
    stranger.get("/openapi.json").await.assert_problem(401, "unauthenticated");
    assert_eq!(document["openapi"], "3.1.0");
}
