//! Every record of the FHIR data goes through every way of encrypting and comes back byte for byte, across a
//! rotation and a restart.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, stream};
use keypod_tests::{Client, Sidecar, fhir_resources, skip};
use serde_json::{Value, json};

/// Requests at once.
const CONCURRENT: usize = 8;

/// The records, or nothing and a loud word about it.
fn records() -> Option<Vec<String>> {
    let records = fhir_resources();
    if records.is_none() {
        skip("no folder of FHIR records: set KEYPOD_TEST_DATA, or put it at ../shared/data");
    }
    records
}

fn context(record: &str) -> Value {
    let record: Value = serde_json::from_str(record).unwrap();
    json!({ "type": record["resourceType"], "id": record["id"] })
}

/// One message each, in JSON.
async fn encrypt_each(client: &Client, records: &[String]) -> Vec<String> {
    let sealed = stream::iter(records).map(|record| async move {
        client.encrypt("demo", record.as_bytes(), &context(record)).await
    });
    sealed.buffered(CONCURRENT).collect().await
}

async fn decrypt_each(client: &Client, texts: &[String], records: &[String]) {
    let opened = stream::iter(texts.iter().zip(records)).map(|(text, record)| async move {
        assert_eq!(client.decrypt(text, &context(record)).await, record.as_bytes());
    });
    opened.buffered(CONCURRENT).collect::<Vec<()>>().await;
}

/// A batch for so many records that none is larger than a body may be.
async fn encrypt_in_batches(client: &Client, records: &[String]) -> Vec<String> {
    let mut texts = Vec::new();
    for records in records.chunks(500) {
        let item = |record: &String| json!({ "plaintext": STANDARD.encode(record), "context": context(record) });
        let items: Vec<_> = records.iter().map(item).collect();
        let body = json!({ "key": "demo", "items": items });
        let answer = client.post_json("/v1/encrypt/batch", &body).await.json();
        let items = answer["items"].as_array().unwrap();
        texts.extend(items.iter().map(|item| item["ciphertext"].as_str().unwrap().to_owned()));
    }
    texts
}

async fn decrypt_in_batches(client: &Client, texts: &[String], records: &[String]) {
    for (texts, records) in texts.chunks(500).zip(records.chunks(500)) {
        let item = |(text, record): (&String, &String)| json!({ "ciphertext": text, "context": context(record) });
        let items: Vec<_> = texts.iter().zip(records).map(item).collect();
        let answer = client.post_json("/v1/decrypt/batch", &json!({ "items": items })).await;
        let answer = answer.json();
        for (item, record) in answer["items"].as_array().unwrap().iter().zip(records) {
            assert_eq!(item["plaintext"], STANDARD.encode(record), "{item}");
        }
    }
}

/// All records as one body of octets.
async fn encrypt_streamed(client: &Client, whole: &[u8]) -> Vec<u8> {
    let context = json!({ "tenant": "clinic-7" });
    let sealed = client.post_chunked("/v1/encrypt?key=demo", &context, whole.to_vec()).await;
    assert_eq!((sealed.status, sealed.body[1]), (200, 2));
    sealed.body
}

async fn decrypt_streamed(client: &Client, sealed: &[u8], whole: &[u8]) {
    let context = json!({ "tenant": "clinic-7" });
    let opened = client.post_octets("/v1/decrypt", &context, sealed.to_vec()).await;
    assert!(opened.status == 200 && opened.body == whole, "{}", opened.status);
}

#[tokio::test]
async fn every_record_comes_back_byte_for_byte_across_a_rotation_and_a_restart() {
    let Some(records) = records() else { return };
    let mut sidecar = Sidecar::start().await;
    let whole = records.join("\n").into_bytes();
    let client = sidecar.client();
    let single = encrypt_each(&client, &records).await;
    let batch = encrypt_in_batches(&client, &records).await;
    let streamed = encrypt_streamed(&client, &whole).await;
    assert_eq!((single.len(), batch.len()), (records.len(), records.len()));
    let rotated = client.post_json("/v1/rotate", &json!({ "key": "demo" })).await;
    assert_eq!(rotated.json()["key_version"], 2);
    // What one way sealed, another opens; each is opened once before and once after the restart.
    decrypt_in_batches(&client, &single, &records).await;
    decrypt_streamed(&client, &streamed, &whole).await;
    assert!(sidecar.stop().await.success(), "{}", sidecar.log());
    sidecar.restart().await;
    let client = sidecar.client();
    decrypt_each(&client, &batch, &records).await;
    decrypt_in_batches(&client, &batch, &records).await;
    decrypt_streamed(&client, &streamed, &whole).await;
}

#[tokio::test]
async fn every_record_streamed_by_itself_comes_back() {
    let Some(records) = records() else { return };
    let sidecar = Sidecar::start().await;
    let client = &sidecar.client();
    let through = stream::iter(&records).map(|record| async move {
        let (record, context) = (record.clone().into_bytes(), context(record));
        let sealed = client.post_octets("/v1/encrypt?key=demo", &context, record.clone()).await;
        assert_eq!(
            (sealed.status, sealed.body[1]),
            (200, if record.len() > 65_536 { 2 } else { 1 })
        );
        let opened = client.post_chunked("/v1/decrypt", &context, sealed.body).await;
        assert!(opened.status == 200 && opened.body == record, "{context}");
    });
    through.buffered(CONCURRENT).collect::<Vec<()>>().await;
}
