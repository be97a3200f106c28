//! The page: HTML and CSS, with nothing in it that is not on the page itself.

mod parts;

use super::chart::{Bar, bars, cell_bar, escape, grouped};
use super::counts::{Counts, NAMES_MAX};
use super::tally::{Event, Events, Row, Tally};
use crate::audit::verify::{LogState, Trust, Verdict, Verification, rfc3339};
use crate::clock::UnixSeconds;

const STYLE: &str = include_str!("page.css");
/// Rows of a table of names that are shown; the rest is one row.
const ROWS_MAX: usize = 40;
/// Bars of a chart of days: longer times are shown by weeks or months.
const BARS_MAX: u64 = 62;

/// The whole page.
pub(super) fn page(
    verification: &Verification,
    tally: &Tally,
    made: UnixSeconds,
    trust: &Trust,
) -> String {
    let body = [
        parts::head(verification, tally, made, trust),
        parts::problems(verification),
        figures(tally),
        over_time(tally),
        hours(tally),
        ranked("Callers", "caller", &tally.callers),
        ranked("Keys", "key", &tally.keys),
        ranked("Operations", "operation", &tally.operations),
        refusals(tally),
        first_seen(tally),
        emergencies(tally),
        events(
            "Changes of keys",
            &tally.key_changes,
            "No key was made, rotated, restricted or destroyed.",
        ),
        events(
            "Policies and tokens",
            &tally.policies,
            "No policies and no token files were read again.",
        ),
        life(verification, tally),
        events(
            "Gaps, lost copies, deleted logs",
            &tally.losses,
            "No entry tells of a gap, of a copy that a sink lost, or of a log that was pruned.",
        ),
        parts::logs(verification),
        parts::foot(),
    ];
    let verdict = verification.verdict;
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Audit report: {verdict}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
        body.concat()
    )
}

fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{body}</section>\n", escape(title))
}

fn none(text: &str) -> String {
    format!("<p class=\"none\">{}</p>\n", escape(text))
}

/// A table: headings, of which those that begin with `#` are of numbers, and rows of cells that are HTML already.
fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let number = |at: usize| headings.get(at).is_some_and(|heading| heading.starts_with('#'));
    let class = |at: usize| if number(at) { " class=\"number\"" } else { "" };
    let mut html = "<table>\n<thead><tr>".to_owned();
    for (at, heading) in headings.iter().enumerate() {
        let text = escape(heading.trim_start_matches('#'));
        html.push_str(&format!("<th scope=\"col\"{}>{text}</th>", class(at)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            html.push_str(&format!("<td{}>{cell}</td>", class(at)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n");
    html
}

/// A time to the second, for people.
fn moment(time_ms: u64) -> String {
    let text = rfc3339(time_ms);
    let seconds = text.get(..19).map(|text| text.replace('T', " "));
    format!("<span class=\"whole\">{}</span>", escape(&seconds.unwrap_or(text)))
}

fn day(day: u64) -> String {
    let text = rfc3339(day.saturating_mul(86_400_000));
    text.get(..10).unwrap_or(&text).to_owned()
}

fn figures(tally: &Tally) -> String {
    let Row { all, denied, failed, .. } = tally.requests;
    let callers = tally.callers.known.len();
    let callers =
        if tally.callers.has_others { format!("over {NAMES_MAX}") } else { callers.to_string() };
    let figures = [
        ("requests", grouped(all)),
        ("denied", grouped(denied)),
        ("failed", grouped(failed)),
        ("callers", callers),
        ("emergencies", grouped(tally.emergencies_begun)),
        ("changes of keys", grouped(tally.keys_changed)),
    ];
    let cells =
        figures.map(|(name, value)| format!("<div><b>{value}</b><span>{name}</span></div>\n"));
    format!("<section class=\"figures\">\n{}</section>\n", cells.concat())
}

/// Requests per day; of a longer time, per week or per thirty days.
fn over_time(tally: &Tally) -> String {
    let days = &tally.days.known;
    let (Some((&first, _)), Some((&last, _))) = (days.first_key_value(), days.last_key_value())
    else {
        return section("Requests over time", &none("No caller asked for anything."));
    };
    let span = last.saturating_sub(first).saturating_add(1);
    let (width, unit) = match span {
        0..=BARS_MAX => (1, "day"),
        63..=434 => (7, "week"),
        435..=1860 => (30, "thirty days"),
        _ => (span.div_ceil(BARS_MAX), "period"),
    };
    let mut all: Vec<(String, Row)> = Vec::new();
    for at in 0..span.div_ceil(width) {
        let begin = first.saturating_add(at.saturating_mul(width));
        let mut row = Row::default();
        for (_, more) in days.range(begin..begin.saturating_add(width)) {
            super::counts::Sum::add(&mut row, *more);
        }
        all.push((day(begin), row));
    }
    let short = if width == 1 { 5 } else { 2 };
    let bar = |(name, row): &(String, Row), value: u64, dark: u64| Bar {
        says: format!("{name}: {} requests, {} denied, {} failed", row.all, row.denied, row.failed),
        name: name.get(short..).unwrap_or_default().to_owned(),
        value,
        dark,
    };
    let unwell = |row: &Row| row.denied.saturating_add(row.failed);
    let requests: Vec<_> = all.iter().map(|one| bar(one, one.1.all, unwell(&one.1))).collect();
    let refused: Vec<_> = all.iter().map(|one| bar(one, unwell(&one.1), unwell(&one.1))).collect();
    let mut body = format!(
        "<p class=\"legend\"><span class=\"key\"></span>requests per {unit}, in UTC, from {} to {} <span class=\"key dark\"></span>of these, denied or failed</p>\n{}",
        day(first),
        day(last),
        bars(&format!("Requests per {unit}"), &requests),
    );
    if tally.requests.denied > 0 || tally.requests.failed > 0 {
        body.push_str(&format!(
            "<p class=\"legend\"><span class=\"key dark first\"></span>denied or failed per {unit}, on a scale of their own</p>\n{}",
            bars(&format!("Requests denied or failed per {unit}"), &refused),
        ));
    }
    if tally.days.has_others {
        body.push_str(&none("Some entries have times far from the others; they are not drawn."));
    }
    section("Requests over time", &body)
}

fn hours(tally: &Tally) -> String {
    let bar = |(hour, &value): (usize, &u64)| Bar {
        name: format!("{hour:02}"),
        value,
        dark: 0,
        says: format!("from {hour:02}:00 to {hour:02}:59: {value} requests"),
    };
    let all: Vec<_> = tally.hours.iter().enumerate().map(bar).collect();
    let legend = "<p class=\"legend\"><span class=\"key\"></span>requests per hour of the day, in UTC, over all days</p>\n";
    section("Hours of the day", &format!("{legend}{}", bars("Requests per hour of the day", &all)))
}

/// Names by how often they come, the most first.
fn ranked(title: &str, of: &str, counts: &Counts<String, Row>) -> String {
    let mut all: Vec<_> = counts.known.iter().collect();
    all.sort_by(|(a, a_row), (b, b_row)| b_row.all.cmp(&a_row.all).then_with(|| a.cmp(b)));
    if all.is_empty() {
        return section(title, &none("None."));
    }
    let most = all.first().map_or(1, |(_, row)| row.all);
    let row = |name: String, row: &Row| {
        let [first, last] = row.times_ms.unwrap_or_default().map(moment);
        vec![
            name,
            grouped(row.all),
            cell_bar(row.all, most),
            grouped(row.denied),
            grouped(row.failed),
            first,
            last,
        ]
    };
    let mut rows: Vec<_> =
        all.iter().take(ROWS_MAX).map(|(name, counted)| row(escape(name), counted)).collect();
    let mut rest = counts.others;
    all.iter()
        .skip(ROWS_MAX)
        .for_each(|(_, counted)| super::counts::Sum::add(&mut rest, **counted));
    if rest.all > 0 {
        rows.push(row("<i>all others</i>".to_owned(), &rest));
    }
    let headings = [of, "#requests", "", "#denied", "#failed", "first", "last"];
    section(title, &table(&headings, &rows))
}

/// What was counted under several names at once, the most frequent first.
fn together<const NAMES: usize>(
    counts: &Counts<[String; NAMES], Row>,
    headings: [&str; NAMES],
) -> String {
    let mut all: Vec<_> = counts.known.iter().collect();
    all.sort_by(|(a, a_row), (b, b_row)| b_row.all.cmp(&a_row.all).then_with(|| a.cmp(b)));
    let cells = |names: [String; NAMES], rest: &[String]| [&names[..], rest].concat();
    let row = |(names, row): &(&[String; NAMES], &Row)| {
        let [first, last] = row.times_ms.unwrap_or_default().map(moment);
        cells(names.each_ref().map(|name| escape(name)), &[grouped(row.all), first, last])
    };
    let mut rows: Vec<_> = all.iter().take(ROWS_MAX).map(row).collect();
    let rest = all
        .iter()
        .skip(ROWS_MAX)
        .map(|(_, row)| row.all)
        .fold(counts.others.all, u64::saturating_add);
    if rest > 0 {
        let mut names = [const { String::new() }; NAMES];
        if let Some(first) = names.first_mut() {
            "<i>all others</i>".clone_into(first);
        }
        rows.push(cells(names, &[grouped(rest)]));
    }
    table(&[&headings[..], &["#times", "first", "last"]].concat(), &rows)
}

fn refusals(tally: &Tally) -> String {
    let mut body = "<h3>Denied, by caller</h3>\n".to_owned();
    body.push_str(&match tally.denials.known.is_empty() {
        true => none("Nothing was denied."),
        false => together(&tally.denials, ["caller", "key", "code"]),
    });
    body.push_str("<h3>Failed, by operation</h3>\n");
    body.push_str(&match tally.failures.known.is_empty() {
        true => none("Nothing failed."),
        false => together(&tally.failures, ["operation", "code"]),
    });
    if !tally.refused.known.is_empty() {
        body.push_str("<h3>Turned away before it was known what they wanted</h3>\n");
        let rows = tally.refused.known.iter().take(ROWS_MAX);
        let rows: Vec<_> = rows.map(|(code, count)| vec![escape(code), grouped(*count)]).collect();
        body.push_str(&table(&["code", "#times"], &rows));
    }
    section("Denials and failures", &body)
}

fn first_seen(tally: &Tally) -> String {
    let days = tally.first_seen();
    if days.is_empty() {
        return section("Callers first seen", &none("None."));
    }
    let rows = days.iter().take(ROWS_MAX).map(|(at, callers)| {
        let shown: Vec<_> = callers.iter().take(30).map(|caller| escape(caller)).collect();
        let more = callers.len().saturating_sub(30);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        vec![day(*at), callers.len().to_string(), format!("{}{more}", shown.join(", "))]
    });
    let rows: Vec<_> = rows.collect();
    let note =
        none("The days on which a name asked for the first time in these logs, the newest first.");
    section("Callers first seen", &format!("{note}{}", table(&["day", "#callers", "who"], &rows)))
}

/// A word that is not broken at the end of a line, unless it is long.
fn whole(text: &str) -> String {
    let escaped = escape(text);
    if text.len() > 24 { escaped } else { format!("<span class=\"whole\">{escaped}</span>") }
}

fn event_row(event: &Event) -> Vec<String> {
    vec![
        moment(event.time_ms),
        whole(&event.operation),
        whole(&event.outcome),
        whole(&event.who),
        escape(&event.what),
        format!("{}/{}", event.place.log, event.place.entry),
    ]
}

fn event_table(events: &Events) -> String {
    let rows: Vec<_> = events.list.iter().map(event_row).collect();
    let mut html = table(&["time", "operation", "outcome", "who", "what", "log/entry"], &rows);
    if events.more > 0 {
        html.push_str(&none(&format!("And {} more.", grouped(events.more))));
    }
    html
}

fn events(title: &str, events: &Events, nothing: &str) -> String {
    let body = if events.list.is_empty() { none(nothing) } else { event_table(events) };
    section(title, &body)
}

fn emergencies(tally: &Tally) -> String {
    let mut body = if tally.emergencies.list.is_empty() {
        none("Nobody broke the glass.")
    } else {
        event_table(&tally.emergencies)
    };
    if !tally.in_emergency.known.is_empty() {
        body.push_str("<h3>Done in an emergency</h3>\n");
        let rows = tally.in_emergency.known.iter().take(ROWS_MAX).map(|(caller, row)| {
            let [first, last] = row.times_ms.unwrap_or_default().map(moment);
            vec![escape(caller), grouped(row.all), grouped(row.denied), first, last]
        });
        let rows: Vec<_> = rows.collect();
        body.push_str(&table(&["caller", "#requests", "#denied", "first", "last"], &rows));
    }
    section("Broken glass", &body)
}

fn life(verification: &Verification, tally: &Tally) -> String {
    let unclean = verification.logs.iter().filter(|log| log.state == LogState::UncleanEnd);
    let rows: Vec<_> = unclean
        .take(ROWS_MAX)
        .map(|log| {
            let last = log.times_ms.map_or(String::new(), |[_, last]| moment(last));
            let (next, nothing) = (grouped(log.vouched_by_next), grouped(log.vouched_by_nothing));
            vec![log.number.to_string(), last, grouped(log.signed), next, nothing]
        })
        .collect();
    let mut body =
        if tally.life.list.is_empty() { none("None.") } else { event_table(&tally.life) };
    body.push_str("<h3>Unclean ends</h3>\n");
    if rows.is_empty() {
        let open = verification.verdict == Verdict::Open;
        body.push_str(&none(if open { "None; the last log is being written." } else { "None." }));
    } else {
        let headings =
            ["log", "last entry", "#signed entries", "#vouched for by the next", "#by nothing"];
        body.push_str(&table(&headings, &rows));
    }
    section("Starts and stops of the sidecar", &body)
}
