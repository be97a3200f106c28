use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use http::HeaderValue;

use super::*;

const ALICE: &str = "alice-token-0123456789abcdef";
const BOB: &str = "bob-token-0123456789abcdef00";

fn token_file(folder: &tempfile::TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = folder.path().join(name);
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn two_callers(folder: &tempfile::TempDir) -> Callers {
    Callers::load(vec![
        ("alice".parse().unwrap(), Proof::TokenFile(token_file(folder, "a", ALICE, 0o600))),
        ("bob".parse().unwrap(), Proof::TokenFile(token_file(folder, "b", BOB, 0o640))),
        ("root-of-pod".parse().unwrap(), Proof::Peer { uid: 7, gid: None }),
    ])
    .unwrap()
}

fn ask(callers: &Callers, peer: Option<Peer>, authorization: &[&str]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for value in authorization {
        headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    let address = "127.0.0.1:1".parse().unwrap();
    let tcp = || Connection::Tcp(Arc::new(TcpEnds::new(address, address)));
    let connection = peer.map_or_else(tcp, |peer| Connection::Unix(Some(peer)));
    let now = crate::clock::Clock::now(&crate::clock::SystemClock);
    let caller = callers.authenticate(&connection, &headers, now);
    // Without an issuer there is nothing to wait for.
    let caller = futures_util::FutureExt::now_or_never(caller).unwrap();
    caller.ok().map(|caller| caller.name().to_string())
}

#[test]
fn a_token_names_its_caller_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let callers = two_callers(&folder);
    assert_eq!(ask(&callers, None, &[&format!("Bearer {ALICE}")]).as_deref(), Some("alice"));
    assert_eq!(ask(&callers, None, &[&format!("bearer {BOB}")]).as_deref(), Some("bob"));
    for bad in [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic YTpi",
        &format!("Bearer {ALICE}x"),
        &format!("Basic {ALICE}"),
        ALICE,
    ] {
        assert_eq!(ask(&callers, None, &[bad]), None, "{bad}");
    }
    assert_eq!(ask(&callers, None, &[]), None);
}

#[test]
fn two_authorization_headers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let callers = two_callers(&folder);
    let alice = format!("Bearer {ALICE}");
    assert_eq!(ask(&callers, None, &[&alice, &alice]), None);
}

#[test]
fn on_the_socket_the_peer_is_enough_and_a_wrong_token_is_not_overlooked() {
    let folder = tempfile::tempdir().unwrap();
    let callers = two_callers(&folder);
    let peer = Some(Peer { uid: 7, gid: 1 });
    assert_eq!(ask(&callers, peer, &[]).as_deref(), Some("root-of-pod"));
    assert_eq!(ask(&callers, peer, &[&format!("Bearer {BOB}")]).as_deref(), Some("bob"));
    assert_eq!(ask(&callers, peer, &["Bearer wrong"]), None);
    assert_eq!(ask(&callers, Some(Peer { uid: 8, gid: 7 }), &[]), None);
}

#[test]
fn a_changed_file_is_read_again_and_a_bad_or_missing_one_revokes_its_token_alone() {
    let folder = tempfile::tempdir().unwrap();
    let callers = two_callers(&folder);
    let (alice, bob) = (format!("Bearer {ALICE}"), format!("Bearer {BOB}"));
    let path = folder.path().join("a");
    assert!(callers.reload_if_changed().is_none());
    for spoil in [
        |path: &Path| std::fs::write(path, "").unwrap(),
        |path: &Path| std::fs::remove_file(path).unwrap(),
    ] {
        spoil(&path);
        assert_eq!(callers.reload_if_changed().unwrap().len(), 1);
        assert!(callers.reload_if_changed().is_none());
        assert_eq!(ask(&callers, None, &[&alice]), None);
        assert!(ask(&callers, None, &[&bob]).is_some());
    }
    let fresh = "fresh-token-0123456789abcdef";
    token_file(&folder, "a", fresh, 0o600);
    assert!(callers.reload_if_changed().unwrap().is_empty());
    assert_eq!(ask(&callers, None, &[&format!("Bearer {fresh}")]).as_deref(), Some("alice"));
}

#[test]
fn a_token_file_that_is_open_short_or_missing_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: PathBuf| {
        let error = Callers::load(vec![("alice".parse().unwrap(), Proof::TokenFile(path))]);
        error.unwrap_err().to_string()
    };
    assert!(load(token_file(&folder, "open", ALICE, 0o604)).contains("chmod"));
    assert!(load(token_file(&folder, "short", "short", 0o600)).contains("openssl"));
    assert!(
        load(token_file(&folder, "inner", "alice token with spaces in it", 0o600))
            .contains("one line")
    );
    assert!(load(folder.path().join("missing")).contains("missing"));
}

#[test]
fn several_tokens_are_valid_in_a_change_over_and_the_old_one_goes_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let callers = two_callers(&folder);
    let fresh = "fresh-token-0123456789abcdef";
    let (old, new) = (format!("Bearer {ALICE}"), format!("Bearer {fresh}"));
    token_file(&folder, "a", &format!("{fresh}\n{ALICE}\n"), 0o600);
    assert!(callers.reload_if_changed().unwrap().is_empty());
    for token in [&old, &new] {
        assert_eq!(ask(&callers, None, &[token]).as_deref(), Some("alice"));
    }
    assert_eq!(
        ask(&callers, None, &[&format!("Bearer {fresh}\n{ALICE}").replace('\n', " ")]),
        None
    );
    token_file(&folder, "a", fresh, 0o600);
    assert!(callers.reload_if_changed().unwrap().is_empty());
    assert_eq!(ask(&callers, None, &[&old]), None);
    assert_eq!(ask(&callers, None, &[&new]).as_deref(), Some("alice"));
    let many: Vec<_> = (0..5).map(|number| format!("{fresh}-{number}")).collect();
    token_file(&folder, "a", &many.join("\n"), 0o600);
    assert_eq!(callers.reload_if_changed().unwrap().len(), 1);
    assert_eq!(ask(&callers, None, &[&format!("Bearer {}", many[0])]), None);
}

#[test]
fn a_token_that_two_callers_have_is_nobody_s() {
    let folder = tempfile::tempdir().unwrap();
    let callers = two_callers(&folder);
    token_file(&folder, "a", &format!("{ALICE}\n{BOB}"), 0o600);
    assert_eq!(callers.reload_if_changed().unwrap().len(), 1);
    assert_eq!(ask(&callers, None, &[&format!("Bearer {BOB}")]), None);
    assert_eq!(ask(&callers, None, &[&format!("Bearer {ALICE}")]).as_deref(), Some("alice"));
}

#[test]
fn a_pipe_is_no_token_file_and_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    let loaded = Callers::load(vec![("alice".parse().unwrap(), Proof::TokenFile(path))]);
    assert!(matches!(loaded, Err(CallersError::NoToken { .. })));
}

#[test]
fn callers_that_could_not_be_told_apart_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = token_file(&folder, "a", ALICE, 0o600);
    let same = Callers::load(vec![
        ("alice".parse().unwrap(), Proof::TokenFile(path.clone())),
        ("bob".parse().unwrap(), Proof::TokenFile(path)),
    ]);
    assert!(matches!(same, Err(CallersError::Same { .. })));
    let peers = Callers::load(vec![
        ("alice".parse().unwrap(), Proof::Peer { uid: 1, gid: None }),
        ("bob".parse().unwrap(), Proof::Peer { uid: 1, gid: Some(2) }),
    ]);
    assert!(matches!(peers, Err(CallersError::Same { .. })));
}
