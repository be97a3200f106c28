//! `[limits]` as written, and what makes it valid.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::{Problem, check_times};
use crate::config::settings::{CallerSettings, LimitSettings};
use crate::limits::{CallerSizes, RateSizes, STREAM_MEMORY_BYTES};
use crate::names::{CallerName, KeyName, NameError};

/// No batch has more items: they are counted against it while they are read.
const BATCH_ITEMS_MAX: usize = 16_384;
/// No listener has more connections, and no sidecar more requests in flight.
const PLACES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLimits {
    json_body_bytes_max: usize,
    batch_items_max: usize,
    connections_max: usize,
    user_connections_max: Option<usize>,
    in_flight_max: usize,
    body_memory_bytes_max: usize,
    requests_per_second: u32,
    bytes_per_second: u32,
    caller_in_flight_max: Option<usize>,
    caller_body_memory_bytes_max: Option<usize>,
    key_requests_per_second: u32,
    key_bytes_per_second: u32,
    #[serde(with = "humantime_serde")]
    header_timeout: Duration,
    #[serde(with = "humantime_serde")]
    body_timeout: Duration,
    #[serde(with = "humantime_serde")]
    answer_timeout: Duration,
    #[serde(with = "humantime_serde")]
    drain_timeout: Duration,
    callers: Vec<RawCallerLimits>,
    keys: Vec<RawKeyLimits>,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            json_body_bytes_max: 4 << 20,
            batch_items_max: 1024,
            connections_max: 1024,
            user_connections_max: None,
            in_flight_max: 512,
            body_memory_bytes_max: 64 << 20,
            // More than one core does, so that nothing bites before somebody has chosen what should.
            requests_per_second: 100_000,
            bytes_per_second: 1 << 30,
            caller_in_flight_max: None,
            caller_body_memory_bytes_max: None,
            key_requests_per_second: 100_000,
            key_bytes_per_second: 1 << 30,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            // Long: who passes an answer on to a slow client reads in large steps and seldom.
            answer_timeout: Duration::from_secs(5 * 60),
            drain_timeout: Duration::from_secs(20),
            callers: Vec::new(),
            keys: Vec::new(),
        }
    }
}

/// `[[limits.callers]]`: what is left out is as for every caller.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCallerLimits {
    name: String,
    requests_per_second: Option<u32>,
    bytes_per_second: Option<u32>,
    in_flight_max: Option<usize>,
    body_memory_bytes_max: Option<usize>,
}

/// `[[limits.keys]]`: what is left out is as for every key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeyLimits {
    name: String,
    requests_per_second: Option<u32>,
    bytes_per_second: Option<u32>,
}

impl RawLimits {
    /// Checks them. Callers with limits of their own must be among `known`, or be somebody whom an issuer names.
    pub(super) fn check(self, known: &[CallerSettings]) -> Result<LimitSettings, Problem> {
        for (index, caller) in self.callers.iter().enumerate() {
            let is_it = |known: &CallerSettings| known.grant.caller.as_str() == caller.name;
            if !caller.name.contains(':') && !known.iter().any(is_it) {
                let problem = "the name of one of [[callers]], or one that an issuer gives";
                return Err(Problem::new(format!("limits.callers.{index}.name"), problem));
            }
        }

        within("limits.json_body_bytes_max", self.json_body_bytes_max, usize::MAX)?;
        within("limits.batch_items_max", self.batch_items_max, BATCH_ITEMS_MAX)?;
        within("limits.connections_max", self.connections_max, PLACES_MAX)?;
        within("limits.in_flight_max", self.in_flight_max, PLACES_MAX)?;
        let room = self.body_memory_bytes_max;
        if room < self.json_body_bytes_max || u32::try_from(room).is_err() {
            return Err(Problem::new(
                "limits.body_memory_bytes_max",
                "at least limits.json_body_bytes_max, and less than 4 GiB",
            ));
        }
        check_times(&[
            ("limits.header_timeout", self.header_timeout),
            ("limits.body_timeout", self.body_timeout),
        ])?;
        let user_connections_max =
            share("limits.user_connections_max", self.user_connections_max, self.connections_max)?;
        let (caller, key) = (self.caller()?, self.key()?);
        let whole = Whole {
            in_flight_max: self.in_flight_max,
            body_memory_bytes: self.json_body_bytes_max..=self.body_memory_bytes_max,
        };
        Ok(LimitSettings {
            json_body_bytes_max: self.json_body_bytes_max,
            batch_items_max: self.batch_items_max,
            connections_max: self.connections_max,
            user_connections_max,
            in_flight_max: self.in_flight_max,
            body_memory_bytes_max: self.body_memory_bytes_max,
            caller,
            callers: each(self.callers, |raw, at| raw.check(at, caller, &whole))?,
            key,
            keys: each(self.keys, |raw, at| raw.check(at, key))?,
            header_timeout: self.header_timeout,
            body_timeout: self.body_timeout,
            answer_timeout: self.answer_timeout,
            drain_timeout: self.drain_timeout,
        })
    }

    fn caller(&self) -> Result<CallerSizes, Problem> {
        let rate = RateSizes {
            requests_per_second: some("limits.requests_per_second", self.requests_per_second)?,
            bytes_per_second: some("limits.bytes_per_second", self.bytes_per_second)?,
        };
        let in_flight_max =
            share("limits.caller_in_flight_max", self.caller_in_flight_max, self.in_flight_max)?;
        // Three quarters, but at least one body or one stream.
        let whole = self.body_memory_bytes_max;
        let usual = (whole - whole / 4).max(self.json_body_bytes_max);
        let usual = usual.max(STREAM_MEMORY_BYTES).min(whole);
        let body_memory_bytes_max = self.caller_body_memory_bytes_max.unwrap_or(usual);
        body_memory(
            "limits.caller_body_memory_bytes_max",
            body_memory_bytes_max,
            &(self.json_body_bytes_max..=whole),
        )?;
        Ok(CallerSizes { rate, in_flight_max, body_memory_bytes_max })
    }

    fn key(&self) -> Result<RateSizes, Problem> {
        let requests = self.key_requests_per_second;
        Ok(RateSizes {
            requests_per_second: some("limits.key_requests_per_second", requests)?,
            bytes_per_second: some("limits.key_bytes_per_second", self.key_bytes_per_second)?,
        })
    }
}

impl RawCallerLimits {
    fn check(
        self,
        at: &str,
        usual: CallerSizes,
        whole: &Whole,
    ) -> Result<(CallerName, CallerSizes), Problem> {
        let rate = own_rate(at, self.requests_per_second, self.bytes_per_second, usual.rate)?;
        let places = self.in_flight_max.unwrap_or(usual.in_flight_max);
        within(format!("{at}.in_flight_max"), places, whole.in_flight_max)?;
        let memory = self.body_memory_bytes_max.unwrap_or(usual.body_memory_bytes_max);
        body_memory(format!("{at}.body_memory_bytes_max"), memory, &whole.body_memory_bytes)?;
        let own = CallerSizes { rate, in_flight_max: places, body_memory_bytes_max: memory };
        Ok((named(at, &self.name)?, own))
    }
}

impl RawKeyLimits {
    fn check(self, at: &str, usual: RateSizes) -> Result<(KeyName, RateSizes), Problem> {
        let rate = own_rate(at, self.requests_per_second, self.bytes_per_second, usual)?;
        Ok((named(at, &self.name)?, rate))
    }
}

/// Each entry of a list under its name; a name that stands twice is refused.
fn each<R: Listed, N: Ord, S>(
    list: Vec<R>,
    check: impl Fn(R, &str) -> Result<(N, S), Problem>,
) -> Result<BTreeMap<N, S>, Problem> {
    let mut all = BTreeMap::new();
    for (index, raw) in list.into_iter().enumerate() {
        let at = format!("limits.{}.{index}", R::LIST);
        let (name, sizes) = check(raw, &at)?;
        if all.insert(name, sizes).is_some() {
            return Err(Problem::new(format!("{at}.name"), "a name that stands here once"));
        }
    }
    Ok(all)
}

/// An entry of a list of `[limits]`.
trait Listed {
    /// The list's name.
    const LIST: &str;
}

impl Listed for RawCallerLimits {
    const LIST: &str = "callers";
}

impl Listed for RawKeyLimits {
    const LIST: &str = "keys";
}

fn own_rate(
    at: &str,
    requests: Option<u32>,
    bytes: Option<u32>,
    usual: RateSizes,
) -> Result<RateSizes, Problem> {
    let own = |name: &str, given: Option<u32>, usual| match given {
        None => Ok(usual),
        Some(given) => some(format!("{at}.{name}"), given),
    };
    Ok(RateSizes {
        requests_per_second: own("requests_per_second", requests, usual.requests_per_second)?,
        bytes_per_second: own("bytes_per_second", bytes, usual.bytes_per_second)?,
    })
}

fn named<N: FromStr<Err = NameError>>(at: &str, name: &str) -> Result<N, Problem> {
    name.parse().map_err(|error| Problem::new(format!("{at}.name"), format!("{error}")))
}

fn some(setting: impl Into<String>, size: u32) -> Result<NonZeroU32, Problem> {
    NonZeroU32::new(size).ok_or_else(|| Problem::new(setting, format!("from 1 to {}", u32::MAX)))
}

fn within(setting: impl Into<String>, size: usize, most: usize) -> Result<(), Problem> {
    if (1..=most).contains(&size) {
        return Ok(());
    }
    Err(Problem::new(setting, format!("from 1 to {most}")))
}

/// What all callers have together, of which each has its share.
struct Whole {
    in_flight_max: usize,
    /// From one body to all of them.
    body_memory_bytes: RangeInclusive<usize>,
}

fn body_memory(
    setting: impl Into<String>,
    bytes: usize,
    possible: &RangeInclusive<usize>,
) -> Result<(), Problem> {
    if possible.contains(&bytes) {
        return Ok(());
    }
    let problem = "at least limits.json_body_bytes_max, at most limits.body_memory_bytes_max";
    Err(Problem::new(setting, problem))
}

/// What one may hold of `whole` places: what is given, or three quarters, so that the others have a place always.
fn share(setting: &str, given: Option<usize>, whole: usize) -> Result<usize, Problem> {
    let places = given.unwrap_or((whole - whole / 4).max(1));
    within(setting, places, whole)?;
    Ok(places)
}
