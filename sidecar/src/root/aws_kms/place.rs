//! Where a KMS key is: its name, its region, and how to say both. Depends on nothing.

use std::fmt;

use super::{AwsKmsRootError, AwsKmsSettings};

/// A key, its region, and the address where it is asked for if that is not AWS's own.
#[derive(Clone, Debug)]
pub(super) struct Place {
    key: String,
    region: String,
    endpoint: Option<String>,
}

impl Place {
    pub(super) fn new(settings: &AwsKmsSettings, region: String) -> Self {
        Self { key: settings.key.clone(), region, endpoint: settings.endpoint.clone() }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Whether the key is named by an alias, which can be pointed at another key.
    pub(super) fn is_alias(&self) -> bool {
        self.key.starts_with("alias/") || self.key.contains(":alias/")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {}", self.key, self.region)?;
        match &self.endpoint {
            Some(endpoint) => write!(formatter, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

/// The region that the settings name, by themselves or in the key's ARN.
pub(super) fn configured_region(
    settings: &AwsKmsSettings,
) -> Result<Option<&str>, AwsKmsRootError> {
    let of_the_key = region_of_arn(&settings.key)?;
    match (settings.region.as_deref(), of_the_key) {
        (Some(region), Some(of_the_key)) if region != of_the_key => {
            let (region, of_the_key) = (region.to_owned(), of_the_key.to_owned());
            Err(AwsKmsRootError::RegionOfTheKey { region, of_the_key })
        }
        (region, of_the_key) => Ok(region.or(of_the_key)),
    }
}

/// `REGION` of `arn:PARTITION:kms:REGION:ACCOUNT:key/ID` or `...:alias/NAME`; `None` for what is no ARN.
fn region_of_arn(key: &str) -> Result<Option<&str>, AwsKmsRootError> {
    if !key.starts_with("arn:") {
        return Ok(None);
    }
    let parts: Vec<_> = key.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", _, "kms", region, _, resource]
            if !region.is_empty()
                && (resource.starts_with("key/") || resource.starts_with("alias/")) =>
        {
            Ok(Some(*region))
        }
        _ => Err(AwsKmsRootError::Arn { key: key.to_owned() }),
    }
}
