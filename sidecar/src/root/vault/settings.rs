//! Which transit key, how it is reached, and how this process logs in.

use std::path::PathBuf;

use crate::names::RootName;

/// Which transit key, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// The name under which wrapped versions are stored.
    pub name: RootName,
    /// `https://HOST:PORT`, or `http://` on loopback.
    pub address: String,
    /// The namespace, where the server has them.
    pub namespace: Option<String>,
    /// Where the transit engine is mounted.
    pub mount: String,
    /// The transit key.
    pub key: String,
    /// Another transit key of the mount, which signs the certificates of audit logs: of the type `ed25519` or
    /// `ecdsa-p256`. `None`: this root has no authority.
    pub audit_key: Option<String>,
    /// How this process logs in.
    pub auth: VaultAuth,
    /// The certificates that the server's must be signed by, in PEM; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// This process's certificate and private key, in PEM, for mutual TLS.
    pub client_identity: Option<ClientIdentity>,
}

/// A certificate and its private key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and those between it and its authority.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// How a process logs in to Vault. What is secret is in a file, read anew at each login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultAuth {
    /// A token that somebody else puts into a file, and perhaps renews.
    TokenFile(PathBuf),
    /// AppRole: an id, and a secret in a file.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role's id.
        role_id: String,
        /// The file with the secret id.
        secret_id_file: PathBuf,
    },
    /// A Kubernetes service account.
    Kubernetes {
        /// Where the method is mounted.
        mount: String,
        /// The role of Vault's.
        role: String,
        /// The file with the service account's token.
        token_file: PathBuf,
    },
}
