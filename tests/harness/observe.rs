//! What can be seen of a running sidecar from outside: health, metrics, memory.

use std::time::Duration;

use crate::sidecar::now;
use crate::{Answer, Client, Sidecar, WAIT_MAX};

impl Sidecar {
    /// `GET` on the health listener.
    pub async fn observe(&self, path: &str) -> Answer {
        Client::tcp(self.health(), None).get(path).await
    }

    /// The sum of all series of a metric; zero if there is none.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.observe("/metrics").await.body;
        let of_series = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let is_it = rest.starts_with(' ') || rest.starts_with('{');
            let value = rest.rsplit(' ').next()?.parse::<f64>().ok()?;
            is_it.then_some(value)
        };
        String::from_utf8_lossy(&text).lines().filter_map(of_series).sum()
    }

    /// A field of `/proc/PID/status`, without what stands around it.
    ///
    /// # Panics
    /// If the process is gone or there is no such field.
    #[must_use]
    pub fn process_status(&self, field: &str) -> String {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.expect("the field is there").trim().to_owned()
    }

    /// Bytes of it that are in physical memory.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.memory_bytes("VmRSS")
    }

    /// The most bytes of it that have ever been in physical memory.
    #[must_use]
    pub fn resident_bytes_max(&self) -> u64 {
        self.memory_bytes("VmHWM")
    }

    fn memory_bytes(&self, field: &str) -> u64 {
        let kib = self.process_status(field);
        kib.trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// Waits until no request is in flight.
    ///
    /// # Panics
    /// If that does not come about.
    pub async fn until_idle(&self) {
        until("no request is in flight", async || {
            self.metric("keypod_requests_in_flight").await < 0.5
        })
        .await;
    }
}

/// Waits until this holds.
///
/// # Panics
/// If it does not within [`WAIT_MAX`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = now();
    while !holds().await {
        assert!(begun.elapsed() < WAIT_MAX, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
