//! The keys of the matrix: one in each state for all who only look, and one for each cell that may change it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use keypod::policy::Action;
use keypod_tests::{Client, Sidecar};
use serde_json::{Value, json};

use super::asks::{Ask, approve, destroy, seal_octets, set_state};
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

/// What every ciphertext of the matrix holds.
pub(super) const MESSAGE: &[u8] = b"hello";

/// In the place of an approval that never was.
const NO_APPROVAL: &str = "00000000000000000000000000000000";

pub(super) struct Keys {
    /// What was sealed by the key of each state that all share, before it was in it: as text and as octets.
    sealed: BTreeMap<State, (String, Vec<u8>)>,
    /// By the name of the key: the last destruction that the approver asked for.
    approvals: BTreeMap<String, String>,
}

impl Keys {
    /// Makes every key and brings it into its state.
    pub(super) async fn make(site: &mut Site) -> Self {
        let named: BTreeSet<_> = Cell::all()
            .filter_map(|cell| cell.state.map(|state| (name(cell), state)))
            .filter(|(_, state)| *state != State::NoKey)
            .collect();
        let admin = site.sidecar.client();
        let made = async |name: String| {
            let made = admin.post_json("/v1/keys", &json!({ "name": name })).await;
            assert_eq!(made.status, 201, "{name}");
        };
        at_once(named.iter().map(|(name, _)| made(name.clone()))).await;
        let mut sealed = BTreeMap::new();
        for state in State::ALL {
            // Where there is no such key, it is one of another store.
            let other = if state == State::NoKey { Some(Sidecar::start().await) } else { None };
            let (client, key) = match &other {
                Some(other) => (other.client(), "demo".to_owned()),
                None => (admin.clone(), shared(state)),
            };
            let text = client.encrypt(&key, MESSAGE, &json!({})).await;
            sealed.insert(state, (text, seal_octets(&client, &key).await.body));
        }
        let destroyed = bring_into(site, &named, State::Destroyed).await;
        let mut approvals: BTreeMap<_, _> = destroyed.into_iter().collect();
        site.restart_with_a_delay().await;
        for state in [State::DecryptOnly, State::Disabled, State::Pending] {
            approvals.extend(bring_into(site, &named, state).await);
        }
        approvals.extend(destructions_that_wait(site).await);
        Self { sealed, approvals }
    }

    pub(super) fn name(&self, cell: Cell) -> String {
        name(cell)
    }

    pub(super) fn sealed(&self, cell: Cell) -> &(String, Vec<u8>) {
        &self.sealed[&cell.state.unwrap()]
    }

    /// The approval that a cell is about: one that waits, or that was given before.
    pub(super) fn approval(&self, cell: Cell) -> &str {
        self.approvals.get(&name(cell)).map_or(NO_APPROVAL, String::as_str)
    }
}

/// Has the approver ask for what the cells approve, where it can wait; by the name of the key.
async fn destructions_that_wait(site: &Site) -> Vec<(String, String)> {
    let can_wait = [State::Enabled, State::DecryptOnly, State::Disabled].map(Some);
    let cells = Cell::all()
        .filter(|cell| cell.ask == Ask::ApproveDestroy && can_wait.contains(&cell.state));
    let approver = site.approver();
    let asked = async |name: String| {
        let asked = destroy(&approver, &name).await;
        assert_eq!(asked.status, 202, "{name}");
        (name, asked.text("approval"))
    };
    at_once(cells.map(|cell| asked(name(cell)))).await
}

/// Whether no other cell is about its key.
fn has_its_own(cell: Cell) -> bool {
    let makes = cell.ask == Ask::For(Action::CreateKey) && cell.state == Some(State::NoKey);
    makes || cell.ask.changes_a_key()
}

/// The name of the key that a cell is about.
fn name(cell: Cell) -> String {
    let Some(state) = cell.state else { return String::new() };
    if !has_its_own(cell) {
        return shared(state);
    }
    let over = if cell.over_tcp { "tcp" } else { "unix" };
    let (ask, who) = (cell.ask.name().replace([' ', '(', ')'], ""), format!("{:?}", cell.who));
    let name = format!("matrix-{ask}-{state:?}-{who}-{over}").to_lowercase();
    assert!(name.len() <= 64);
    name
}

fn shared(state: State) -> String {
    format!("matrix-{state:?}").to_lowercase()
}

async fn at_once<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::stream::iter(all).buffer_unordered(AT_ONCE).collect().await
}

/// Brings the keys that are to be in `state` there, as two operators do it; what was approved, by the name of the key.
async fn bring_into(
    site: &Site,
    named: &BTreeSet<(String, State)>,
    state: State,
) -> Vec<(String, String)> {
    let (operator, approver) = (site.client(Who::PersonWithMfa, true), site.approver());
    let bring = async |name: String| {
        let mut approval = NO_APPROVAL.to_owned();
        let answer = match state {
            State::Destroyed | State::Pending => {
                approval = destroy(&approver, &name).await.text("approval");
                approve(operator, &approval).await
            }
            state => set_state(operator, &name, state.name()).await,
        };
        assert_eq!(answer.status, 200, "{name} {}", answer.code());
        let version = &answer.json()["versions"][0];
        let pending = version["destroy_at"].is_string();
        assert_eq!(pending, state == State::Pending, "{name}");
        assert!(pending || version["state"] == state.name(), "{name} {version}");
        (name, approval)
    };
    let of_state = named.iter().filter(|(_, of_key)| *of_key == state);
    at_once(of_state.map(|(name, _)| bring(name.clone()))).await
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
    let refused = answers.iter().filter(|(_, said)| said.iter().any(|said| said.status >= 400));
    let names = refused.map(|(cell, _)| *cell).filter(|cell| has_its_own(*cell)).map(name);
    let changed = names.filter(|name| before.get(name) != after.get(name));
    changed.map(|name| format!("{name} was refused, and is changed")).collect()
}
