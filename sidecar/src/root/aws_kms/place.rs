//! Where a KMS key is: its name, its region, and how to say both. Depends on nothing.

use std::fmt;

use super::{AwsKmsRootError, AwsKmsSettings};

/// What a key is for: each takes other keys, and other rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It wraps key versions.
    Wraps,
    /// It signs the certificates of audit logs.
    Signs,
}

impl Purpose {
    /// The setting that names the key.
    pub(super) fn setting(self) -> &'static str {
        match self {
            Self::Wraps => "root.aws_kms.key",
            Self::Signs => "root.aws_kms.audit_key",
        }
    }

    /// What has to be allowed.
    pub(super) fn rights(self) -> &'static str {
        match self {
            Self::Wraps => "kms:Encrypt and kms:Decrypt",
            Self::Signs => "kms:Sign and kms:GetPublicKey",
        }
    }

    /// Which key it takes.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Wraps => "of the spec SYMMETRIC_DEFAULT for ENCRYPT_DECRYPT",
            Self::Signs => "of the spec ECC_NIST_P256 or ECC_NIST_EDWARDS25519 for SIGN_VERIFY",
        }
    }

    /// How such a key is made.
    pub(super) fn made_by(self) -> &'static str {
        match self {
            Self::Wraps => "aws kms create-key",
            Self::Signs => "aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY",
        }
    }
}

/// A key, its region, and the address where it is asked for if that is not AWS's own.
#[derive(Clone, Debug)]
pub(super) struct Place {
    purpose: Purpose,
    key: String,
    region: String,
    endpoint: Option<String>,
}

impl Place {
    pub(super) fn new(
        purpose: Purpose,
        key: &str,
        region: String,
        endpoint: Option<String>,
    ) -> Self {
        Self { purpose, key: key.to_owned(), region, endpoint }
    }

    pub(super) fn purpose(&self) -> Purpose {
        self.purpose
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

/// The key `key` of `settings`, which signs, in the region of the root.
pub(super) fn audit_key(
    settings: &AwsKmsSettings,
    key: &str,
    region: &str,
) -> Result<Place, AwsKmsRootError> {
    match region_of_arn(key, Purpose::Signs)? {
        Some(of_the_key) if of_the_key != region => {
            let (region, of_the_key) = (region.to_owned(), of_the_key.to_owned());
            Err(AwsKmsRootError::RegionOfTheAuditKey { region, of_the_key })
        }
        _ => Ok(Place::new(Purpose::Signs, key, region.to_owned(), settings.endpoint.clone())),
    }
}

/// The region that the settings name, by themselves or in the key's ARN.
pub(super) fn configured_region(
    settings: &AwsKmsSettings,
) -> Result<Option<&str>, AwsKmsRootError> {
    let of_the_key = region_of_arn(&settings.key, Purpose::Wraps)?;
    match (settings.region.as_deref(), of_the_key) {
        (Some(region), Some(of_the_key)) if region != of_the_key => {
            let (region, of_the_key) = (region.to_owned(), of_the_key.to_owned());
            Err(AwsKmsRootError::RegionOfTheKey { region, of_the_key })
        }
        (region, of_the_key) => Ok(region.or(of_the_key)),
    }
}

/// `REGION` of `arn:PARTITION:kms:REGION:ACCOUNT:key/ID` or `...:alias/NAME`; `None` for what is no ARN.
fn region_of_arn(key: &str, purpose: Purpose) -> Result<Option<&str>, AwsKmsRootError> {
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
        _ => Err(AwsKmsRootError::Arn { setting: purpose.setting(), key: key.to_owned() }),
    }
}
