//! The access matrix: every kind of caller, every action, every state of a key and both transports, against the table
//! that a person has checked (`matrix/table.txt`).
//!
//! One real sidecar with the packs `baseline`, `operators` and `emergency` answers every cell. What may change a key is
//! asked of a key that no other cell asks about, so that no cell depends on another's answer.

mod asks;
mod callers;
mod keys;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use keypod::policy::{Action, CallerKind, Transport};
use keypod::store::VersionState;
use keypod_tests::Answer;
use serde_json::Value;

use asks::Ask;
use callers::{Site, Who};
use keys::{Keys, State};

/// Cells that are asked at once, of callers who prove who they are.
const AT_ONCE: usize = 12;

/// One question, whose answer stands in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    ask: Ask,
    /// `None`: the action is about no key.
    state: Option<State>,
    who: Who,
    over_tcp: bool,
}

impl Cell {
    fn all() -> impl Iterator<Item = Self> {
        rows().into_iter().flat_map(|(ask, state)| {
            Who::ALL.into_iter().flat_map(move |who| {
                [false, true].map(|over_tcp| Self { ask, state, who, over_tcp })
            })
        })
    }
}

/// The rows of the table.
fn rows() -> Vec<(Ask, Option<State>)> {
    let states = |ask: Ask| match ask.action().is_about_a_key() {
        true => State::ALL.map(Some).to_vec(),
        false => vec![None],
    };
    Ask::ALL.into_iter().flat_map(|ask| states(ask).into_iter().map(move |s| (ask, s))).collect()
}

type Answers = BTreeMap<Cell, Answer>;

/// Asks every cell.
async fn answers(site: &Site, keys: &Keys) -> Answers {
    // Wrong credentials are answered slower and slower, so these wait together.
    let (proven, unproven): (Vec<_>, Vec<_>) =
        Cell::all().partition(|cell| cell.who.proves_itself(cell.over_tcp));
    // An emergency changes what the others are answered, and each caller has one at a time.
    let (in_turn, at_once): (Vec<_>, Vec<_>) =
        proven.into_iter().partition(|cell| cell.ask == Ask::BreakGlass);
    let ask = async |cell: Cell| (cell, asks::ask(site, keys, cell).await);
    let at_once = futures_util::stream::iter(at_once.into_iter().map(ask));
    let at_once = at_once.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
    let (at_once, unproven) = tokio::join!(at_once, join_all(unproven.into_iter().map(ask)));
    let mut answers: Answers = at_once.into_iter().chain(unproven).collect();
    for cell in in_turn {
        answers.insert(cell, ask(cell).await.1);
        asks::end_emergency(site, cell).await;
    }
    answers
}

/// What was answered, as a table.
fn seen(answers: &Answers) -> table::Table {
    let mut seen = vec![["action", "state"].map(str::to_owned).to_vec()];
    seen[0].extend(Who::ALL.map(|who| who.name().to_owned()));
    for (ask, state) in rows() {
        let state_name = state.map_or("-", State::name);
        let mut row = vec![ask.name().to_owned(), state_name.to_owned()];
        row.extend(Who::ALL.map(|who| {
            let over = |over_tcp| &answers[&Cell { ask, state, who, over_tcp }];
            table::cell(over(false), over(true))
        }));
        seen.push(row);
    }
    seen
}

/// A refusal without what names this one request.
fn without_its_id(answer: &Answer) -> (Value, BTreeSet<String>) {
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    (body, answer.headers.keys().map(ToString::to_string).collect())
}

#[tokio::test]
async fn every_caller_action_state_and_transport_is_answered_as_the_table_says() {
    let mut site = Site::start().await;
    let keys = Keys::make(&mut site).await;
    let before = keys::shown(&site).await;
    let answers = answers(&site, &keys).await;
    let after = keys::shown(&site).await;
    let mut wrong = table::differences(&table::file(), &seen(&answers));
    for status in [401, 403] {
        let refusals = answers.values().filter(|answer| answer.status == status);
        let refusals: BTreeMap<_, _> =
            refusals.map(without_its_id).map(|said| (format!("{said:?}"), said)).collect();
        if refusals.len() != 1 {
            wrong.push(format!("not one and the same {status}: {:?}", refusals.keys()));
        }
    }
    wrong.extend(keys::changed_by_a_refusal(&before, &after, &answers));
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_table_has_every_action_state_and_kind_of_caller() {
    let table = table::file();
    let has = |column: usize, name: &str| table.iter().skip(1).any(|row| row[column] == name);
    for action in Action::ALL {
        assert!(Ask::ALL.iter().any(|ask| ask.action() == action && has(0, ask.name())));
    }
    for state in State::ALL {
        assert!(has(1, state.name()), "{}", state.name());
    }
    // Whatever is added to one of these does not build until it has a place here.
    let state_of = |state: VersionState| match state {
        VersionState::Enabled => State::Enabled,
        VersionState::DecryptOnly => State::DecryptOnly,
        VersionState::Disabled => State::Disabled,
        VersionState::Destroyed => State::Destroyed,
    };
    assert_eq!(state_of(VersionState::DecryptOnly).name(), VersionState::DecryptOnly.as_str());
    let callers_of = |kind: CallerKind| match kind {
        CallerKind::Token => &[Who::Everything, Who::Encrypts][..],
        CallerKind::Peer => &[Who::Peer],
        CallerKind::ServiceAccount => &[Who::Account],
        CallerKind::Person => &[Who::Person, Who::PersonWithMfa],
    };
    let kinds =
        [CallerKind::Token, CallerKind::Peer, CallerKind::ServiceAccount, CallerKind::Person];
    let callers: BTreeSet<_> = kinds.into_iter().flat_map(callers_of).copied().collect();
    assert!(Who::ALL.iter().all(|who| callers.contains(who) || *who == Who::Nobody));
    assert_eq!(table[0][2..], Who::ALL.map(|who| who.name().to_owned()));
    let over_tcp = |transport: Transport| match transport {
        Transport::Unix => false,
        Transport::Tcp => true,
    };
    assert!(over_tcp(Transport::Tcp) && !over_tcp(Transport::Unix));
}

/// Whoever is denied does not learn from the answers in which state a key is, nor whether it is there: the table itself
/// never says otherwise, whoever changes it.
#[test]
fn who_is_denied_gets_one_answer_in_every_state_of_the_key() {
    let table = table::file();
    for (column, who) in Who::ALL.iter().enumerate() {
        for ask in Ask::ALL {
            let rows = table.iter().skip(1).filter(|row| row[0] == ask.name());
            // What names an unknown key is a ciphertext that does not open, for everybody (API.md): its key's name, and
            // so the policy on it, cannot be known.
            let rows =
                rows.filter(|row| !(ask.takes_a_ciphertext() && row[1] == State::NoKey.name()));
            let cells: Vec<_> = rows.map(|row| table::both_ways(&row[column + 2])).collect();
            for over in [0, 1] {
                let answers: BTreeSet<_> = cells.iter().map(|cell| cell[over]).collect();
                let denied = answers.contains("401") || answers.contains("403");
                assert!(!denied || answers.len() == 1, "{} {}", ask.name(), who.name());
            }
        }
    }
}
