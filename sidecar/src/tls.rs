//! How TLS is spoken with every server that this program calls: rustls over aws-lc-rs, 1.2 or 1.3, X25519MLKEM768 offered
//! first.
//!
//! Depends on nothing. Whoever calls has read the files, and says in its own words which of them is wrong.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// Why there are no settings of TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The authorities that were given are none.
    #[error("it does not hold certificates in PEM")]
    NoCertificate,
    /// The system has none.
    #[error("the system's certificate authorities cannot be used")]
    NoAuthorities(#[source] rustls::Error),
    /// The library refuses.
    #[error("TLS cannot be spoken")]
    Library(#[source] rustls::Error),
}

/// The settings of TLS, but for a certificate of the client's own. A server's is to be signed by one of `authorities`, in PEM,
/// and by no other; by one of the system's where none are given. Where TLS is not `needed` none are asked: a small image
/// may have none.
pub(crate) fn builder(
    authorities: Option<&[u8]>,
    needed: bool,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Library)?;
    if authorities.is_none() && needed {
        return builder.with_platform_verifier().map_err(TlsError::NoAuthorities);
    }
    let mut store = RootCertStore::empty();
    if let Some(pem) = authorities {
        for certificate in certificates(pem)? {
            store.add(certificate).map_err(|_| TlsError::NoCertificate)?;
        }
    }
    Ok(builder.with_root_certificates(store))
}

/// The certificates in `pem`, of which there is one at least.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::NoCertificate),
    }
}
