//! Why a root in AWS KMS could not be opened: each message names the setting and says what to do.

/// Why a root in AWS KMS could not be opened. None of them passes by itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AwsKmsRootError {
    /// Neither the settings nor the standard chain name a region.
    #[error(
        "no region: set root.aws_kms.region, or root.aws_kms.key to the key's ARN, or AWS_REGION"
    )]
    NoRegion,
    /// The key is an ARN, and not one of a KMS key or alias.
    #[error(
        "{setting} is {key}, which is not the ARN of a KMS key: write arn:aws:kms:REGION:ACCOUNT:key/ID, or arn:aws:kms:REGION:ACCOUNT:alias/NAME"
    )]
    Arn {
        /// Its name.
        setting: &'static str,
        /// What it says.
        key: String,
    },
    /// KMS takes the ARN of a key in the region of that key alone.
    #[error(
        "root.aws_kms.region is {region}, but the key's ARN is of {of_the_key}: leave the region out, or name the key there; for several regions, configure one root for each"
    )]
    RegionOfTheKey {
        /// The setting.
        region: String,
        /// What the ARN says.
        of_the_key: String,
    },
    /// The key that signs is asked for where the root key is.
    #[error(
        "root.aws_kms.audit_key is the ARN of a key in {of_the_key}, and the root key is in {region}: make one there"
    )]
    RegionOfTheAuditKey {
        /// Of the root key.
        region: String,
        /// What the ARN says.
        of_the_key: String,
    },
    /// Secrets would go over the network in the clear.
    #[error(
        "root.aws_kms.endpoint is {endpoint}, where secrets would go over the network in the clear: use https://, or http:// on this machine itself"
    )]
    PlainEndpoint {
        /// The setting.
        endpoint: String,
    },
    /// The environment or a profile sends AWS's requests, tokens among them, over the network in the clear.
    #[error(
        "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_STS or endpoint_url of the profile is {endpoint}, where credentials would go over the network in the clear: use https://"
    )]
    PlainChainEndpoint {
        /// The address.
        endpoint: String,
    },
    /// An endpoint is one address, and the switches choose among AWS's own.
    #[error(
        "root.aws_kms.endpoint is set, and so is a FIPS or dual-stack endpoint (root.aws_kms.fips, root.aws_kms.dual_stack, AWS_USE_FIPS_ENDPOINT or AWS_USE_DUALSTACK_ENDPOINT): leave out one or the other"
    )]
    TwoEndpoints,
}
