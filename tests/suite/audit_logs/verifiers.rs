//! Runs both verifiers over a folder: `keypod audit verify`, and `tests/audit/verify.py`, which shares no code with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use keypod_tests::{keypod, repository};
use serde_json::Value;

/// A Python that has what `tests/audit/requirements.txt` names: installed once, and anew when that changes.
fn python() -> &'static PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let target = repository().join("target");
        let wanted = repository().join("tests/audit/requirements.txt");
        let folder = target.join("keypod-test-audit");
        let lock = File::create(target.join("keypod-test-audit.lock")).unwrap();
        lock.lock().unwrap();
        let installed = folder.join("requirements.txt");
        let text = std::fs::read(&wanted).unwrap();
        if std::fs::read(&installed).ok() != Some(text) {
            let _ = std::fs::remove_dir_all(&folder);
            ran(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            let mut pip = Command::new(folder.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
            ran(pip.arg(&wanted));
            std::fs::copy(&wanted, &installed).unwrap();
        }
        folder.join("bin/python")
    })
}

fn ran(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What both verifiers say of a folder.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) verdict: String,
    /// What `keypod` says, in JSON.
    pub(super) json: Value,
    /// What the other says: log and entry of each problem.
    places: Vec<(Option<u64>, Option<u64>)>,
    text: String,
}

/// A program's exit code, standard output and standard error.
pub(super) fn run(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

pub(super) fn audit(arguments: &[&str]) -> Command {
    let mut command = Command::new(keypod());
    command.arg("audit").args(arguments);
    command
}

pub(super) fn second(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.arg("-B").arg(repository().join("tests/audit/verify.py")).arg(folder).args(arguments);
    command
}

/// Both verifiers over `folder`: they must agree on the verdict and on the exit code.
pub(super) fn verify(folder: &Path, arguments: &[&str]) -> Said {
    let mut first = audit(&["verify", "--json"]);
    first.arg(folder).args(arguments);
    let (code, json, errors) = run(first);
    let json: Value =
        serde_json::from_str(&json).unwrap_or_else(|_| panic!("{code}: {json}{errors}"));
    let verdict = json["verdict"].as_str().unwrap().to_owned();
    let (other_code, text, errors) = run(second(folder, arguments));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(&*verdict), "they do not agree: {json:#}\n{text}{errors}");
    assert_eq!(code, other_code, "{text}{errors}");
    assert_eq!(code, i32::from(verdict == "tampered"), "{json:#}");
    let place = |line: &str| {
        let (log, rest) = line.strip_prefix("log ")?.split_once(", entry ")?;
        Some((log.parse().ok(), rest.split_once(':')?.0.parse().ok()))
    };
    let places = lines.map(|line| place(line).unwrap_or_else(|| panic!("{line}"))).collect();
    Said { verdict, json, places, text }
}

impl Said {
    /// Asserts that the verdict is `tampered`, and that this is among what is wrong: of which kind, in which log, at which
    /// entry. The second verifier must name the same log, and the same entry if it names one.
    #[track_caller]
    pub(super) fn tampered(
        &self,
        kind: &str,
        log: impl Into<Option<u64>>,
        entry: impl Into<Option<u64>>,
    ) {
        let (log, entry) = (log.into(), entry.into());
        assert_eq!(self.verdict, "tampered", "{:#}", self.json);
        let problems = self.json["problems"].as_array().unwrap();
        let found = problems.iter().any(|problem| {
            let is = |field: &str, wanted: Option<u64>| problem[field].as_u64() == wanted;
            problem["kind"] == kind && is("log", log) && is("entry", entry)
        });
        assert!(found, "no {kind} at {log:?}, {entry:?}: {:#}", self.json["problems"]);
        let named = |&(its_log, its_entry): &(Option<u64>, Option<u64>)| {
            its_log == log && (entry.is_none() || its_entry.is_none() || its_entry == entry)
        };
        assert!(self.places.iter().any(named), "the second does not name it: {}", self.text);
    }

    /// Asserts that nothing else is wrong than problems of these kinds.
    #[track_caller]
    pub(super) fn only(&self, kinds: &[&str]) {
        let problems = self.json["problems"].as_array().unwrap();
        let other =
            problems.iter().find(|problem| !kinds.contains(&problem["kind"].as_str().unwrap()));
        assert!(other.is_none(), "{:#}", self.json["problems"]);
    }

    #[track_caller]
    pub(super) fn is(&self, verdict: &str) {
        assert_eq!(self.verdict, verdict, "{:#}", self.json);
    }

    /// The texts of the remarks.
    pub(super) fn remarks(&self) -> String {
        self.json["remarks"].to_string()
    }
}
