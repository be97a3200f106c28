//! The root in AWS KMS.

use crate::names::RootName;

/// Which KMS key, and how it is reached. Credentials come from the standard chain, never from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKmsSettings {
    /// The name under which wrapped versions are stored.
    pub name: RootName,
    /// The key: its id, its ARN, or an alias (`alias/keypod`, or the alias's ARN).
    pub key: String,
    /// The region; `None`: that of the key's ARN, else that of the standard chain.
    pub region: Option<String>,
    /// Another address than AWS's own: `https://...`, or `http://` on loopback.
    pub endpoint: Option<String>,
    /// Use the region's FIPS 140 endpoint.
    pub fips: bool,
    /// Use the region's endpoint for IPv4 and IPv6.
    pub dual_stack: bool,
}
