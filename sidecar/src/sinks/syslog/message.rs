//! One syslog message, as RFC 5424 has it.
//!
//! Formed here: the crates that do it know no facility 13, which is the one for logs of audits, or are no longer kept. Its
//! structured data are `origin` and `meta`, which the RFC registers, and with an operator's own enterprise number
//! `keypod@NUMBER`. There is no byte order mark before the message: it is JSON, which must not have one (RFC 8259, section
//! 8.1), so it is the RFC's MSG-ANY. Tests: those of the RFC's examples that have no mark, and
//! `nothing_in_an_entry_gets_out_of_its_field`.

use std::fmt::Write as _;

use crate::audit::Event;
use crate::sinks::copy::{Head, Weight};

/// RFC 5424, section 7.3.1: after this comes 1 again.
const SEQUENCE_MAX: u64 = 2_147_483_647;
/// Bytes of the fields of a header, section 6.
const HOSTNAME_BYTES_MAX: usize = 255;
const PROCID_BYTES_MAX: usize = 128;
const MSGID_BYTES_MAX: usize = 32;

/// RFC 5424, table 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Severity {
    Alert = 1,
    Warning = 4,
    Informational = 6,
}

impl From<Weight> for Severity {
    fn from(weight: Weight) -> Self {
        match weight {
            Weight::Usual => Self::Informational,
            Weight::Notable => Self::Warning,
            Weight::Alarming => Self::Alert,
        }
    }
}

/// An element of structured data: its id, and its parameters.
type Element<'a> = (&'a str, Vec<(&'static str, &'a str)>);

/// A message without its text.
#[derive(Debug)]
struct Head5424<'a> {
    /// 8 times the facility, and the severity.
    priority: u8,
    /// As RFC 3339 has it, with six digits of a second at most.
    time: Option<&'a str>,
    /// Name of the host, of the application, and its process.
    from: [&'a str; 3],
    msgid: &'a str,
    data: Vec<Element<'a>>,
}

impl Head5424<'_> {
    fn before(&self, text: &[u8]) -> Vec<u8> {
        let [host, application, process] =
            [(0, HOSTNAME_BYTES_MAX), (1, 48), (2, PROCID_BYTES_MAX)]
                .map(|(place, max)| field(self.from.get(place).copied().unwrap_or_default(), max));
        let (time, msgid) = (self.time.unwrap_or("-"), field(self.msgid, MSGID_BYTES_MAX));
        let mut head =
            format!("<{}>1 {time} {host} {application} {process} {msgid} ", self.priority);
        for (id, parameters) in &self.data {
            let _ = write!(head, "[{id}");
            for (name, value) in parameters {
                let _ = write!(head, " {name}=\"{}\"", Escaped(value));
            }
            head.push(']');
        }
        if self.data.is_empty() {
            head.push('-');
        }
        if !text.is_empty() {
            head.push(' ');
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(text);
        bytes
    }
}

/// Printable ASCII without spaces, or the sign that there is none.
fn field(text: &str, max: usize) -> String {
    let printable = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let field: String = text.chars().map(printable).take(max).collect();
    if field.is_empty() { "-".to_owned() } else { field }
}

/// The value of a parameter, section 6.3.3. Control characters are allowed there, and a line end would be the end of a
/// message to a collector that frames by lines: they are shown as spaces.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\\' | ']' => write!(formatter, "\\{c}")?,
                c if c.is_control() => formatter.write_char(' ')?,
                c => formatter.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Forms messages, and numbers them.
#[derive(Debug)]
pub(super) struct Messages {
    host: String,
    process: String,
    facility: u8,
    own_data: Option<String>,
    /// Of the next message.
    sequence: u64,
}

impl Messages {
    pub(super) fn new(facility: u8, enterprise_number: Option<u32>) -> Self {
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            process: std::process::id().to_string(),
            facility: facility.min(23),
            own_data: enterprise_number.map(|number| format!("keypod@{number}")),
            sequence: 1,
        }
    }

    /// The message of `event` with `text`, the `ahead`-th after the next.
    pub(super) fn form(&self, event: &Event, text: &[u8], ahead: usize) -> Vec<u8> {
        let (head, log, place, msgid) = match event {
            Event::Entry { log, index, entry } => {
                (Head::of(entry), log, ("index", index.to_string()), None)
            }
            Event::Checkpoint { log, size, .. } => {
                (Head::default(), log, ("size", size.to_string()), Some("checkpoint"))
            }
        };
        let sequence = self.after(ahead).to_string();
        let mut data: Vec<Element<'_>> = vec![
            ("origin", vec![("software", "keypod"), ("swVersion", env!("CARGO_PKG_VERSION"))]),
            ("meta", vec![("sequenceId", &sequence)]),
        ];
        if let Some(name) = &self.own_data {
            let known = [("outcome", &head.outcome), ("caller", &head.caller), ("key", &head.key)];
            let known = known.iter().filter(|(_, value)| !value.is_empty());
            let mut own = vec![("log", &**log), (place.0, &place.1)];
            own.extend(known.map(|&(name, value)| (name, &**value)));
            data.push((name, own));
        }
        let head = Head5424 {
            priority: self.facility * 8 + Severity::from(head.weight()) as u8,
            time: Some(&*head.time).filter(|time| is_time(time)),
            from: [&self.host, "keypod", &self.process],
            msgid: msgid.unwrap_or(&head.operation),
            data,
        };
        head.before(text)
    }

    /// The next message was sent.
    pub(super) fn advance(&mut self) {
        self.sequence = self.after(1);
    }

    fn after(&self, count: usize) -> u64 {
        let count = u64::try_from(count).unwrap_or(0);
        (self.sequence - 1).saturating_add(count) % SEQUENCE_MAX + 1
    }
}

/// What an entry's time looks like, which is a time of RFC 5424 too.
fn is_time(text: &str) -> bool {
    text.len() == 24 && text.ends_with('Z') && humantime::parse_rfc3339(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::testing::{checkpoint, entry};

    /// RFC 5424, section 6.5, example 2: it has no byte order mark.
    #[test]
    fn the_second_example_of_the_rfc_is_formed_to_the_letter() {
        let head = Head5424 {
            priority: 165,
            time: Some("2003-08-24T05:14:15.000003-07:00"),
            from: ["192.0.2.1", "myproc", "8710"],
            msgid: "",
            data: Vec::new(),
        };
        let text = b"%% It's time to make the do-nuts.";
        let wanted = "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.";
        assert_eq!(String::from_utf8(head.before(text)).unwrap(), wanted);
    }

    /// Section 6.5, examples 3 (here without its mark) and 4.
    #[test]
    fn the_examples_of_the_rfc_with_structured_data_are_formed_to_the_letter() {
        let example = vec![("iut", "3"), ("eventSource", "Application"), ("eventID", "1011")];
        let mut head = Head5424 {
            priority: 165,
            time: Some("2003-10-11T22:14:15.003Z"),
            from: ["mymachine.example.com", "evntslog", ""],
            msgid: "ID47",
            data: vec![("exampleSDID@32473", example.clone())],
        };
        let before = "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"]";
        let formed = head.before(b"An application event log entry...");
        let wanted = format!("{before} An application event log entry...");
        assert_eq!(String::from_utf8(formed).unwrap(), wanted);
        head.data.push(("examplePriority@32473", vec![("class", "high")]));
        let wanted = format!("{before}[examplePriority@32473 class=\"high\"]");
        assert_eq!(String::from_utf8(head.before(b"")).unwrap(), wanted);
    }

    fn formed(messages: &Messages, event: &Event) -> String {
        String::from_utf8(messages.form(event, b"{}", 0)).unwrap()
    }

    #[test]
    fn facility_and_severity_say_what_it_is() {
        let messages = Messages::new(13, None);
        for (outcome, priority) in [("ok", "<110>1 "), ("denied", "<108>1 "), ("failed", "<108>1 ")]
        {
            let text = format!(r#"{{"operation":"encrypt","outcome":"{outcome}"}}"#);
            assert!(formed(&messages, &entry(0, &text)).starts_with(priority), "{outcome}");
        }
        let alarm = entry(0, r#"{"operation":"begin_emergency","outcome":"ok"}"#);
        assert!(formed(&messages, &alarm).starts_with("<105>1 - "));
        let message = formed(&messages, &checkpoint(5, "note"));
        assert!(
            message.starts_with("<110>1 - ") && message.contains(" checkpoint [origin "),
            "{message}"
        );
        assert!(
            !message.contains("keypod@"),
            "no data of its own without a number of the operator's"
        );
    }

    #[test]
    fn nothing_in_an_entry_gets_out_of_its_field() {
        let mut messages = Messages::new(13, Some(99999));
        (messages.host, messages.process) = ("a host\n<0>1".to_owned(), "7".to_owned());
        let text = r#"{"time":"2026-11-24T06:00:00.123Z <1>","operation":"en\ncrypt \u00e9","outcome":"ok","caller":"\"] [x y=\"z\\","key":"a\nb\u0000"}"#;
        let message = formed(&messages, &entry(4, text));
        let wanted = format!(
            r#"<110>1 - a_host_<0>1 keypod 7 en_crypt__ [origin software="keypod" swVersion="{}"][meta sequenceId="1"][keypod@99999 log="keypod/test/1" index="4" outcome="ok" caller="\"\] [x y=\"z\\" key="a b "] {{}}"#,
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(message, wanted);
        let long = format!(r#"{{"operation":"{}"}}"#, "o".repeat(100));
        let message = formed(&messages, &entry(4, &long));
        assert!(message.contains(&format!(" {} [", "o".repeat(32))), "{message}");
    }

    #[test]
    fn messages_are_numbered_from_one_and_begin_again_after_the_last_number() {
        let mut messages = Messages::new(13, None);
        assert_eq!((messages.after(0), messages.after(3)), (1, 4));
        messages.advance();
        assert_eq!(messages.after(0), 2);
        messages.sequence = SEQUENCE_MAX;
        messages.advance();
        assert_eq!(messages.after(0), 1);
    }

    #[test]
    fn the_time_is_the_entrys() {
        let text = r#"{"time":"2026-11-24T06:00:00.123Z","operation":"encrypt","outcome":"ok"}"#;
        let message = formed(&Messages::new(0, None), &entry(0, text));
        assert!(message.starts_with("<6>1 2026-11-24T06:00:00.123Z "), "{message}");
    }
}
