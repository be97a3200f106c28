//! What can bite, by its name in the metric, and what is told to whom it bites. What is refused here is counted.

use std::time::Duration;

/// The limits that can bite, as the metric names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Operations a second of a caller.
    CallerRequests,
    /// Bytes a second of a caller.
    CallerBytes,
    /// Requests in flight of a caller.
    CallerInFlight,
    /// Bodies of a caller in memory.
    CallerBodyMemory,
    /// Operations a second on a key.
    KeyRequests,
    /// Bytes a second on a key.
    KeyBytes,
    /// Requests in flight.
    InFlight,
    /// Bodies in memory.
    BodyMemory,
    /// Connections of a listener.
    Connections,
    /// Connections of one user on the Unix socket.
    UserConnections,
    /// The time for a request's head.
    HeaderTimeout,
    /// The time for a body to make progress.
    BodyTimeout,
    /// The time for an answer to be taken.
    AnswerTimeout,
    /// The length of a body.
    BodyBytes,
    /// The items of a batch.
    BatchItems,
}

impl Limit {
    /// As the metric names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallerRequests => "caller_requests",
            Self::CallerBytes => "caller_bytes",
            Self::CallerInFlight => "caller_in_flight",
            Self::CallerBodyMemory => "caller_body_memory",
            Self::KeyRequests => "key_requests",
            Self::KeyBytes => "key_bytes",
            Self::InFlight => "in_flight",
            Self::BodyMemory => "body_memory",
            Self::Connections => "connections",
            Self::UserConnections => "user_connections",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::AnswerTimeout => "answer_timeout",
            Self::BodyBytes => "body_bytes",
            Self::BatchItems => "batch_items",
        }
    }

    /// Counts that it bit.
    pub fn bit(self) {
        metrics::counter!("keypod_limited_total", "limit" => self.as_str()).increment(1);
    }
}

/// A caller or a key has used up its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit {} is used up", limit.as_str())]
pub struct RateLimited {
    /// Which share.
    pub limit: Limit,
    /// After this long the same request would be admitted.
    pub retry_after: Duration,
}

/// The sidecar has as much to do as it admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as much is under way as the limits admit")]
pub struct Overloaded;

/// A batch has more items than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch has more items than the limit of {max}")]
pub struct TooManyItems {
    pub(super) max: usize,
}

/// Why there is no place or no memory for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its caller has used up its own share.
    #[error(transparent)]
    OfItsCaller(#[from] RateLimited),
    /// There is none for anybody.
    #[error(transparent)]
    AtAll(#[from] Overloaded),
}

pub(super) fn limited(limit: Limit, retry_after: Duration) -> RateLimited {
    limit.bit();
    RateLimited { limit, retry_after }
}

pub(super) fn overloaded(limit: Limit) -> Overloaded {
    limit.bit();
    Overloaded
}
