//! What is asked: one request for each action, and for what else an action permits.

use keypod::policy::Action;
use keypod_tests::{Answer, Client};
use serde_json::json;

use super::Cell;
use super::callers::Site;
use super::keys::{Keys, State};

/// A request, by what it wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    Encrypt,
    Decrypt,
    Rewrap,
    CreateKey,
    ReadKey,
    Rotate,
    SetState,
    Destroy,
    CancelDestroy,
    ReadStatus,
    BreakGlass,
}

impl Ask {
    pub(super) const ALL: [Self; 11] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::Rewrap,
        Self::CreateKey,
        Self::ReadKey,
        Self::Rotate,
        Self::SetState,
        Self::Destroy,
        Self::CancelDestroy,
        Self::ReadStatus,
        Self::BreakGlass,
    ];

    pub(super) const fn action(self) -> Action {
        match self {
            Self::Encrypt => Action::Encrypt,
            Self::Decrypt => Action::Decrypt,
            Self::Rewrap => Action::Rewrap,
            Self::CreateKey => Action::CreateKey,
            Self::ReadKey => Action::ReadKey,
            Self::Rotate => Action::Rotate,
            Self::SetState => Action::SetState,
            Self::Destroy | Self::CancelDestroy => Action::Destroy,
            Self::ReadStatus => Action::ReadStatus,
            Self::BreakGlass => Action::BreakGlass,
        }
    }

    /// As the table names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CancelDestroy => "destroy (cancel)",
            other => other.action().as_str(),
        }
    }

    /// Whether the key is the one that a ciphertext names, and not one that the request does.
    pub(super) const fn takes_a_ciphertext(self) -> bool {
        matches!(self, Self::Decrypt | Self::Rewrap)
    }

    /// Whether it may leave a key that is there otherwise than it was: then each cell has a key of its own.
    pub(super) const fn changes_a_key(self) -> bool {
        matches!(self, Self::Rotate | Self::SetState | Self::Destroy | Self::CancelDestroy)
    }
}

/// Asks a cell.
pub(super) async fn ask(site: &Site, keys: &Keys, cell: Cell) -> Answer {
    let client = site.client(cell.who, cell.over_tcp);
    let name = keys.name(cell);
    let post = async |path: &str, body| client.post_json(path, &body).await;
    match cell.ask {
        Ask::Encrypt => post("/v1/encrypt", json!({ "key": name, "plaintext": "AAAA" })).await,
        Ask::Decrypt => post("/v1/decrypt", json!({ "ciphertext": keys.ciphertext(cell) })).await,
        Ask::Rewrap => post("/v1/rewrap", json!({ "ciphertext": keys.ciphertext(cell) })).await,
        Ask::CreateKey => post("/v1/keys", json!({ "name": name })).await,
        Ask::ReadKey => client.get(&format!("/v1/keys/{name}")).await,
        Ask::Rotate => post("/v1/rotate", json!({ "key": name })).await,
        Ask::SetState => {
            // Another one than it has.
            let decrypt_only = cell.state == Some(State::DecryptOnly);
            set_state(client, &name, if decrypt_only { "disabled" } else { "decrypt_only" }).await
        }
        Ask::Destroy => destroy(client, &name).await,
        Ask::CancelDestroy => {
            let path = format!("/v1/keys/{name}/versions/1/destroy/cancel");
            client.send(client.request("POST", &path)).await
        }
        Ask::ReadStatus => client.get("/v1/status").await,
        Ask::BreakGlass => {
            post("/v1/emergency", json!({ "reason": "a matrix of answers", "minutes": 1 })).await
        }
    }
}

pub(super) async fn set_state(client: &Client, name: &str, state: &str) -> Answer {
    let path = format!("/v1/keys/{name}/versions/1/state");
    client.post_json(&path, &json!({ "state": state })).await
}

pub(super) async fn destroy(client: &Client, name: &str) -> Answer {
    let path = format!("/v1/keys/{name}/versions/1/destroy");
    client.post_json(&path, &json!({ "confirm": format!("{name}/1") })).await
}

/// Ends the emergency that a cell may have begun.
pub(super) async fn end_emergency(site: &Site, cell: Cell) {
    let client = site.client(cell.who, cell.over_tcp);
    client.send(client.request("POST", "/v1/emergency/end")).await;
}
