//! `keypod policy`: looks at policies without a running sidecar: are they valid, do their cases hold, why is the
//! answer what it is.
//!
//! Depends on [`crate::policy`], and on [`crate::app`] for what a configuration names.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{EncryptionContext, Pair};
use super::failure::Failure;
use super::output;
use crate::app;
use crate::config::{self, Config};
use crate::policy::{
    CaseFile, Document, Explanation, Outcome, PACKS, Policies, Problem, Question, explain, folder,
    pack, pack_names,
};

/// What `keypod policy` takes.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Say whether a set of policies is valid, and what is wrong and where
    Check(CheckArgs),
    /// Run the cases of a set: files that say who may do what
    #[command(after_help = CASES_HELP)]
    Test(TestArgs),
    /// Say which policies decide a question, and for a denial what would have allowed it
    #[command(
        after_help = "Example:\n  keypod policy explain --folder policies --caller billing --action decrypt --key cards"
    )]
    Explain(ExplainArgs),
    /// Print a built-in pack
    Pack {
        /// Which; without it, their names
        name: Option<String>,
    },
}

const CASES_HELP: &str = "\
A case:
  [[case]]
  name = \"billing reads for payment\"
  caller = \"billing\"
  action = \"decrypt\"
  key = \"cards\"
  context = { purpose = \"payment\" }
  expect = \"allow\"
and, where they matter: roles, kind, key_groups, mfa, approved, emergency,
transport, now, by.";

/// Which set: the configuration's, or a folder and packs.
#[derive(Debug, Args)]
struct SetArgs {
    /// The configuration whose policies and callers are meant  [default: the sidecar's]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["folder", "packs"])]
    config: Option<PathBuf>,
    /// A folder of policies, without a configuration
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// A built-in pack; can be given again
    #[arg(long = "pack", value_name = "NAME")]
    packs: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    set: SetArgs,
}

#[derive(Debug, Args)]
struct TestArgs {
    #[command(flatten)]
    set: SetArgs,
    /// Files of cases  [default: tests/*.toml in the folder of policies]
    #[arg(value_name = "CASES")]
    cases: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    #[command(flatten)]
    set: SetArgs,
    /// Who would ask
    #[arg(long)]
    caller: String,
    /// For what: encrypt, decrypt, rotate, ...
    #[arg(long)]
    action: String,
    /// To which key
    #[arg(long)]
    key: Option<String>,
    /// A pair of the request's context; can be given again
    #[arg(long, value_name = "NAME=VALUE")]
    context: Vec<Pair>,
    /// A role that the proof gives; can be given again
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// How they prove it: token, peer, service_account or person
    #[arg(long, default_value = "token")]
    kind: String,
    /// Which way: unix or tcp
    #[arg(long, default_value = "unix")]
    transport: String,
    /// With a second factor
    #[arg(long)]
    mfa: bool,
    /// With the approval of another person
    #[arg(long)]
    approved: bool,
    /// While the caller has broken the glass
    #[arg(long)]
    emergency: bool,
    /// At this time, such as 2026-11-25T08:00:00Z
    #[arg(long)]
    now: Option<String>,
}

fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load(path).map_err(Failure::of_configuration)
}

pub(super) fn run(args: PolicyArgs) -> anyhow::Result<()> {
    match args.command {
        PolicyCommand::Check(args) => check(&args.set),
        PolicyCommand::Test(args) => test(&args),
        PolicyCommand::Explain(args) => explained(args),
        PolicyCommand::Pack { name } => show_pack(name.as_deref()),
    }
}

impl SetArgs {
    /// The set that is meant, with these packs besides.
    fn load(&self, besides: &[String]) -> anyhow::Result<Result<Policies, Vec<Problem>>> {
        let mut packs = self.packs.clone();
        packs.extend(besides.iter().filter(|name| !self.packs.contains(name)).cloned());
        let alone = self.folder.is_some() || !packs.is_empty();
        if self.config.is_some() || !alone {
            let path = self.config.as_deref().unwrap_or(Path::new(config::DEFAULT_PATH));
            let mut config = load(path)?;
            config.policy.packs.extend(besides.iter().cloned());
            return Ok(app::load_policies(&config));
        }
        let documents = match &self.folder {
            None => Vec::new(),
            Some(path) => match folder::read(path) {
                Ok((documents, _)) => documents,
                Err(problem) => return Ok(Err(vec![problem])),
            },
        };
        let packs: Vec<_> = packs.iter().map(String::as_str).collect();
        Ok(Policies::load(&documents, &packs, &[]))
    }

    /// The same, or a failure that says everything that is wrong.
    fn valid(&self, besides: &[String]) -> anyhow::Result<Policies> {
        self.load(besides)?.map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
            Failure::configuration(format!("the policies are not valid:\n{}", lines.join("\n")))
        })
    }
}

fn check(set: &SetArgs) -> anyhow::Result<()> {
    let loaded = set.load(&[])?;
    let (problems, notes) = match &loaded {
        Ok(policies) => (&[][..], policies.notes()),
        Err(problems) => (problems.as_slice(), &[][..]),
    };
    if set.json {
        let (count, hash) = match &loaded {
            Ok(policies) => (policies.count(), Some(policies.hash_text())),
            Err(_) => (0, None),
        };
        let valid = loaded.is_ok();
        output::json(&json!({
            "valid": valid, "policies": count, "hash": hash, "problems": problems, "notes": notes,
        }))?;
    } else {
        for problem in problems {
            output::line(&format!("WRONG  {problem}"))?;
        }
        for note in notes {
            output::line(&format!("note   {note}"))?;
        }
        if let Ok(policies) = &loaded {
            let (count, hash) = (policies.count(), policies.hash_text());
            output::line(&format!("ok     {count} policies, hash {hash}"))?;
        }
    }
    match loaded {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::configuration("the policies are not valid: see above".to_owned())),
    }
}

fn test(args: &TestArgs) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for path in case_files(args)? {
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::usage(format!("cannot read the cases {}: {error}", path.display()))
        })?;
        let document = Document { name: path.display().to_string(), text };
        let cases = CaseFile::parse(&document)
            .map_err(|problem| Failure::configuration(problem.to_string()))?;
        let policies = args.set.valid(&cases.packs)?;
        files.push((document.name, cases.run(&policies)));
    }
    let all = || files.iter().flat_map(|(_, outcomes)| outcomes);
    let failed = all().filter(|outcome| outcome.failure.is_some()).count();
    if args.set.json {
        let files: Vec<_> =
            files.iter().map(|(file, cases)| json!({ "file": file, "cases": cases })).collect();
        output::json(
            &json!({ "passed": all().count() - failed, "failed": failed, "files": files }),
        )?;
    } else {
        for (file, outcomes) in &files {
            outcomes.iter().try_for_each(|outcome| say_outcome(file, outcome))?;
        }
        output::line(&format!("{} cases hold, {failed} do not", all().count() - failed))?;
    }
    if failed == 0 { Ok(()) } else { Err(Failure::Reported.into()) }
}

fn say_outcome(file: &str, outcome: &Outcome) -> anyhow::Result<()> {
    match &outcome.failure {
        None => output::line(&format!("ok     {file}: {}", outcome.name)),
        Some(failure) => output::line(&format!("WRONG  {file}: {}: {failure}", outcome.name)),
    }
}

/// The files that are named, or those beside the policies. No cases at all is a mistake, not a success.
fn case_files(args: &TestArgs) -> anyhow::Result<Vec<PathBuf>> {
    if !args.cases.is_empty() {
        return Ok(args.cases.clone());
    }
    let folder = match (&args.set.folder, &args.set.config) {
        (Some(folder), _) => Some(folder.clone()),
        (None, Some(path)) => load(path)?.policy.folder,
        (None, None) => None,
    };
    let Some(folder) = folder else {
        return Err(Failure::usage("name files of cases, or the --folder of policies with tests/"));
    };
    let folder = folder.join("tests");
    let entries = std::fs::read_dir(&folder).map_err(|error| {
        Failure::usage(format!("cannot read the cases in {}: {error}", folder.display()))
    })?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    if files.is_empty() {
        return Err(Failure::usage(format!("there are no cases in {}", folder.display())));
    }
    Ok(files)
}

fn explained(args: ExplainArgs) -> anyhow::Result<()> {
    let policies = args.set.valid(&[])?;
    let context = EncryptionContext::read(&args.context, None)?.unwrap_or_default().to_json();
    let question = json!({
        "caller": args.caller, "action": args.action, "key": args.key, "context": context,
        "roles": args.roles, "kind": args.kind, "transport": args.transport, "mfa": args.mfa,
        "approved": args.approved, "emergency": args.emergency, "now": args.now,
    });
    let question: Question =
        serde_json::from_value(question).map_err(|error| Failure::usage(error.to_string()))?;
    let explanation =
        explain(&policies, &question).map_err(|error| Failure::usage(error.to_string()))?;
    if args.set.json {
        return output::json(&serde_json::to_value(&explanation)?);
    }
    output::line(&describe(&explanation))
}

fn describe(explanation: &Explanation) -> String {
    let mut lines = vec![if explanation.allowed { "allowed" } else { "denied" }.to_owned()];
    for policy in &explanation.by {
        let reason = policy.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(format!("  by {}{reason}", policy.id));
    }
    if explanation.allowed {
        return lines.join("\n");
    }
    if explanation.by.is_empty() {
        lines.push("  because no policy permits it".to_owned());
    }
    if explanation.would_allow.is_empty() {
        lines.push(
            "nothing that the policies look at would have allowed it to this caller".to_owned(),
        );
    } else {
        lines.push("it would have been allowed with".to_owned());
        let ways = explanation.would_allow.iter().map(|way| format!("  {}", way.join(", and ")));
        lines.extend(ways);
    }
    lines.join("\n")
}

fn show_pack(name: Option<&str>) -> anyhow::Result<()> {
    match name.map(pack) {
        None => PACKS.iter().try_for_each(|(name, _)| output::line(name)),
        Some(Some(text)) => output::write(text.as_bytes()),
        Some(None) => {
            Err(Failure::usage(format!("there is no such pack; there are {}", pack_names())))
        }
    }
}
