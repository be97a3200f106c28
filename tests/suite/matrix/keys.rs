//! The keys of the matrix: one in each state for all who only look, and one for each cell that may change it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use keypod_tests::{Client, Sidecar};
use serde_json::{Value, json};

use super::asks::{Ask, destroy, set_state};
use super::callers::{Site, Who};
use super::{AT_ONCE, Answers, Cell};

/// The state of a key's only version, or that there is no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Enabled,
    DecryptOnly,
    Disabled,
    /// Its destruction is ordered and can still be taken back.
    Pending,
    Destroyed,
    NoKey,
}

impl State {
    pub(super) const ALL: [Self; 6] = [
        Self::Enabled,
        Self::DecryptOnly,
        Self::Disabled,
        Self::Pending,
        Self::Destroyed,
        Self::NoKey,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::DecryptOnly => "decrypt_only",
            Self::Disabled => "disabled",
            Self::Pending => "pending",
            Self::Destroyed => "destroyed",
            Self::NoKey => "no such key",
        }
    }
}

/// What was sealed by the key of each state that all share, before it was in it.
pub(super) struct Keys(BTreeMap<State, String>);

impl Keys {
    /// Makes every key and brings it into its state.
    pub(super) async fn make(site: &mut Site) -> Self {
        let named: BTreeSet<_> = Cell::all()
            .filter_map(|cell| cell.state.map(|state| (name(cell), state)))
            .filter(|(_, state)| *state != State::NoKey)
            .collect();
        let admin = site.sidecar.client();
        let made = at_once(&named, async |name, _| {
            let made = admin.post_json("/v1/keys", &json!({ "name": name })).await;
            assert_eq!(made.status, 201, "{name}");
        });
        made.await;
        let mut sealed = BTreeMap::new();
        for state in State::ALL {
            let text = match state {
                // Its key is one of another store.
                State::NoKey => {
                    let other = Sidecar::start().await;
                    other.client().encrypt("demo", b"hello", &json!({})).await
                }
                state => admin.encrypt(&shared(state), b"hello", &json!({})).await,
            };
            sealed.insert(state, text);
        }
        bring_into(site, &named, State::Destroyed).await;
        site.restart_with_a_delay().await;
        for state in [State::DecryptOnly, State::Disabled, State::Pending] {
            bring_into(site, &named, state).await;
        }
        Self(sealed)
    }

    pub(super) fn name(&self, cell: Cell) -> String {
        name(cell)
    }

    pub(super) fn ciphertext(&self, cell: Cell) -> &str {
        &self.0[&cell.state.unwrap()]
    }
}

/// Whether no other cell is about its key.
fn has_its_own(cell: Cell) -> bool {
    let makes = cell.ask == Ask::CreateKey && cell.state == Some(State::NoKey);
    makes || cell.ask.changes_a_key()
}

/// The name of the key that a cell is about.
fn name(cell: Cell) -> String {
    let Some(state) = cell.state else { return String::new() };
    if !has_its_own(cell) {
        return shared(state);
    }
    let over = if cell.over_tcp { "tcp" } else { "unix" };
    let (ask, who) = (format!("{:?}", cell.ask), format!("{:?}", cell.who));
    let name = format!("matrix-{ask}-{state:?}-{who}-{over}").to_lowercase();
    assert!(name.len() <= 64);
    name
}

fn shared(state: State) -> String {
    format!("matrix-{state:?}").to_lowercase()
}

async fn at_once(named: &BTreeSet<(String, State)>, done: impl AsyncFn(&str, State)) {
    let each = named.iter().map(|(name, state)| done(name, *state));
    futures_util::stream::iter(each).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Brings the keys that are to be in `state` there, as two operators do it.
async fn bring_into(site: &Site, named: &BTreeSet<(String, State)>, state: State) {
    let (operator, approver) = (site.client(Who::PersonWithMfa, true), site.approver());
    at_once(named, async |name, of_key| {
        if of_key != state {
            return;
        }
        let answer = match state {
            State::Destroyed | State::Pending => {
                let asked = destroy(&approver, name).await;
                let path = format!("/v1/approvals/{}", asked.text("approval"));
                operator.send(operator.request("POST", &path)).await
            }
            state => set_state(operator, name, state.name()).await,
        };
        assert_eq!(answer.status, 200, "{name} {}", answer.code());
        let version = &answer.json()["versions"][0];
        let pending = version["destroy_at"].is_string();
        assert_eq!(pending, state == State::Pending, "{name}");
        assert!(pending || version["state"] == state.name(), "{name} {version}");
    })
    .await;
}

/// Every key as the administrator sees it.
pub(super) async fn shown(site: &Site) -> BTreeMap<String, Value> {
    let admin: Client = site.sidecar.client();
    let list = admin.get("/v1/keys").await.json()["keys"].as_array().unwrap().clone();
    list.into_iter().map(|key| (key["name"].as_str().unwrap().to_owned(), key)).collect()
}

/// Cells with a key of their own that were refused, and whose key is not as it was.
pub(super) fn changed_by_a_refusal(
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
    answers: &Answers,
) -> Vec<String> {
    let refused = answers.iter().filter(|(_, answer)| answer.status >= 400);
    let names = refused.map(|(cell, _)| *cell).filter(|cell| has_its_own(*cell)).map(name);
    let changed = names.filter(|name| before.get(name) != after.get(name));
    changed.map(|name| format!("{name} was refused, and is changed")).collect()
}
