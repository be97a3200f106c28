//! Shows how the sidecar is: `GET /v1/status`.
//!
//! Depends on [`super::client`] and [`super::table`]. It lists whatever the sidecar says, in the sidecar's order of
//! names, so that it need not change when the status grows.

use serde_json::Value;

use super::client::{Client, EndpointArgs};
use super::table::{Table, cell};
use super::{output, runtime};

/// What `keypod status` takes.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Print the sidecar's JSON as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

/// `keypod status`
pub(super) fn run(args: StatusArgs) -> anyhow::Result<()> {
    runtime::run(async move {
        let status = Client::find(&args.endpoint)?.read("/v1/status").await?;
        if args.json { output::json(&status) } else { output::line(&in_words(&status)) }
    })
}

fn in_words(status: &Value) -> String {
    let mut table = Table::of_text(&[]);
    add(&mut table, "", status);
    table.render().trim_start().to_owned()
}

/// A row for each value, named by the path to it.
fn add(table: &mut Table, path: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let separator = if path.is_empty() { "" } else { "." };
                add(table, &format!("{path}{separator}{name}"), value);
            }
        }
        other => table.row(vec![path.to_owned(), cell(Some(other))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_a_value() {
        let status = serde_json::json!({"root": {"name": "local", "ok": true}, "version": "1"});
        assert_eq!(in_words(&status), "root.name  local\nroot.ok    true\nversion    1");
    }
}
