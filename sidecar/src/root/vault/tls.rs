//! How TLS is spoken with Vault: rustls over aws-lc-rs, 1.2 or 1.3, X25519MLKEM768 offered first.
//!
//! The authorities are those of `ca_file` and no others, or the system's. Nothing is taken from the environment but
//! what says where the system's are (`SSL_CERT_FILE`, `SSL_CERT_DIR`). Tests:
//! `a_server_that_another_authority_signed_is_not_spoken_to`, `the_post_quantum_exchange_is_offered_first`.

use std::path::Path;

use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::{ClientIdentity, VaultRootError, file};
use crate::tls::{self, TlsError};

/// The settings of TLS, which is `needed` if the address says so.
pub(super) fn config(
    ca_file: Option<&Path>,
    needed: bool,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, VaultRootError> {
    let pem = ca_file.map(file::read_pem).transpose()?;
    let builder =
        tls::builder(pem.as_deref().map(Vec::as_slice), needed).map_err(|error| {
            match (error, ca_file) {
                (TlsError::NoCertificate, Some(path)) => no_certificate(path),
                (TlsError::NoAuthorities(source), _) => VaultRootError::NoAuthorities { source },
                (error, _) => VaultRootError::Client { source: error.into() },
            }
        })?;
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let pem = file::read_pem(&identity.cert_file)?;
    let chain = tls::certificates(&pem).map_err(|_| no_certificate(&identity.cert_file))?;
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

fn no_certificate(path: &Path) -> VaultRootError {
    VaultRootError::Pem { path: path.into(), what: "certificate" }
}
