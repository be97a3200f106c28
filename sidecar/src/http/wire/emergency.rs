//! Emergencies in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields;
use crate::emergency::Emergency;

/// `POST /v1/emergency`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct EmergencyRequest {
    /// Why, for whoever reads the log: no control characters, no health information.
    #[schema(min_length = 10, max_length = 500)]
    pub(in crate::http) reason: String,
    /// How long, at most: `emergency.max_minutes` of the configuration is the most that is taken.
    #[serde(deserialize_with = "fields::whole_number")]
    #[schema(value_type = u32, minimum = 1, maximum = 1440)]
    minutes: Option<u64>,
}

impl EmergencyRequest {
    /// The minutes; none where no number of theirs could be taken.
    pub(in crate::http) fn minutes(&self) -> u32 {
        self.minutes.and_then(|minutes| u32::try_from(minutes).ok()).unwrap_or(0)
    }
}

/// A caller who has broken the glass.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EmergencyView {
    pub(in crate::http) caller: String,
    pub(in crate::http) reason: String,
    /// RFC 3339, UTC.
    pub(in crate::http) since: String,
    /// RFC 3339, UTC: when it ends, or would have.
    pub(in crate::http) until: String,
}

/// `GET /v1/emergency`
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EmergencyList {
    pub(in crate::http) emergencies: Vec<EmergencyView>,
}

impl EmergencyView {
    pub(in crate::http) fn of(emergency: &Emergency) -> Self {
        Self {
            caller: emergency.caller.to_string(),
            reason: emergency.reason.to_string(),
            since: emergency.since.to_string(),
            until: emergency.until.to_string(),
        }
    }
}
