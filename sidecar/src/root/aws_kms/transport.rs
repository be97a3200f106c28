//! How a call reaches KMS: within which time, at which address, and never in the clear.
//!
//! Over HTTPS the SDK's own client is used: rustls over aws-lc-rs, TLS 1.2 and 1.3, X25519MLKEM768 first, the
//! system's certificates (or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`), and the proxy that `HTTPS_PROXY` names.
//! An endpoint on this machine may be plain HTTP: it has a client of its own, which uses no proxy.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kms::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{
    Builder, ConfigBag, Intercept, RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_kms::error::BoxError;
use aws_types::service_config::ServiceConfigKey;

use super::{AwsKmsRootError, AwsKmsSettings};
use crate::root::is_this_machine;

/// Bounds each call, whatever it waits for. An answer of KMS is small, so nothing looks for streams that stall.
pub(super) fn bounded(config: Builder, attempt_timeout: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(attempt_timeout)
        .connect_timeout(attempt_timeout)
        .build();
    config
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

/// The endpoint of `settings`, or AWS's own or that of the chain.
///
/// # Errors
/// [`AwsKmsRootError::PlainEndpoint`] or [`AwsKmsRootError::TwoEndpoints`].
pub(super) fn reaching(
    config: Builder,
    settings: &AwsKmsSettings,
    chain: &SdkConfig,
) -> Result<Builder, AwsKmsRootError> {
    let Some(endpoint) = &settings.endpoint else {
        return Ok(config.interceptor(EncryptedOnly));
    };
    let chain_chooses = chain.use_fips() == Some(true) || chain.use_dual_stack() == Some(true);
    if settings.fips || settings.dual_stack || chain_chooses {
        return Err(AwsKmsRootError::TwoEndpoints);
    }
    let config = config.endpoint_url(endpoint);
    match Way::of(endpoint) {
        Way::Encrypted => Ok(config.interceptor(EncryptedOnly)),
        Way::WithinThisMachine => {
            Ok(config.http_client(aws_smithy_http_client::Builder::new().build_http()))
        }
        Way::InTheClear => Err(AwsKmsRootError::PlainEndpoint { endpoint: endpoint.clone() }),
    }
}

/// Whether the addresses that the environment or a profile names for all of AWS, and for STS, are safe: a service
/// account's token goes there.
///
/// # Errors
/// [`AwsKmsRootError::PlainChainEndpoint`].
pub(super) fn check_chain(chain: &SdkConfig) -> Result<(), AwsKmsRootError> {
    let key = ServiceConfigKey::builder().service_id("sts").env("AWS_ENDPOINT_URL");
    let key = key.profile("endpoint_url").build().ok();
    let of_sts = chain.service_config().zip(key).and_then(|(all, key)| all.load_config(key));
    let of_all = chain.endpoint_url().map(str::to_owned);
    let plain = |address: &String| matches!(Way::of(address), Way::InTheClear);
    match of_sts.into_iter().chain(of_all).find(plain) {
        Some(endpoint) => Err(AwsKmsRootError::PlainChainEndpoint { endpoint }),
        None => Ok(()),
    }
}

/// How safe an address is for secrets.
enum Way {
    Encrypted,
    WithinThisMachine,
    InTheClear,
}

impl Way {
    fn of(address: &str) -> Self {
        let Ok(address) = address.parse::<http::Uri>() else { return Self::InTheClear };
        match address.scheme_str() {
            Some("https") => Self::Encrypted,
            Some("http") if address.host().is_some_and(is_this_machine) => Self::WithinThisMachine,
            _ => Self::InTheClear,
        }
    }
}

/// Lets requests out over HTTPS alone: the environment and a profile may name an endpoint too (`AWS_ENDPOINT_URL`),
/// and nobody has looked at that. On loopback it would still go through a proxy of `HTTP_PROXY`.
#[derive(Debug)]
struct EncryptedOnly;

/// The request would have gone over plain HTTP, and did not.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint is not https://")]
pub(super) struct PlainHttp;

impl Intercept for EncryptedOnly {
    fn name(&self) -> &'static str {
        "EncryptedOnly"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match Way::of(context.request().uri()) {
            Way::Encrypted => Ok(()),
            Way::WithinThisMachine | Way::InTheClear => Err(PlainHttp.into()),
        }
    }
}
