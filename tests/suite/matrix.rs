//! The access matrix: every kind of caller, every action, every state of a key and both transports, against the table
//! that a person has checked (`matrix/table.txt`).
//!
//! One real sidecar with the packs `baseline`, `operators` and `emergency` answers every cell. What may change a key is
//! asked of a key that no other cell asks about, so that no cell depends on another's answer.

mod asks;
mod callers;
mod keys;
mod said;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use keypod::policy::{Action, CallerKind, Transport};
use keypod::store::VersionState;

use asks::{Ask, Way};
use callers::{Site, Who};
use keys::{Keys, State};
use said::Said;

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

    /// Each way that it is asked. Without a proof one is enough, another one in each state: wrong credentials are
    /// answered slower and slower.
    fn ways(&self) -> Vec<Way> {
        let ways = self.ask.ways();
        if self.who.proves_itself(self.over_tcp) {
            return ways.to_vec();
        }
        let state = State::ALL.iter().position(|state| Some(*state) == self.state);
        vec![ways[state.unwrap_or_default() % ways.len()]]
    }
}

/// The rows of the table.
fn rows() -> Vec<(Ask, Option<State>)> {
    let states = |ask: Ask| match ask.action().is_about_a_key() {
        true => State::ALL.map(Some).to_vec(),
        false => vec![None],
    };
    Ask::all().flat_map(|ask| states(ask).into_iter().map(move |s| (ask, s))).collect()
}

/// What each cell was answered, one for each way to ask.
type Answers = BTreeMap<Cell, Vec<Said>>;

/// Asks every cell.
async fn answers(site: &mut Site, keys: &Keys) -> Answers {
    // Wrong credentials are answered slower and slower, so these wait together.
    let (proven, unproven): (Vec<_>, Vec<_>) =
        Cell::all().partition(|cell| cell.who.proves_itself(cell.over_tcp));
    // An emergency changes what its caller is answered, so there is none while the others are asked.
    let (later, now): (Vec<_>, Vec<_>) =
        proven.into_iter().partition(|cell| cell.ask.is_about_an_emergency());
    let (now, unproven) = tokio::join!(
        in_turns(site, keys, now),
        join_all(unproven.into_iter().map(|cell| ask(site, keys, cell)))
    );
    let mut answers: Answers = now.into_iter().chain(unproven).collect();
    for over_tcp in [false, true] {
        // Who has ended an emergency begins no other for a while. None outlives its sidecar, nor does that pause.
        site.restart().await;
        for who in Who::ALL {
            let of_caller =
                later.iter().copied().filter(|cell| (cell.who, cell.over_tcp) == (who, over_tcp));
            let (tries, decrypts): (Vec<_>, Vec<_>) =
                of_caller.partition(|cell| cell.ask == Ask::For(Action::BreakGlass));
            answers.extend(in_turns(site, keys, tries).await);
            answers.extend(in_turns(site, keys, decrypts).await);
            if who.proves_itself(over_tcp) {
                asks::end_emergency(site.client(who, over_tcp)).await;
            }
        }
    }
    answers
}

/// Asks some cells, a few at once.
async fn in_turns(
    site: &Site,
    keys: &Keys,
    cells: impl IntoIterator<Item = Cell>,
) -> Vec<(Cell, Vec<Said>)> {
    let asked = futures_util::stream::iter(cells.into_iter().map(|cell| ask(site, keys, cell)));
    asked.buffer_unordered(AT_ONCE).collect().await
}

async fn ask(site: &Site, keys: &Keys, cell: Cell) -> (Cell, Vec<Said>) {
    let mut said = Vec::new();
    for way in cell.ways() {
        said.push(asks::ask(site, keys, cell, way).await);
    }
    (cell, said)
}

/// What was answered, as a table.
fn seen(answers: &Answers) -> table::Table {
    let mut seen = vec![["action", "state"].map(str::to_owned).to_vec()];
    seen[0].extend(Who::ALL.map(|who| who.name().to_owned()));
    for (ask, state) in rows() {
        let state_name = state.map_or("-", State::name);
        let mut row = vec![ask.name().to_owned(), state_name.to_owned()];
        row.extend(Who::ALL.map(|who| {
            let over = |over_tcp| all_of(&answers[&Cell { ask, state, who, over_tcp }]);
            table::cell(&over(false), &over(true))
        }));
        seen.push(row);
    }
    seen
}

/// What all ways to ask were answered: one text, unless the ways differ.
fn all_of(said: &[Said]) -> String {
    let texts: BTreeSet<_> = said.iter().map(Said::text).collect();
    texts.into_iter().collect::<Vec<_>>().join(" or ")
}

/// Refusals of one status that can be told from one another.
fn unlike_refusals(answers: &Answers) -> Vec<String> {
    let mut unlike = Vec::new();
    for status in [401, 403] {
        let refusals = || answers.values().flatten().filter(|said| said.status == status);
        let words: BTreeSet<_> = refusals().map(Said::words).collect();
        let headers: BTreeSet<_> = refusals().filter_map(Said::headers).collect();
        if (words.len(), headers.len()) != (1, 1) {
            unlike.push(format!("not one and the same {status}: {words:?} {headers:?}"));
        }
    }
    unlike
}

#[tokio::test]
async fn every_caller_action_state_and_transport_is_answered_as_the_table_says() {
    let mut site = Site::start().await;
    let keys = Keys::make(&mut site).await;
    let before = keys::shown(&site).await;
    let answers = answers(&mut site, &keys).await;
    let after = keys::shown(&site).await;
    let mut wrong = table::differences(&table::file(), &seen(&answers));
    wrong.extend(unlike_refusals(&answers));
    wrong.extend(keys::changed_by_a_refusal(&before, &after, &answers));
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_table_has_every_action_state_and_kind_of_caller() {
    let table = table::file();
    let has = |column: usize, name: &str| table.iter().skip(1).any(|row| row[column] == name);
    for ask in Ask::all() {
        assert!(has(0, ask.name()), "{}", ask.name());
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
    // What a caller is answered in each state, over one transport.
    let answers = |ask: Ask, column: usize, over: usize| -> BTreeSet<String> {
        let rows = table.iter().skip(1).filter(|row| row[0] == ask.name());
        // A ciphertext of a key that is not there opens for nobody (API.md): there is no name to ask policy about.
        let rows = rows.filter(|row| !(ask.takes_a_ciphertext() && row[1] == State::NoKey.name()));
        rows.map(|row| table::both_ways(&row[column + 2])[over].to_owned()).collect()
    };
    for (column, who) in Who::ALL.iter().enumerate() {
        for (ask, over) in Ask::all().flat_map(|ask| [(ask, 0), (ask, 1)]) {
            let given = answers(ask, column, over);
            // Who may not destroy is told that nothing waits for an approval.
            let decided = if ask == Ask::ApproveDestroy { Ask::For(Action::Destroy) } else { ask };
            let decided = answers(decided, column, over);
            let denied = ["401", "403"].iter().any(|status| decided.contains(*status));
            assert!(!denied || given.len() == 1, "{} {}: {given:?}", ask.name(), who.name());
        }
    }
}
