//! How TLS is spoken with a collector: rustls over aws-lc-rs, 1.2 or 1.3, X25519MLKEM768 offered first.
//!
//! The authorities are those of a `ca_file` and no others, or the system's.

use std::io::Read as _;
use std::path::Path;

use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::{ClientIdentity, SinkError};
use crate::file;
use crate::tls::{self, TlsError};

const PEM_BYTES_MAX: u64 = 1 << 20;

/// The settings of TLS for `sink`. Without TLS, as `in_the_clear` says, nobody's certificate is believed.
pub(super) fn config(
    sink: &'static str,
    in_the_clear: bool,
    ca_file: Option<&Path>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, SinkError> {
    let pem = ca_file.map(|path| read(sink, path, PEM_BYTES_MAX)).transpose()?;
    let authorities = pem.as_deref().map(Vec::as_slice);
    let builder = tls::builder(authorities, !in_the_clear);
    let builder = builder.map_err(|error| match (error, ca_file) {
        (TlsError::NoCertificate, Some(path)) => no_certificate(sink, path),
        (TlsError::NoAuthorities(error) | TlsError::Library(error), _) => unusable(sink, error),
        (error, None) => unusable(sink, error),
    })?;
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let pem = read(sink, &identity.cert_file, PEM_BYTES_MAX)?;
    let chain = tls::certificates(&pem).map_err(|_| no_certificate(sink, &identity.cert_file))?;
    let pem = read(sink, &identity.key_file, PEM_BYTES_MAX)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| SinkError::Content {
        sink,
        path: identity.key_file.clone(),
        wanted: "a private key in PEM, without a passphrase",
    })?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable(sink, error))
}

fn no_certificate(sink: &'static str, path: &Path) -> SinkError {
    SinkError::Content { sink, path: path.to_owned(), wanted: "certificates in PEM" }
}

fn unusable(
    sink: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SinkError {
    SinkError::Client { sink, source: source.into() }
}

/// The whole of a regular file of at most `max` bytes.
pub(super) fn read(
    sink: &'static str,
    path: &Path,
    max: u64,
) -> Result<Zeroizing<Vec<u8>>, SinkError> {
    let unreadable = |source| SinkError::Unreadable { sink, path: path.to_owned(), max, source };
    let (file, metadata) = file::open(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > max {
        return Err(unreadable(std::io::Error::other("it is no file, or too long")));
    }
    // Room for all of it and one more: a buffer that grows leaves copies behind.
    let room = usize::try_from(max).unwrap_or(0).min(1 << 20) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(max).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
