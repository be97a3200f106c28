//! Cedar policies of a folder: what they let through on both transports, how they change under a running sidecar, and
//! what the command line says of them.

use std::path::Path;
use std::process::{Command, Output};

use keypod_tests::{Client, Sidecar, SidecarBuilder, keypod, repository, until};
use serde_json::{Value, json};

const CARDS: &str = include_str!("../../policies/examples/orders-and-billing/cards.cedar");

/// A sidecar whose callers may do what this policy says, and a key `cards`.
async fn sidecar_with(policy: &str) -> Sidecar {
    let builder = SidecarBuilder::new().key("cards");
    let folder = builder.folder().join("policies");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("cards.cedar"), policy).unwrap();
    let section = format!("[policy]\nfolder = {:?}", folder.to_str().unwrap());
    let builder = builder.config(&section);
    let callers = ["orders", "billing", "support"];
    callers.into_iter().fold(builder, |builder, name| builder.caller(name, "", "")).start().await
}

fn write(sidecar: &Sidecar, text: &str) {
    let path = sidecar.folder().join("policies/cards.cedar");
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn both_ways(sidecar: &Sidecar, caller: &str) -> [Client; 2] {
    let token = std::fs::read_to_string(sidecar.token_file(caller)).unwrap();
    let token = Some(token.trim());
    [Client::tcp(sidecar.tcp(), token), Client::unix(&sidecar.socket(), token)]
}

#[tokio::test]
async fn orders_may_encrypt_and_billing_may_decrypt_for_payment_and_nobody_else() {
    let sidecar = sidecar_with(CARDS).await;
    let payment = json!({ "purpose": "payment", "order": "7" });
    let other = json!({ "purpose": "marketing" });
    let admin = sidecar.client();
    let (for_payment, for_other) = (
        admin.encrypt("cards", b"1234", &payment).await,
        admin.encrypt("cards", b"1", &other).await,
    );
    for caller in ["orders", "billing", "support"] {
        for client in both_ways(&sidecar, caller) {
            let body = json!({ "key": "cards", "plaintext": "", "context": payment });
            let encrypted = client.post_json("/v1/encrypt", &body).await.status;
            assert_eq!(encrypted, if caller == "orders" { 200 } else { 403 }, "{caller}");
            let decrypted = client.try_decrypt(&for_payment, &payment).await.status;
            assert_eq!(decrypted, if caller == "billing" { 200 } else { 403 }, "{caller}");
            // A true context with another purpose, and a false one with the right purpose.
            client.try_decrypt(&for_other, &other).await.assert_problem(403, "forbidden");
            let lied = client.try_decrypt(&for_other, &payment).await.status;
            assert_eq!(lied, if caller == "billing" { 400 } else { 403 }, "{caller}");
        }
    }
}

#[tokio::test]
async fn a_ciphertext_is_not_moved_into_a_context_that_policy_forbids() {
    let sidecar = sidecar_with(
        "permit (principal == Caller::\"support\", action == Action::\"rewrap\", resource)
         unless { context has request.purpose && context.request.purpose == \"payment\" };",
    )
    .await;
    let other = json!({ "purpose": "marketing" });
    let sealed = sidecar.client().encrypt("cards", b"1", &other).await;
    let support = sidecar.client_of("support");
    let mut body = json!({ "ciphertext": sealed, "context": other });
    assert_eq!(support.post_json("/v1/rewrap", &body).await.status, 200);
    body["new_context"] = json!({ "purpose": "payment" });
    support.post_json("/v1/rewrap", &body).await.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn changed_policies_are_taken_and_bad_ones_are_not() {
    let sidecar = sidecar_with(CARDS).await;
    let orders = sidecar.client_of("orders");
    let encrypts = async || {
        let body = json!({ "key": "cards", "plaintext": "" });
        orders.post_json("/v1/encrypt", &body).await.status == 200
    };
    let hash = async || sidecar.client().get("/v1/status").await.json()["policy"]["hash"].clone();
    let first = hash().await;
    assert!(encrypts().await);
    for (bad, said) in [
        ("permit (principal, action == Action::\"encrpt\", resource);", "encrpt"),
        ("permit (principal, action, ", "unexpected end"),
        ("forbid (principal, action, resource) when { context.request has purpsoe };", "purpsoe"),
        ("// nothing", "no policy left"),
    ] {
        write(&sidecar, bad);
        until("the bad set is refused", async || sidecar.log().contains(said)).await;
        assert!(encrypts().await, "{bad}");
        assert_eq!(hash().await, first);
    }
    write(
        &sidecar,
        &format!(
            "{CARDS}\n@id(\"closed\") forbid (principal, action, resource) unless {{ context.mfa }};"
        ),
    );
    until("the good set decides", async || !encrypts().await).await;
    until("its policy is named", async || sidecar.log().contains("closed")).await;
    write(&sidecar, CARDS);
    until("the first set is back", async || encrypts().await).await;
    assert_eq!(hash().await, first);
}

/// What the folder forbids, and what a pack forbids for the keys that the folder names, stays forbidden when a broken
/// mount empties it, though grants, `keys.second_person` and the pack are still there.
#[tokio::test]
async fn a_folder_that_is_emptied_takes_no_forbid_away() {
    for (file, text) in [
        ("closed.cedar", "forbid (principal == Caller::\"viewer\", action, resource);"),
        ("entities.toml", "[key_groups.phi]\nkeys = [\"cards\"]"),
    ] {
        let builder = SidecarBuilder::new().key("cards");
        let folder = builder.folder().join("policies");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(file), text).unwrap();
        let section = format!("[policy]\nfolder = {:?}\npacks = [\"phi\"]", path(&folder));
        let builder = builder.config(&section).config("[keys]\nsecond_person = true");
        let sidecar = builder.caller("viewer", r#""encrypt""#, r#""cards""#).start().await;
        let viewer = sidecar.client_of("viewer");
        let body = json!({ "key": "cards", "plaintext": "" });
        let hash = sidecar.client().get("/v1/status").await.json()["policy"]["hash"].clone();
        viewer.post_json("/v1/encrypt", &body).await.assert_problem(403, "forbidden");
        std::fs::remove_file(folder.join(file)).unwrap();
        until("the emptied folder is looked at", async || {
            sidecar.metric("keypod_policy_reloads_total").await > 0.5
        })
        .await;
        assert!(sidecar.log().contains("no policy left in the folder"), "{file}");
        viewer.post_json("/v1/encrypt", &body).await.assert_problem(403, "forbidden");
        let now = sidecar.client().get("/v1/status").await.json()["policy"]["hash"].clone();
        assert_eq!(now, hash, "{file}");
        // What closes on purpose is taken.
        std::fs::write(folder.join("a.cedar"), "forbid (principal, action, resource);").unwrap();
        until("the good set decides", async || {
            sidecar.client().get("/v1/status").await.status == 403
        })
        .await;
    }
}

#[tokio::test]
async fn a_start_with_bad_policies_is_refused_with_file_line_and_column() {
    let builder = SidecarBuilder::new();
    let folder = builder.folder().join("policies");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        folder.join("a.cedar"),
        "permit (principal,\n action == Action::\"x\", resource);",
    )
    .unwrap();
    let builder = builder.config(&format!("[policy]\nfolder = {:?}", folder.to_str().unwrap()));
    builder.write();
    let (status, said) = builder.fail_to_start();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("a.cedar:2:12") && said.contains("keypod policy check"), "{said}");
}

fn policy(arguments: &[&str]) -> Output {
    let mut command = Command::new(keypod());
    command.arg("policy").args(arguments).current_dir(repository().join("policies"));
    command.output().unwrap()
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_cases_of_every_pack_and_example_hold() {
    let named = |folder: &str| {
        let entries = std::fs::read_dir(repository().join("policies").join(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let packs = named("packs");
    let cases: Vec<_> = packs.iter().map(|pack| pack.replace(".cedar", ".toml")).collect();
    assert_eq!(named("tests"), cases, "each pack has cases");
    let cases: Vec<_> = cases.iter().map(|name| format!("tests/{name}")).collect();
    let cases: Vec<_> = cases.iter().map(String::as_str).collect();
    let ran = policy(&[&["test", "--json"], cases.as_slice()].concat());
    assert!(ran.status.success(), "{}", json_of(&ran));
    for example in named("examples") {
        let folder = format!("examples/{example}");
        assert!(policy(&["check", "--folder", &folder]).status.success(), "{example}");
        let ran = policy(&["test", "--json", "--folder", &folder]);
        assert!(ran.status.success() && json_of(&ran)["passed"].as_u64() > Some(0), "{example}");
    }
}

#[test]
fn a_case_that_does_not_hold_fails_and_says_which_policy_decided() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    let case =
        "[[case]]\nname = \"n\"\ncaller = \"orders\"\naction = \"encrypt\"\nkey = \"cards\"\n";
    let run = |rest: &str| {
        std::fs::write(&path, format!("{case}{rest}")).unwrap();
        let path = path.to_str().unwrap();
        policy(&["test", "--json", "--folder", "examples/orders-and-billing", path])
    };
    assert!(run("expect = \"allow\"").status.success());
    for (rest, said) in [
        ("expect = \"deny\"", "allowed, by cards.0"),
        ("expect = \"allow\"\nby = [\"other\"]", "not by other"),
        ("expect = \"allow\"\nmfaa = true", "mfaa"),
    ] {
        let ran = run(rest);
        assert_eq!(ran.status.code(), Some(1));
        assert!(json_of(&ran)["files"][0]["cases"][0]["failure"].as_str().unwrap().contains(said));
    }
    std::fs::write(&path, "").unwrap();
    let none = policy(&["test", "--folder", "examples/orders-and-billing", path.to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(78));
}

#[test]
fn an_explanation_names_the_policies_and_what_would_have_allowed_it() {
    let explain = |arguments: &[&str]| {
        let output = policy(&[&["explain", "--json"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json_of(&output)
    };
    let example = [
        "--folder",
        "examples/orders-and-billing",
        "--key",
        "cards",
        "--caller",
        "billing",
        "--action",
    ];
    let denied = explain(&[&example[..], &["decrypt"]].concat());
    assert_eq!((&denied["allowed"], &denied["by"]), (&json!(false), &json!([])));
    assert_eq!(denied["would_allow"], json!([["purpose=payment in the context"]]));
    let allowed = explain(&[&example[..], &["decrypt", "--context", "purpose=payment"]].concat());
    assert_eq!((&allowed["allowed"], &allowed["by"][0]["id"]), (&json!(true), &json!("cards.1")));
    assert_eq!(explain(&[&example[..], &["encrypt"]].concat())["would_allow"], json!([]));
    let pack = ["--pack", "operators", "--caller", "bob", "--action", "destroy", "--key", "a"];
    let forbidden = explain(&pack);
    assert_eq!(forbidden["by"][0]["id"], "operators.second-factor");
    assert!(forbidden["by"][0]["reason"].as_str().unwrap().contains("second factor"));
    let all = ["a second factor", "the approval of another person", "the role operators"];
    assert_eq!(forbidden["would_allow"], json!([all]));
    let alone = explain(&[&pack[..], &["--mfa", "--role", "operators"]].concat());
    assert_eq!(alone["by"][0]["id"], "operators.two-people");
    assert_eq!(alone["would_allow"], json!([["the approval of another person"]]));
    let two = explain(&[&pack[..], &["--mfa", "--role", "operators", "--approved"]].concat());
    assert_eq!(two["allowed"], json!(true));
    let on_call = ["--pack", "emergency", "--caller", "grey", "--role", "emergency", "--key", "a"];
    let read = explain(&[&on_call[..], &["--action", "decrypt"]].concat());
    let ways = [["a broken glass (an emergency of this caller)", "a key of the group phi"]];
    assert_eq!(read["would_allow"], json!(ways));
    let read = explain(&[&on_call[..], &["--action", "decrypt", "--emergency"]].concat());
    assert_eq!(read["would_allow"], json!([["a key of the group phi"]]));
}

#[test]
fn a_check_says_what_is_wrong_and_where_for_people_and_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let check =
        |more: &[&str]| policy(&[&["check", "--folder", path(folder.path())], more].concat());
    write("a.cedar", "permit (principal in Role::\"nobody\", action, resource);");
    let noted = check(&["--json"]);
    assert!(noted.status.success());
    assert!(json_of(&noted)["notes"][0]["message"].as_str().unwrap().contains("nobody"));
    write(
        "a.cedar",
        "permit (principal, action, resource);\npermit (principal, action == Action::\"decript\", resource);",
    );
    write("entities.toml", "[roles.a]\nroles = [\"a\"]");
    let wrong = check(&["--json"]);
    assert_eq!(wrong.status.code(), Some(78));
    let problems = json_of(&wrong)["problems"].clone();
    assert!(problems.as_array().unwrap().iter().any(|problem| problem["file"] == "entities.toml"));
    std::fs::remove_file(folder.path().join("entities.toml")).unwrap();
    let text = String::from_utf8(check(&[]).stdout).unwrap();
    assert!(
        text.contains("a.cedar:2:30") && text.contains("did you mean `Action::\"decrypt\"`"),
        "{text}"
    );
    write("a.cedar", &"x".repeat((1 << 20) + 1));
    assert_eq!(check(&[]).status.code(), Some(78));
    std::fs::remove_file(folder.path().join("a.cedar")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("a.cedar"), rustix::fs::Mode::RUSR)
        .unwrap();
    assert_eq!(check(&[]).status.code(), Some(78), "a pipe is not waited for");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
