//! Writes to standard output and standard error: the only module of the program that does.
//!
//! Depends on [`super::failure`]. Standard output carries answers and nothing else; standard error carries what
//! people read. Invariant: text that came from elsewhere cannot steer a terminal
//! (`control_characters_do_not_reach_the_terminal`).

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;

use super::failure::Failure;

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes `bytes` to standard output, as they are.
pub(super) fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    or_closed(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// Writes a line for people to standard output.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    write(format!("{}\n", harmless(text)).as_bytes())
}

/// Writes a JSON value and a line feed to standard output.
pub(super) fn json(value: &serde_json::Value) -> anyhow::Result<()> {
    write(format!("{value}\n").as_bytes())
}

/// Writes a line for people to standard error. If that is closed, nobody is there to be told.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless(text));
}

/// Asks on the terminal and returns the answer without its line end; `None` if there is no terminal.
pub(super) fn ask(question: &str) -> anyhow::Result<Option<String>> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{} ", harmless(question)).and_then(|()| stderr.flush())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(Some(answer.trim().to_owned()))
}

fn or_closed(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(Failure::StdoutClosed.into())
        }
        other => other.context("cannot write to standard output"),
    }
}

/// `text` with a replacement character for every control character but the line feed.
fn harmless(text: &str) -> String {
    let replaced =
        |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(replaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2J\rb\nc\u{9b}"), "a\u{fffd}[2J\u{fffd}b\nc\u{fffd}");
    }

    #[test]
    fn a_closed_pipe_is_told_from_other_failures() {
        let closed = or_closed(Err(io::ErrorKind::BrokenPipe.into())).unwrap_err();
        assert!(matches!(closed.downcast_ref(), Some(Failure::StdoutClosed)));
        let full = or_closed(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert!(full.downcast_ref::<Failure>().is_none());
    }
}
