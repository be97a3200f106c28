//! How TLS is spoken with Vault: rustls over aws-lc-rs, 1.2 or 1.3, X25519MLKEM768 offered first.
//!
//! The authorities are those of `ca_file` and no others, or the system's. Nothing is taken from the environment but
//! what says where the system's are (`SSL_CERT_FILE`, `SSL_CERT_DIR`). Tests:
//! `a_server_that_another_authority_signed_is_not_spoken_to`, `the_post_quantum_exchange_is_offered_first`.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use super::{ClientIdentity, VaultRootError, file};

/// What the server's certificate must be signed by.
pub(super) enum Authorities<'a> {
    /// One of those in this PEM file.
    File(&'a Path),
    /// One of the system's.
    System,
    /// None is asked: there is no TLS on this connection.
    None,
}

/// The settings of TLS.
pub(super) fn config(
    authorities: &Authorities<'_>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, VaultRootError> {
    let builder = builder(authorities)?;
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(&identity.cert_file)?;
    let pem = file::read_pem(&identity.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| VaultRootError::Pem {
        path: identity.key_file.clone(),
        what: "private key without a passphrase",
    })?;
    builder.with_client_auth_cert(chain, key).map_err(|source| VaultRootError::Identity {
        cert_file: identity.cert_file.clone(),
        key_file: identity.key_file.clone(),
        source,
    })
}

fn builder(
    authorities: &Authorities<'_>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, VaultRootError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|source| VaultRootError::Client { source: source.into() })?;
    let mut store = RootCertStore::empty();
    match authorities {
        Authorities::System => builder
            .with_platform_verifier()
            .map_err(|source| VaultRootError::NoAuthorities { source }),
        Authorities::None => Ok(builder.with_root_certificates(store)),
        Authorities::File(path) => {
            for certificate in certificates(path)? {
                store.add(certificate).map_err(|_| no_certificate(path))?;
            }
            Ok(builder.with_root_certificates(store))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, VaultRootError> {
    let pem = file::read_pem(path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(no_certificate(path)),
    }
}

fn no_certificate(path: &Path) -> VaultRootError {
    VaultRootError::Pem { path: path.into(), what: "certificate" }
}
