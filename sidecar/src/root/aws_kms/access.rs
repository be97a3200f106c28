//! One key of KMS, and how it is asked for: what the root and its authority share. `refusal.rs` and `setup.rs` say what
//! its answers mean.

use std::time::Duration;

use aws_sdk_kms::Client;

use super::RootError;
use super::credentials::PatientCredentials;
use super::place::Place;
use crate::names::RootName;

#[derive(Clone)]
pub(super) struct Access {
    pub(super) name: RootName,
    pub(super) place: Place,
    pub(super) client: Client,
    pub(super) credentials: PatientCredentials,
    pub(super) attempt_timeout: Duration,
}

impl Access {
    pub(super) fn corrupt(&self) -> RootError {
        RootError::Corrupt { root: self.name.clone() }
    }
}
