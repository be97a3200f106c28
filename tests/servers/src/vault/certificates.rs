//! An authority, and a server and a client whose certificates it signed, as PEM files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Paths of PEM files.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The certificate of a server at 127.0.0.1 and localhost.
    pub server_cert: PathBuf,
    /// Its private key.
    pub server_key: PathBuf,
    /// A client's certificate.
    pub client_cert: PathBuf,
    /// Its private key.
    pub client_key: PathBuf,
    /// The certificate of an authority that signed none of them.
    pub other_ca: PathBuf,
}

impl Certificates {
    /// Makes them in `folder`.
    ///
    /// # Errors
    /// When they could not be made or written.
    pub fn write(folder: &Path) -> io::Result<Self> {
        let path = |name: &str| folder.join(name);
        let files = Self {
            ca: path("ca.pem"),
            server_cert: path("server.pem"),
            server_key: path("server.key"),
            client_cert: path("client.pem"),
            client_key: path("client.key"),
            other_ca: path("other-ca.pem"),
        };
        let (ca, pem) = authority("keypod test")?;
        fs::write(&files.ca, pem)?;
        fs::write(&files.other_ca, authority("another")?.1)?;
        signed(&ca, &["127.0.0.1", "localhost"], &files.server_cert, &files.server_key)?;
        signed(&ca, &["keypod"], &files.client_cert, &files.client_key)?;
        Ok(files)
    }
}

/// The certificate of some authority, where one is wanted and not looked at.
pub(super) fn any_authority() -> io::Result<String> {
    authority("any").map(|(_, pem)| pem)
}

fn authority(name: &str) -> io::Result<(Issuer<'static, KeyPair>, String)> {
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(io::Error::other)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let pem = params.self_signed(&key).map_err(io::Error::other)?.pem();
    Ok((Issuer::new(params, key), pem))
}

fn signed(
    ca: &Issuer<'static, KeyPair>,
    names: &[&str],
    cert_file: &Path,
    key_file: &Path,
) -> io::Result<()> {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let params = CertificateParams::new(names).map_err(io::Error::other)?;
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let cert = params.signed_by(&key, ca).map_err(io::Error::other)?;
    fs::write(cert_file, cert.pem())?;
    fs::write(key_file, key.serialize_pem())
}
