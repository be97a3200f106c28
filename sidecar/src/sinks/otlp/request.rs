//! Entries and checkpoints as records of an OTLP request.

use std::collections::VecDeque;
use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use crate::audit::Event;
use crate::sinks::copy::{Head, Weight};

/// Forms requests.
#[derive(Debug)]
pub(super) struct Requests {
    resource: Resource,
    scope: InstrumentationScope,
}

impl Requests {
    pub(super) fn new(instance: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let attributes = vec![
            text("service.name", "keypod"),
            text("service.version", version),
            text("service.instance.id", instance),
        ];
        let resource = Resource { attributes, ..Resource::default() };
        let scope = InstrumentationScope {
            name: "keypod.audit".to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        Self { resource, scope }
    }

    /// The request for `events`, which are seen at `now`, in milliseconds since 1970.
    pub(super) fn form(&self, events: &VecDeque<Event>, now: u64) -> Vec<u8> {
        let observed = now.saturating_mul(1_000_000);
        let scope_logs = vec![ScopeLogs {
            scope: Some(self.scope.clone()),
            log_records: events.iter().map(|event| record(event, observed)).collect(),
            schema_url: String::new(),
        }];
        let resource_logs = vec![ResourceLogs {
            resource: Some(self.resource.clone()),
            scope_logs,
            schema_url: String::new(),
        }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec()
    }
}

fn record(event: &Event, observed: u64) -> LogRecord {
    match event {
        Event::Entry { log, index, entry } => {
            let head = Head::of(entry);
            let mut attributes = vec![
                text("log.record.uid", &format!("{log}/{index}")),
                text("keypod.audit.log", log),
                number("keypod.audit.index", *index),
            ];
            let known = [
                ("keypod.audit.operation", &head.operation),
                ("keypod.audit.outcome", &head.outcome),
                ("keypod.audit.caller", &head.caller),
                ("keypod.audit.key", &head.key),
            ];
            let known = known.iter().filter(|(_, value)| !value.is_empty());
            attributes.extend(known.map(|(name, value)| text(name, value)));
            let time = nanoseconds(&head.time);
            let times = [time, observed];
            named("keypod.audit.entry", times, head.weight(), entry, attributes)
        }
        Event::Checkpoint { log, size, note } => {
            let attributes = vec![
                text("log.record.uid", &format!("{log}/checkpoint/{size}")),
                text("keypod.audit.log", log),
                number("keypod.audit.size", *size),
            ];
            named("keypod.audit.checkpoint", [0, observed], Weight::Usual, note, attributes)
        }
    }
}

fn named(
    event_name: &str,
    [time, observed]: [u64; 2],
    weight: Weight,
    body: &[u8],
    attributes: Vec<KeyValue>,
) -> LogRecord {
    // Those of the specification for the severities of syslog.
    let (severity, severity_text) = match weight {
        Weight::Usual => (SeverityNumber::Info, "informational"),
        Weight::Notable => (SeverityNumber::Warn, "warning"),
        Weight::Alarming => (SeverityNumber::Error3, "alert"),
    };
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: observed,
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(any(&String::from_utf8_lossy(body))),
        attributes,
        event_name: event_name.to_owned(),
        ..LogRecord::default()
    }
}

/// Nanoseconds since 1970, or 0 where it is not a time.
fn nanoseconds(time: &str) -> u64 {
    let time = humantime::parse_rfc3339(time).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

fn any(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn number(key: &str, value: u64) -> KeyValue {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    let value = AnyValue { value: Some(Value::IntValue(value)) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}
