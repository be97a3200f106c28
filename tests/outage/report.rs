//! What was found: lines for a terminal, `results.json`, and from it REPORT.md and the plots.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::figure::{Figure, Results, Row};
use crate::plot;

const RESULTS: &str = "results.json";

/// A figure for a terminal.
pub(crate) fn lines(figure: &Figure) -> String {
    let mut text = String::new();
    for row in &figure.rows {
        let asked =
            if row.asked.is_empty() { String::new() } else { format!(" (asked: {})", row.asked) };
        let _ = writeln!(text, "  {:<15} {}: {}{asked}", verdict(row), row.what, row.measured);
    }
    text
}

/// What an earlier run left in `folder`; nothing, if none did.
pub(crate) fn read(folder: &Path) -> anyhow::Result<Results> {
    match std::fs::read(folder.join(RESULTS)) {
        Ok(bytes) => serde_json::from_slice(&bytes).context("results.json is of another program"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Results::default()),
        Err(error) => Err(error).context("results.json cannot be read"),
    }
}

/// Leaves everything in `folder`.
pub(crate) fn write(folder: &Path, results: &Results) -> anyhow::Result<()> {
    let put = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).with_context(|| format!("{name} cannot be written"))
    };
    let mut plots = Vec::new();
    for plot in plot::ALL {
        let figure = results.figure(plot.figure).filter(|figure| !figure.data.is_null());
        let Some(figure) = figure else { continue };
        put(plot.file, plot::svg(plot, &figure.data)?)?;
        plots.push(plot);
    }
    put("REPORT.md", markdown(results, &plots))?;
    put(RESULTS, format!("{}\n", serde_json::to_string_pretty(results)?))
}

fn markdown(results: &Results, plots: &[&plot::Plot]) -> String {
    let mut text = "# Figures of the outage contract and of shared keys\n\n\
        Made by `tests/outage/run`: real sidecars in processes of their own, moto as AWS KMS behind a stand-in that \
        counts calls and can refuse, a PostgreSQL server, a proxy that can break connections. The numbers are in \
        [results.json](results.json).\n"
        .to_owned();
    let mut machine = None;
    for figure in &results.figures {
        let holds = if figure.holds() { "holds" } else { "**does not hold**" };
        let _ = write!(text, "\n## {}\n\n{}\n\n", figure.title, figure.run);
        if machine != Some(&figure.machine) {
            let on = &figure.machine;
            let cores = on.cores;
            let _ = writeln!(
                text,
                "Measured on {cores} cores that servers, sidecars and clients share; {}; profile {}.\n",
                on.kernel, on.profile
            );
            machine = Some(&figure.machine);
        }
        if figure.quick {
            text.push_str("A quick check, with smaller numbers.\n\n");
        }
        text.push_str("| what | asked | measured | |\n| --- | --- | --- | --- |\n");
        for row in &figure.rows {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                row.what,
                row.asked,
                row.measured,
                verdict(row)
            );
        }
        let _ = writeln!(text, "\nThe figure {holds}.");
        for plot in plots.iter().filter(|plot| plot.figure == figure.name) {
            let _ = writeln!(text, "\n![{}]({})", plot.shows, plot.file);
        }
    }
    text
}

fn verdict(row: &Row) -> &'static str {
    match row.holds {
        Some(true) => "holds",
        Some(false) => "DOES NOT HOLD",
        None => "",
    }
}
