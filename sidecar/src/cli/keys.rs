//! Makes, shows, rotates, restricts and destroys keys.
//!
//! Depends on [`super::client`], [`super::table`] and [`super::output`]. It sees names, versions and states, never
//! a key. Invariant: nothing is destroyed that was not named twice
//! (`nothing_is_destroyed_that_was_not_named_twice`).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::client::{Client, EndpointArgs};
use super::failure::Failure;
use super::table::{Table, cell};
use super::{output, runtime};
use crate::names::{KeyName, KeyVersion};

const AFTER_HELP: &str = "\
Examples:
  keypod keys create patients --rotation-period 90d
  keypod keys show patients
  keypod keys rotate patients
  keypod keys rotate --due
  keypod keys state patients 1 decrypt-only
  keypod keys destroy patients 1 --confirm patients/1
  keypod keys destroy --cancel patients 1";

/// What `keypod keys` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
    /// Print the sidecar's JSON as it is
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    /// Make a key with its first version
    Create {
        /// Its name: 1 to 64 of a-z 0-9 . _ -
        name: KeyName,
        /// How long a version encrypts before the next one is made, such as 90d
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        rotation_period: Option<Duration>,
        /// Messages that one version may encrypt
        #[arg(long, value_name = "N")]
        messages_max: Option<u64>,
        /// Bytes that one version may encrypt
        #[arg(long, value_name = "N")]
        bytes_max: Option<u64>,
    },
    /// List the keys
    List,
    /// Show a key and its versions
    Show {
        /// The key
        name: KeyName,
    },
    /// Make a new version, which encrypts from now on
    Rotate {
        /// The key
        #[arg(required_unless_present = "due")]
        name: Option<KeyName>,
        /// Every key that you may rotate and whose period has passed; for a schedule of your own
        #[arg(long, conflicts_with = "name")]
        due: bool,
        /// Also if its newest version is disabled or destroyed: the key encrypts again
        #[arg(long, conflicts_with = "due")]
        in_any_state: bool,
    },
    /// Set what a version may be used for
    State {
        /// The key
        name: KeyName,
        /// The number of the version
        version: KeyVersion,
        /// The state
        state: State,
    },
    /// Destroy a version: what it encrypted can never be decrypted again
    Destroy {
        /// The key
        name: KeyName,
        /// The number of the version
        version: KeyVersion,
        /// NAME/VERSION once more; asked for on a terminal
        #[arg(long, value_name = "NAME/VERSION", conflicts_with = "cancel")]
        confirm: Option<String>,
        /// Take a destruction back, while it waits for a second person or its delay runs
        #[arg(long)]
        cancel: bool,
    },
    /// List what waits for a second person
    Approvals,
    /// Approve, as the second person, what waits
    Approve {
        /// The id that `keys approvals` shows
        #[arg(value_parser = approval_id)]
        id: String,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    /// Encrypts, if it is the newest version, and decrypts
    Enabled,
    /// Decrypts only
    DecryptOnly,
    /// Does neither, until it is enabled again
    Disabled,
}

impl State {
    /// As API.md spells it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::DecryptOnly => "decrypt_only",
            Self::Disabled => "disabled",
        }
    }
}

/// It becomes part of a path, so it holds letters, digits and hyphens alone.
fn approval_id(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("an approval's id is the letters and digits that `keypod keys approvals` shows")
    }
}

/// `keypod keys`
pub(super) fn run(args: KeysArgs) -> anyhow::Result<()> {
    // Asked before anything else: the runtime's signals would keep Ctrl-C from ending the question.
    let command = confirmed(args.command, output::ask)?;
    runtime::run(async move {
        let mut client = Client::find(&args.endpoint)?;
        let answer = call(&mut client, &command).await?;
        if args.json {
            output::json(&answer)?;
        } else {
            output::line(&in_words(&command, &answer))?;
        }
        match rows(&answer, "rotations").iter().filter(|one| one.get("error").is_some()).count() {
            0 => Ok(()),
            failed => anyhow::bail!("{failed} of the keys whose rotation is due were not rotated"),
        }
    })
}

/// The command with its `confirm` filled in; `ask` asks on the terminal.
fn confirmed(
    mut command: KeysCommand,
    ask: impl FnOnce(&str) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<KeysCommand> {
    if let KeysCommand::Destroy { name, version, confirm, cancel: false } = &mut command {
        let expected = format!("{name}/{version}");
        let given = match confirm.take() {
            Some(given) => Some(given),
            None => ask(&format!(
                "What {expected} encrypted can never be decrypted again. Type {expected} to destroy it:"
            ))?,
        };
        if given.as_ref() != Some(&expected) {
            return Err(Failure::usage(format!("not confirmed: --confirm {expected}")));
        }
        *confirm = given;
    }
    Ok(command)
}

async fn call(client: &mut Client, command: &KeysCommand) -> anyhow::Result<Value> {
    match command {
        KeysCommand::Create { name, rotation_period, messages_max, bytes_max } => {
            let mut body = Map::new();
            body.insert("name".to_owned(), name.as_str().into());
            let settings = [
                ("rotation_period_s", rotation_period.map(|period| period.as_secs())),
                ("messages_max", *messages_max),
                ("bytes_max", *bytes_max),
            ];
            for (setting, value) in settings {
                body.extend(value.map(|value| (setting.to_owned(), value.into())));
            }
            client.post("/v1/keys", Some(&Value::Object(body))).await
        }
        KeysCommand::List => client.read("/v1/keys").await,
        KeysCommand::Show { name } => client.read(&format!("/v1/keys/{name}")).await,
        KeysCommand::Rotate { name: None, .. } => client.post("/v1/rotate/due", None).await,
        KeysCommand::Rotate { name: Some(name), in_any_state, .. } => {
            let body = match in_any_state {
                true => json!({ "key": name.as_str(), "in_any_state": true }),
                false => json!({ "key": name.as_str() }),
            };
            client.post("/v1/rotate", Some(&body)).await
        }
        KeysCommand::State { name, version, state } => {
            let path = format!("/v1/keys/{name}/versions/{version}/state");
            client.post(&path, Some(&json!({ "state": state.as_str() }))).await
        }
        KeysCommand::Destroy { name, version, confirm, cancel } => {
            let path = format!("/v1/keys/{name}/versions/{version}/destroy");
            if *cancel {
                client.post(&format!("{path}/cancel"), None).await
            } else {
                client.post(&path, Some(&json!({ "confirm": confirm }))).await
            }
        }
        KeysCommand::Approvals => client.read("/v1/approvals").await,
        KeysCommand::Approve { id } => client.post(&format!("/v1/approvals/{id}"), None).await,
    }
}

fn in_words(command: &KeysCommand, answer: &Value) -> String {
    match command {
        KeysCommand::List => key_table(answer),
        KeysCommand::Approvals => approval_table(answer),
        KeysCommand::Rotate { due: true, .. } => rotation_table(answer),
        KeysCommand::Rotate { .. } => {
            let (key, version) = (cell(answer.get("key")), cell(answer.get("key_version")));
            format!("{key} now encrypts with version {version}")
        }
        KeysCommand::Destroy { .. } if answer.get("approval").is_some() => {
            let (id, until) = (cell(answer.get("approval")), cell(answer.get("expires_at")));
            format!("waits until {until} for a second person: keypod keys approve {id}")
        }
        _ => one_key(answer),
    }
}

fn rows<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn key_table(answer: &Value) -> String {
    let mut table = Table::of_text(&["NAME", "ID", "PRIMARY", "VERSIONS", "ROTATION"]);
    for key in rows(answer, "keys") {
        table.row(vec![
            cell(key.get("name")),
            cell(key.get("id")),
            cell(key.get("primary_version")),
            rows(key, "versions").len().to_string(),
            period(key),
        ]);
    }
    table.render()
}

fn rotation_table(answer: &Value) -> String {
    let rotations = rows(answer, "rotations");
    if rotations.is_empty() {
        return "no rotation is due".to_owned();
    }
    let mut table = Table::of_text(&["KEY", "NEW VERSION", "WHY"]);
    for rotation in rotations {
        let why = match rotation.get("error") {
            Some(error) => format!("failed: {}", cell(error.get("detail"))),
            None => cell(rotation.get("due")),
        };
        table.row(vec![cell(rotation.get("key")), cell(rotation.get("key_version")), why]);
    }
    table.render()
}

fn approval_table(answer: &Value) -> String {
    let columns = ["approval", "key", "key_version", "requested_by", "requested_at", "expires_at"];
    let mut table =
        Table::of_text(&["ID", "KEY", "VERSION", "REQUESTED BY", "REQUESTED AT", "EXPIRES AT"]);
    for approval in rows(answer, "approvals") {
        table.row(columns.map(|column| cell(approval.get(column))).to_vec());
    }
    table.render()
}

fn one_key(key: &Value) -> String {
    let mut about = Table::of_text(&["name", &cell(key.get("name"))]);
    for name in ["id", "primary_version", "created_at", "messages_max", "bytes_max"] {
        if let Some(value) = key.get(name) {
            about.row(vec![name.replace('_', " "), cell(Some(value))]);
        }
    }
    about.row(vec!["rotation".to_owned(), period(key)]);
    let columns = ["version", "state", "created_at", "destroy_at", "wrapped_by"];
    let mut versions =
        Table::of_text(&["VERSION", "STATE", "CREATED AT", "DESTROYED AT", "WRAPPED BY"]);
    for version in rows(key, "versions") {
        versions.row(columns.map(|column| cell(version.get(column))).to_vec());
    }
    format!("{}\n\n{}", about.render(), versions.render())
}

fn period(key: &Value) -> String {
    match key.get("rotation_period_s").and_then(Value::as_u64) {
        Some(seconds) => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
        None => "by request".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::Sidecar;

    fn destroy(confirm: Option<&str>, cancel: bool) -> KeysCommand {
        let (name, version) = ("demo".parse().unwrap(), KeyVersion::FIRST);
        KeysCommand::Destroy { name, version, confirm: confirm.map(str::to_owned), cancel }
    }

    fn rotate(name: Option<KeyName>, in_any_state: bool) -> KeysCommand {
        KeysCommand::Rotate { due: name.is_none(), name, in_any_state }
    }

    #[test]
    fn nothing_is_destroyed_that_was_not_named_twice() {
        let says = |text: &'static str| move |_: &str| Ok(Some(text.to_owned()));
        let no_terminal = |_: &str| Ok(None);
        assert!(confirmed(destroy(None, false), no_terminal).is_err());
        assert!(confirmed(destroy(Some("demo/2"), false), no_terminal).is_err());
        assert!(confirmed(destroy(None, false), says("y")).is_err());
        assert!(confirmed(destroy(None, false), says("demo/1")).is_ok());
        assert!(confirmed(destroy(Some("demo/1"), false), no_terminal).is_ok());
        assert!(confirmed(destroy(None, true), no_terminal).is_ok());
    }

    #[tokio::test]
    async fn each_command_is_the_request_that_the_api_describes() {
        let name: KeyName = "demo".parse().unwrap();
        let version = KeyVersion::FIRST;
        let create = KeysCommand::Create {
            name: name.clone(),
            rotation_period: Some(Duration::from_secs(90)),
            messages_max: Some(5),
            bytes_max: None,
        };
        let state = KeysCommand::State { name: name.clone(), version, state: State::DecryptOnly };
        let cases = [
            (create, r#"POST /v1/keys {"name":"demo","rotation_period_s":90,"messages_max":5}"#),
            (KeysCommand::List, "GET /v1/keys "),
            (KeysCommand::Show { name: name.clone() }, "GET /v1/keys/demo "),
            (rotate(Some(name.clone()), false), r#"POST /v1/rotate {"key":"demo"}"#),
            (rotate(Some(name), true), r#"POST /v1/rotate {"key":"demo","in_any_state":true}"#),
            (rotate(None, false), "POST /v1/rotate/due "),
            (state, r#"POST /v1/keys/demo/versions/1/state {"state":"decrypt_only"}"#),
            (
                destroy(Some("demo/1"), false),
                r#"POST /v1/keys/demo/versions/1/destroy {"confirm":"demo/1"}"#,
            ),
            (destroy(None, true), "POST /v1/keys/demo/versions/1/destroy/cancel "),
            (KeysCommand::Approvals, "GET /v1/approvals "),
            (KeysCommand::Approve { id: "a1".to_owned() }, "POST /v1/approvals/a1 "),
        ];
        let sidecar = Sidecar::echoing();
        for (command, expected) in cases {
            let answer = call(&mut sidecar.client(), &command).await.unwrap();
            assert_eq!(cell(answer.get("seen")), expected);
        }
    }

    #[test]
    fn keys_are_shown_as_tables() {
        let key = json!({"name": "demo", "id": "00ff", "primary_version": 1,
            "rotation_period_s": 7_776_000, "versions": [{"version": 1, "state": "enabled",
            "created_at": "2026-01-01T00:00:00Z", "wrapped_by": ["local"]}]});
        let list = in_words(&KeysCommand::List, &json!({ "keys": [key] }));
        assert!(list.contains("demo  00ff  1"), "{list}");
        let shown = one_key(&key);
        assert!(shown.contains("1        enabled  2026-01-01T00:00:00Z  -"), "{shown}");
        assert!(shown.contains("rotation         2months 29days"), "{shown}");
        let waits = json!({"approval": "a1", "expires_at": "T"});
        let waits = in_words(&destroy(None, false), &waits);
        assert!(waits.contains("keypod keys approve a1"), "{waits}");
    }

    #[test]
    fn an_approvals_id_cannot_leave_its_path() {
        assert!(approval_id("0af3").is_ok());
        for bad in ["", "../keys", "a/b", "a?b", "a b"] {
            assert!(approval_id(bad).is_err(), "{bad}");
        }
    }
}
