//! What is asked: each action, whatever else it permits, and each way to ask for it.

use keypod::policy::Action;
use keypod_tests::{Answer, Client};
use serde_json::json;

use super::Cell;
use super::callers::Site;
use super::keys::{Keys, MESSAGE, State};
use super::said::Said;

/// A request, by what it wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    For(Action),
    /// After the same caller has tried to break the glass.
    DecryptInEmergency,
    CancelDestroy,
    ApproveDestroy,
}

/// A way to ask for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Json,
    Octets,
    Batch,
}

impl Ask {
    /// Each action of the program, and what else is asked.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let more = [Self::DecryptInEmergency, Self::CancelDestroy, Self::ApproveDestroy];
        Action::ALL.into_iter().map(Self::For).chain(more)
    }

    pub(super) const fn action(self) -> Action {
        match self {
            Self::For(action) => action,
            Self::DecryptInEmergency => Action::Decrypt,
            Self::CancelDestroy | Self::ApproveDestroy => Action::Destroy,
        }
    }

    /// As the table names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::DecryptInEmergency => "decrypt (glass broken)",
            Self::CancelDestroy => "destroy (cancel)",
            Self::ApproveDestroy => "destroy (approve)",
            Self::For(action) => action.as_str(),
        }
    }

    /// Whether the key is the one that a ciphertext names, and not one that the request does.
    pub(super) const fn takes_a_ciphertext(self) -> bool {
        matches!(self.action(), Action::Decrypt | Action::Rewrap)
    }

    /// Each way to ask for it: the answer is the same.
    pub(super) const fn ways(self) -> &'static [Way] {
        match self.action() {
            Action::Encrypt | Action::Decrypt | Action::Rewrap => {
                &[Way::Json, Way::Octets, Way::Batch]
            }
            _ => &[Way::Json],
        }
    }

    /// Whether it is asked between a try to break the glass and the emergency's end.
    pub(super) const fn is_about_an_emergency(self) -> bool {
        matches!(self, Self::For(Action::BreakGlass) | Self::DecryptInEmergency)
    }

    /// Whether it may leave a key that is there otherwise than it was: then each cell has a key of its own.
    pub(super) const fn changes_a_key(self) -> bool {
        matches!(self.action(), Action::Rotate | Action::SetState | Action::Destroy)
    }
}

/// Asks a cell, one way.
pub(super) async fn ask(site: &Site, keys: &Keys, cell: Cell, way: Way) -> Said {
    let client = site.client(cell.who, cell.over_tcp);
    let name = keys.name(cell);
    let post = async |path: &str, body| client.post_json(path, &body).await;
    let answer = match cell.ask {
        Ask::For(Action::Encrypt) => encrypt(client, &name, way).await,
        Ask::For(Action::Decrypt) | Ask::DecryptInEmergency => {
            open(client, "/v1/decrypt", keys.sealed(cell), way).await
        }
        Ask::For(Action::Rewrap) => open(client, "/v1/rewrap", keys.sealed(cell), way).await,
        Ask::For(Action::CreateKey) => post("/v1/keys", json!({ "name": name })).await,
        Ask::For(Action::ReadKey) => client.get(&format!("/v1/keys/{name}")).await,
        Ask::For(Action::Rotate) => post("/v1/rotate", json!({ "key": name })).await,
        Ask::For(Action::SetState) => {
            // Another one than it has.
            let decrypt_only = cell.state == Some(State::DecryptOnly);
            set_state(client, &name, if decrypt_only { "disabled" } else { "decrypt_only" }).await
        }
        Ask::For(Action::Destroy) => destroy(client, &name).await,
        Ask::CancelDestroy => {
            act(client, &format!("/v1/keys/{name}/versions/1/destroy/cancel")).await
        }
        Ask::ApproveDestroy => approve(client, keys.approval(cell)).await,
        Ask::For(Action::AuditHash) => {
            post("/v1/audit/hash", json!({ "subject": "patient-4711" })).await
        }
        Ask::For(Action::ReadStatus) => client.get("/v1/status").await,
        Ask::For(Action::BreakGlass) => {
            post("/v1/emergency", json!({ "reason": "a matrix of answers", "minutes": 1 })).await
        }
    };
    Said::of(cell.ask, way, &answer)
}

async fn encrypt(client: &Client, name: &str, way: Way) -> Answer {
    match way {
        Way::Json => {
            let body = json!({ "key": name, "plaintext": "AAAA" });
            client.post_json("/v1/encrypt", &body).await
        }
        Way::Octets => seal_octets(client, name).await,
        Way::Batch => {
            let body = json!({ "key": name, "items": [{ "plaintext": "AAAA" }] });
            client.post_json("/v1/encrypt/batch", &body).await
        }
    }
}

pub(super) async fn seal_octets(client: &Client, name: &str) -> Answer {
    client.post_octets(&format!("/v1/encrypt?key={name}"), &json!({}), MESSAGE.to_vec()).await
}

async fn open(client: &Client, path: &str, (text, octets): &(String, Vec<u8>), way: Way) -> Answer {
    let item = json!({ "ciphertext": text });
    match way {
        Way::Json => client.post_json(path, &item).await,
        Way::Octets => client.post_octets(path, &json!({}), octets.clone()).await,
        Way::Batch => client.post_json(&format!("{path}/batch"), &json!({ "items": [item] })).await,
    }
}

async fn act(client: &Client, path: &str) -> Answer {
    client.send(client.request("POST", path)).await
}

pub(super) async fn approve(client: &Client, id: &str) -> Answer {
    act(client, &format!("/v1/approvals/{id}")).await
}

pub(super) async fn set_state(client: &Client, name: &str, state: &str) -> Answer {
    let path = format!("/v1/keys/{name}/versions/1/state");
    client.post_json(&path, &json!({ "state": state })).await
}

pub(super) async fn destroy(client: &Client, name: &str) -> Answer {
    let path = format!("/v1/keys/{name}/versions/1/destroy");
    client.post_json(&path, &json!({ "confirm": format!("{name}/1") })).await
}

/// Ends the emergency that a caller may have begun.
pub(super) async fn end_emergency(client: &Client) {
    act(client, "/v1/emergency/end").await;
}
