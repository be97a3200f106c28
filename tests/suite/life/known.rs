//! What the clients of the kill test were told, and whether it still is so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keypod_tests::{Client, Sidecar};
use serde_json::{Value, json};

/// Messages that one crash may over-count: a block, and what was in flight.
const OVER_COUNT_MAX: u64 = (1 << 17) + 100;

/// A ciphertext that a client was given.
pub(super) struct Sealed {
    pub(super) key: String,
    pub(super) version: u64,
    pub(super) ciphertext: String,
    pub(super) plaintext: Vec<u8>,
}

/// Everything that was acknowledged.
#[derive(Default)]
pub(super) struct Known(Mutex<Facts>);

#[derive(Default)]
pub(super) struct Facts {
    /// The highest version of each key.
    pub(super) keys: BTreeMap<String, u64>,
    pub(super) sealed: Vec<Sealed>,
    /// Messages and bytes of each version.
    usage: BTreeMap<(String, u64), (u64, u64)>,
    /// The states that version 1 of the key `states` may be in: the last that was acknowledged, and one that
    /// was asked for since.
    pub(super) states: BTreeSet<&'static str>,
}

impl Known {
    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap()
    }

    pub(super) fn sealed(&self, sealed: Sealed) {
        let mut facts = self.facts();
        let usage = facts.usage.entry((sealed.key.clone(), sealed.version)).or_default();
        usage.0 += 1;
        usage.1 += sealed.plaintext.len() as u64;
        facts.sealed.push(sealed);
    }

    /// Panics if anything that was acknowledged is not so any more, after this many crashes.
    pub(super) async fn check(&self, sidecar: &Sidecar, crashes: u64) {
        let client = sidecar.client();
        let listed = client.get("/v1/keys").await.json();
        let keys: BTreeMap<&str, &Value> = listed["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| (key["name"].as_str().unwrap(), key))
            .collect();
        self.check_rows(&keys, crashes);
        self.check_ciphertexts(&client).await;
    }

    fn check_rows(&self, keys: &BTreeMap<&str, &Value>, crashes: u64) {
        let facts = self.facts();
        for (name, version) in &facts.keys {
            let key = keys.get(name.as_str()).unwrap_or_else(|| panic!("the key {name} is lost"));
            let primary = key["primary_version"].as_u64().unwrap();
            assert!(primary >= *version, "version {version} of {name} is lost: {key}");
            assert_eq!(key["versions"].as_array().unwrap().len() as u64, primary, "{key}");
        }
        for ((name, version), (messages, bytes)) in &facts.usage {
            let index = usize::try_from(*version - 1).unwrap();
            let stored = &keys[name.as_str()]["versions"][index];
            let count = |field: &str| stored[field].as_u64().unwrap();
            assert!(count("messages_used") >= *messages, "{name}: {stored} counts too little");
            assert!(count("bytes_used") >= *bytes, "{name}: {stored} counts too little");
            let most = messages + crashes * OVER_COUNT_MAX;
            assert!(count("messages_used") <= most, "{name}: {stored} counts more than {most}");
        }
        let state = keys["states"]["versions"][0]["state"].as_str().unwrap();
        assert!(facts.states.contains(state), "{state} is none of {:?}", facts.states);
    }

    async fn check_ciphertexts(&self, client: &Client) {
        let (items, expected): (Vec<_>, Vec<_>) = {
            let facts = self.facts();
            let item = |sealed: &Sealed| {
                (json!({ "ciphertext": sealed.ciphertext }), STANDARD.encode(&sealed.plaintext))
            };
            facts.sealed.iter().map(item).unzip()
        };
        for (items, expected) in items.chunks(500).zip(expected.chunks(500)) {
            let answer = client.post_json("/v1/decrypt/batch", &json!({ "items": items })).await;
            let opened = answer.json();
            let opened = opened["items"].as_array().unwrap();
            assert_eq!(opened.len(), items.len());
            for ((opened, expected), sealed) in opened.iter().zip(expected).zip(items) {
                assert_eq!(opened["plaintext"], **expected, "{sealed} is lost: {opened}");
            }
        }
    }
}
