//! Breaks the glass for whoever calls, shows who has broken it, and ends it.
//!
//! Depends on [`super::client`], [`super::table`] and [`super::output`].

use serde_json::{Value, json};

use super::client::{Client, EndpointArgs};
use super::table::{Table, cell};
use super::{output, runtime};

const AFTER_HELP: &str = "\
Breaking the glass raises an alarm, and everything that you read until it ends is in the log
with your name. The reason is in the log, too: name no patient in it.

Examples:
  keypod emergency begin --reason 'patient unconscious in resus 2' --minutes 30
  keypod emergency list
  keypod emergency end";

/// What `keypod emergency` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct EmergencyArgs {
    #[command(subcommand)]
    command: EmergencyCommand,
    /// Print the sidecar's JSON as it is
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

#[derive(Debug, clap::Subcommand)]
enum EmergencyCommand {
    /// Break the glass: for a while, do what policy keeps for an emergency
    Begin {
        /// Why, in 10 to 500 characters; it goes into the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// How long, at most
        #[arg(long, value_name = "MINUTES")]
        minutes: u32,
    },
    /// List who has broken the glass: you, or everybody if you may read the status
    List,
    /// End what you have begun, before its time
    End,
}

/// `keypod emergency`
pub(super) fn run(args: EmergencyArgs) -> anyhow::Result<()> {
    runtime::run(async move {
        let answer = call(&mut Client::find(&args.endpoint)?, &args.command).await?;
        if args.json {
            output::json(&answer)
        } else {
            output::line(&in_words(&args.command, &answer))
        }
    })
}

async fn call(client: &mut Client, command: &EmergencyCommand) -> anyhow::Result<Value> {
    match command {
        EmergencyCommand::Begin { reason, minutes } => {
            let body = json!({ "reason": reason, "minutes": minutes });
            client.post("/v1/emergency", Some(&body)).await
        }
        EmergencyCommand::List => client.read("/v1/emergency").await,
        EmergencyCommand::End => client.post("/v1/emergency/end", None).await,
    }
}

fn in_words(command: &EmergencyCommand, answer: &Value) -> String {
    let (caller, until) = (cell(answer.get("caller")), cell(answer.get("until")));
    match command {
        EmergencyCommand::Begin { .. } => {
            format!(
                "{caller} has broken the glass until {until}; to end it before: keypod emergency end"
            )
        }
        EmergencyCommand::End => format!("the emergency of {caller} has ended"),
        EmergencyCommand::List => table(answer),
    }
}

fn table(answer: &Value) -> String {
    let mut table = Table::of_text(&["CALLER", "SINCE", "UNTIL", "REASON"]);
    let rows = answer.get("emergencies").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for row in rows {
        table.row(["caller", "since", "until", "reason"].map(|name| cell(row.get(name))).to_vec());
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::Sidecar;

    #[tokio::test]
    async fn each_command_is_the_request_that_the_api_describes() {
        let begin = EmergencyCommand::Begin { reason: "ten letters".to_owned(), minutes: 5 };
        let cases = [
            (begin, r#"POST /v1/emergency {"reason":"ten letters","minutes":5}"#),
            (EmergencyCommand::List, "GET /v1/emergency "),
            (EmergencyCommand::End, "POST /v1/emergency/end "),
        ];
        let sidecar = Sidecar::echoing();
        for (command, expected) in cases {
            let answer = call(&mut sidecar.client(), &command).await.unwrap();
            assert_eq!(cell(answer.get("seen")), expected);
        }
    }

    #[test]
    fn people_are_told_until_when_and_how_to_end_it() {
        let one = json!({ "caller": "grey", "reason": "why", "since": "S", "until": "U" });
        let begin = EmergencyCommand::Begin { reason: String::new(), minutes: 1 };
        let said = in_words(&begin, &one);
        assert!(said.contains("until U") && said.contains("keypod emergency end"), "{said}");
        let list = in_words(&EmergencyCommand::List, &json!({ "emergencies": [one] }));
        assert_eq!(list, "CALLER  SINCE  UNTIL  REASON\ngrey    S      U      why");
    }
}
