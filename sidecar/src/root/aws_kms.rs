//! The root in AWS KMS: a key version's secret goes there for `Encrypt`, and comes back by `Decrypt`.
//!
//! Depends on its trait, [`crate::secret`], [`crate::names`] and the AWS SDK. It never retries, counts or caches:
//! that is the keyring's part. Opening asks nobody but the instance's metadata for a region that nothing names, so
//! a sidecar starts in an outage; credentials are looked up with the first call.
//!
//! A wrapped key is `0x01 ‖ CiphertextBlob`. The binding is the encryption context, exactly `keypod:key` (16
//! hexadecimal digits), `keypod:version` and `keypod:domain`: KMS authenticates it and writes it to CloudTrail in
//! the clear. `Decrypt` always names the configured key: otherwise whoever can write rows could have this process
//! use a key of theirs. Tests: `kms_sees_the_binding_as_its_context_and_nothing_else`,
//! `decrypt_always_names_the_configured_key`.
//!
//! An address that is neither HTTPS nor this machine is refused, wherever it was configured. Tests:
//! `a_secret_never_goes_over_plain_http_to_another_machine`,
//! `tls_offers_a_post_quantum_group_first_and_nothing_below_1_2`.
//!
//! **What is not wiped.** The request's plaintext and the answer's are in buffers that wipe themselves. The SDK
//! also writes the plaintext as base64 into the request's JSON and reads it from the answer's, and hyper and rustls
//! copy both on their way to the record layer: those buffers are freed without wiping, a few hundred bytes for each
//! call, about once per pod and key version. The SDK's log shows none of them, at `trace` neither, unless the
//! environment has `LOG_SENSITIVE_BODIES` or `LOG_SIGNABLE_BODY`; at `trace` it shows what AWS repeats of a request
//! whose signature it refuses. Test:
//! `the_sdk_logs_no_secret_even_at_trace_and_what_aws_repeats_at_trace_alone`.

mod access;
mod authority;
mod credentials;
mod error;
mod place;
mod redact;
mod refusal;
mod setup;
#[cfg(test)]
mod tests;
mod transport;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::{Builder, IdentityCache, SharedCredentialsProvider};
use aws_sdk_kms::primitives::Blob;
use bytes::Bytes;

use super::{Binding, Root, RootDescription, RootError, prove};
use crate::names::RootName;
use crate::secret::{Arena, KEY_BYTES, KeyVersionSecret, WipedBytes, WrappedKey};

use access::Access;
use credentials::PatientCredentials;
use place::{Place, Purpose};

pub use authority::AwsKmsAuthority;
pub use error::AwsKmsRootError;

/// The first byte of a wrapped key: which layout follows.
const LAYOUT: u8 = 1;

/// More is not a ciphertext: `Decrypt` takes no more.
const CIPHERTEXT_BYTES_MAX: usize = 6144;

/// A look-up of credentials or of the region is given up after this long.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// Which KMS key, and how it is reached. Credentials come from the standard chain, never from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKmsSettings {
    /// The name under which wrapped versions are stored.
    pub name: RootName,
    /// The key: its id, its ARN, or an alias (`alias/keypod`, or the alias's ARN).
    pub key: String,
    /// The region; `None`: that of the key's ARN, else that of the standard chain.
    pub region: Option<String>,
    /// Another address than AWS's own: `https://...`, or `http://` on loopback. The certificates that it is checked
    /// against are the system's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    pub endpoint: Option<String>,
    /// Use the region's FIPS 140 endpoint of KMS.
    pub fips: bool,
    /// Use the region's endpoint for IPv4 and IPv6.
    pub dual_stack: bool,
    /// Another key in the same region, which signs the certificates of audit logs: of the spec `ECC_NIST_P256` or
    /// `ECC_NIST_EDWARDS25519`, for `SIGN_VERIFY`. `None`: this root has no authority.
    pub audit_key: Option<String>,
}

/// A symmetric key in AWS KMS.
pub struct AwsKmsRoot {
    access: Access,
    audit_key: Option<Place>,
    arena: Arena,
}

impl AwsKmsRoot {
    /// The root that `settings` name; each call of it takes `attempt_timeout` at most.
    ///
    /// Credentials come from the standard chain: environment, profile (keys, SSO, a process, a role), web identity
    /// (IRSA), container (ECS, Pod Identity), instance metadata (IMDSv2 alone). `fips`, `dual_stack` and `endpoint`
    /// are for KMS alone: what credentials are asked of follows the chain's own settings.
    ///
    /// # Errors
    /// [`AwsKmsRootError`]: the settings contradict each other, or no region is to be had. Never because AWS cannot
    /// be reached.
    pub async fn open(
        settings: &AwsKmsSettings,
        attempt_timeout: Duration,
        arena: &Arena,
    ) -> Result<Self, AwsKmsRootError> {
        let region = match place::configured_region(settings)? {
            Some(region) => Region::new(region.to_owned()),
            None => region_of_the_chain().await.ok_or(AwsKmsRootError::NoRegion)?,
        };
        let identities = IdentityCache::lazy().load_timeout(LOOKUP_MAX * 2).build();
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(region)
            .identity_cache(identities);
        let chain = Box::pin(loader.load()).await;
        transport::check_chain(&chain)?;
        Self::with_chain(settings, &chain, attempt_timeout, arena)
    }

    /// The same with a chain that is there already.
    fn with_chain(
        settings: &AwsKmsSettings,
        chain: &SdkConfig,
        attempt_timeout: Duration,
        arena: &Arena,
    ) -> Result<Self, AwsKmsRootError> {
        let region = match place::configured_region(settings)? {
            Some(region) => Some(region),
            None => chain.region().map(Region::as_ref),
        };
        let region = region.ok_or(AwsKmsRootError::NoRegion)?.to_owned();
        let audit_key = settings.audit_key.as_deref();
        let audit_key =
            audit_key.map(|key| place::audit_key(settings, key, &region)).transpose()?;
        let credentials = PatientCredentials::new(chain.credentials_provider());
        let mut config = Builder::from(chain)
            .region(Region::new(region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .retry_config(RetryConfig::disabled());
        if settings.fips {
            config = config.use_fips(true);
        }
        if settings.dual_stack {
            config = config.use_dual_stack(true);
        }
        let config = transport::bounded(config, attempt_timeout);
        let config = transport::reaching(config, settings, chain)?;
        let access = Access {
            name: settings.name.clone(),
            place: Place::new(Purpose::Wraps, &settings.key, region, settings.endpoint.clone()),
            client: Client::from_conf(config.build()),
            credentials,
            attempt_timeout,
        };
        Ok(Self { access, audit_key, arena: arena.clone() })
    }

    /// The authority of this root, if [`AwsKmsSettings::audit_key`] names its key.
    #[must_use]
    pub fn authority(&self) -> Option<AwsKmsAuthority> {
        let place = self.audit_key.clone()?;
        Some(AwsKmsAuthority::new(Access { place, ..self.access.clone() }))
    }

    /// What `Decrypt` gave back, into protected memory.
    fn secret(&self, plaintext: Option<Blob>) -> Result<KeyVersionSecret, RootError> {
        let plaintext = plaintext.map(Blob::into_inner).map(WipedBytes::from);
        let plaintext = plaintext.filter(|bytes| bytes.len() == KEY_BYTES);
        let plaintext = plaintext.ok_or_else(|| self.access.corrupt())?;
        Ok(KeyVersionSecret::fill(&self.arena, |secret| {
            secret.copy_from_slice(&plaintext);
            Ok::<_, RootError>(())
        })?)
    }
}

impl fmt::Debug for AwsKmsRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = formatter.debug_struct("AwsKmsRoot");
        let Access { name, place, .. } = &self.access;
        fields.field("name", name).field("place", place).finish_non_exhaustive()
    }
}

/// The region that the environment, a profile or the instance names.
async fn region_of_the_chain() -> Option<Region> {
    let chain = DefaultRegionChain::builder().build();
    tokio::time::timeout(LOOKUP_MAX, Box::pin(chain.region())).await.ok().flatten()
}

/// The binding as KMS takes it.
fn encryption_context(binding: Binding<'_>) -> [(&'static str, String); 3] {
    [
        ("keypod:key", binding.key.id.to_string()),
        ("keypod:version", binding.key.version.to_string()),
        ("keypod:domain", binding.domain.to_owned()),
    ]
}

/// A copy of the secret that wipes itself with the last that holds it.
fn plaintext(secret: &KeyVersionSecret) -> Blob {
    let mut copy = WipedBytes::with_capacity(KEY_BYTES);
    copy.extend_from_slice(secret.expose_bytes());
    Blob::from_maybe_shared(Bytes::from_owner(copy))
}

/// The ciphertext of a wrapped key, if it has this root's layout and a length that KMS takes.
fn ciphertext(wrapped: &[u8]) -> Option<&[u8]> {
    let (&LAYOUT, ciphertext) = wrapped.split_first()? else {
        return None;
    };
    (1..=CIPHERTEXT_BYTES_MAX).contains(&ciphertext.len()).then_some(ciphertext)
}

#[async_trait]
impl Root for AwsKmsRoot {
    async fn wrap(
        &self,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Result<WrappedKey, RootError> {
        let Access { client, place, .. } = &self.access;
        let mut call = client.encrypt().key_id(place.key()).plaintext(plaintext(secret));
        for (name, value) in encryption_context(binding) {
            call = call.encryption_context(name, value);
        }
        let answer = Box::pin(call.send()).await.map_err(|error| self.access.refused(&error))?;
        let ciphertext = answer.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
        if !(1..=CIPHERTEXT_BYTES_MAX).contains(&ciphertext.len()) {
            return Err(self.access.no_answer_of_kms());
        }
        let mut wrapped = ciphertext;
        wrapped.insert(0, LAYOUT);
        Ok(WrappedKey::from_bytes(wrapped))
    }

    async fn unwrap_key(
        &self,
        wrapped: &WrappedKey,
        binding: Binding<'_>,
    ) -> Result<KeyVersionSecret, RootError> {
        let ciphertext = ciphertext(wrapped.as_bytes()).ok_or_else(|| self.access.corrupt())?;
        let Access { client, place, .. } = &self.access;
        let mut call = client.decrypt().key_id(place.key()).ciphertext_blob(Blob::new(ciphertext));
        for (name, value) in encryption_context(binding) {
            call = call.encryption_context(name, value);
        }
        let answer = Box::pin(call.send()).await.map_err(|error| self.access.refused(&error))?;
        self.secret(answer.plaintext)
    }

    async fn check(&self, domain: &str) -> Result<Vec<String>, RootError> {
        prove(self, domain, &self.arena).await?;
        self.access.look_at_the_key().await
    }

    fn describe(&self) -> RootDescription {
        RootDescription {
            name: self.access.name.clone(),
            kind: "aws_kms",
            place: self.access.place.to_string(),
            fingerprint: None,
            note: None,
        }
    }
}
