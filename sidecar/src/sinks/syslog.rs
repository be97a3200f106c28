//! Copies as syslog messages (RFC 5424), to a collector on this machine or across the network.
//!
//! Syslog has no answers: what the kernel took counts as taken, and a collector that dies with messages in its socket loses
//! them without a trace but the numbers in the messages. What was on its way when a stream broke is sent again
//! (`a_stream_that_breaks_is_made_again_and_nothing_is_missing`).

mod connection;
mod message;

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;

use super::backlog::BatchLimit;
use super::copy::{line, stub};
use super::tally::Tally;
use super::target::{Fault, Target};
use super::{SinkError, SyslogPlace, SyslogSettings, SyslogTransport};
use crate::audit::Event;
use connection::{Connection, Connector};
use message::Messages;

pub(super) const NAME: &str = "syslog";
const LIMIT: BatchLimit = BatchLimit { events: 256, bytes: 64 << 10, wait: Duration::ZERO };

/// A syslog collector.
#[derive(Debug)]
pub(super) struct Syslog {
    place: SyslogPlace,
    connector: Connector,
    connection: Option<Connection>,
    messages: Messages,
    message_bytes_max: usize,
}

/// A message, and whether it holds all that it should.
struct Formed {
    bytes: Vec<u8>,
    whole: bool,
}

impl Syslog {
    pub(super) fn open(settings: &SyslogSettings) -> Result<Self, SinkError> {
        Ok(Self {
            place: settings.place.clone(),
            connector: Connector::new(settings)?,
            connection: None,
            messages: Messages::new(settings.facility, settings.enterprise_number),
            message_bytes_max: settings.message_bytes_max,
        })
    }

    /// The message of `event`, which is the `ahead`-th that is on its way.
    fn form(&self, event: &Event, ahead: usize) -> Formed {
        let bytes = self.messages.form(event, &line(event), ahead);
        match event {
            Event::Entry { log, index, entry } if bytes.len() > self.message_bytes_max => {
                let bytes = self.messages.form(event, &stub(log, *index, entry), ahead);
                Formed { bytes, whole: false }
            }
            _ => Formed { bytes, whole: true },
        }
    }

    /// What became of the first of `events`, once its message was sent.
    fn settle(&mut self, events: &mut VecDeque<Event>, whole: bool, tally: &Tally) {
        self.messages.advance();
        match (events.pop_front(), whole) {
            (Some(event), true) => tally.take(&event),
            (Some(event), false) => tally.lose(&event),
            (None, _) => {}
        }
    }

    async fn send_datagrams(
        &mut self,
        connection: &Connection,
        events: &mut VecDeque<Event>,
        tally: &Tally,
    ) -> Result<(), Fault> {
        while let Some(event) = events.front() {
            let message = self.form(event, 0);
            let sent = connection.send_datagram(&message.bytes).await?;
            self.settle(events, message.whole && sent, tally);
        }
        Ok(())
    }

    async fn send_stream(
        &mut self,
        connection: &mut Connection,
        events: &mut VecDeque<Event>,
        tally: &Tally,
    ) -> Result<(), Fault> {
        let formed = events.iter().enumerate().map(|(ahead, event)| self.form(event, ahead));
        let formed: Vec<_> = formed.collect();
        let mut frames = Vec::new();
        for message in &formed {
            frames.extend_from_slice(format!("{} ", message.bytes.len()).as_bytes());
            frames.extend_from_slice(&message.bytes);
        }
        connection.write(&frames).await?;
        formed.iter().for_each(|message| self.settle(events, message.whole, tally));
        Ok(())
    }
}

#[async_trait]
impl Target for Syslog {
    fn name(&self) -> &'static str {
        NAME
    }

    fn limit(&self) -> BatchLimit {
        LIMIT
    }

    async fn send(&mut self, events: &mut VecDeque<Event>, tally: &Tally) -> Result<(), Fault> {
        // Taken out: a connection that failed is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connector.connect(&self.place).await?,
        };
        if connection.is_stream() {
            self.send_stream(&mut connection, events, tally).await?;
        } else {
            self.send_datagrams(&connection, events, tally).await?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn check(&mut self) -> Result<String, Fault> {
        let connection = self.connector.connect(&self.place).await?;
        connection.close().await;
        Ok(match &self.place {
            SyslogPlace::Network { transport: SyslogTransport::Udp, .. } => {
                format!("{}, which nobody can tell the presence of", self.place)
            }
            place => format!("{place}, answers"),
        })
    }

    async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }
}

#[cfg(test)]
mod tests;
