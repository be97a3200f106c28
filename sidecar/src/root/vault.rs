//! The root in the transit engine of HashiCorp Vault or OpenBao.
//!
//! Depends on its trait, [`crate::secret`], [`crate::names`] and [`crate::error_chain`]. A wrapped key is the text that
//! Vault gives, `vault:vN:...`, as bytes; the binding goes along as `associated_data`. The root key never leaves
//! Vault, and one that could ([`Root::check`]) is refused. Opening asks nobody: this process logs in when it is first
//! asked to wrap or unwrap.
//!
//! The 32 bytes travel as base64 in JSON. That text and those bodies are wiped here; what the HTTP library and TLS
//! keep in buffers of theirs is not (ARCHITECTURE.md, "What cannot be protected").
//!
//! Invariants, each with its test: every altered bit is refused (`a_root_with_an_approle_conforms`); an
//! answer that is not Vault's ends nothing (`what_is_not_vaults_answer_passes_by_itself`); a key that is missing is not
//! made (`a_missing_key_is_gone_and_not_made`); no credential is shown
//! (`no_token_secret_or_jwt_is_in_an_error_or_in_debug`).

mod access;
mod authority;
mod ciphertext;
mod error;
mod failure;
mod file;
mod key;
mod lease;
mod login;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use serde::Serialize;
use vaultrs::api::transit::requests::{DecryptDataRequest, EncryptDataRequest};
use zeroize::Zeroizing;

use super::{Binding, Root, RootDescription, RootError, prove};
use crate::secret::{Arena, KEY_BYTES, KeyVersionSecret, STANDARD, WipedBytes, WrappedKey};

pub use authority::VaultAuthority;
pub use error::VaultRootError;
pub use settings::{ClientIdentity, VaultAuth, VaultSettings};

use access::Access;
use failure::{Failure, KeyPlace, Purpose};
use session::Session;
use transport::Transport;

/// 32 bytes in base64.
const PLAINTEXT_CHARS: usize = 44;
/// Spelt as Vault spells what it wrapped, and wrapped by nobody: 60 bytes of zero. To ask for it tells whether there
/// is a key, and changes nothing.
const NOBODYS: &str = concat!(
    "vault:v1:",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
);

/// A transit key of Vault's or OpenBao's.
pub struct VaultRoot {
    access: Access,
    /// The key of the authority, and where it is in words.
    audit_key: Option<(KeyPlace, String)>,
    arena: Arena,
}

impl VaultRoot {
    /// The root of `settings`. Each request gets `attempt_timeout`; one that was refused is followed by a login and by
    /// itself once more.
    ///
    /// Looks at the settings and at the files that they name. Asks nobody: that Vault is away is no error here.
    ///
    /// # Errors
    /// [`VaultRootError`], which names the setting or the file and says what to do about it.
    pub fn open(
        settings: &VaultSettings,
        attempt_timeout: Duration,
        arena: &Arena,
    ) -> Result<Self, VaultRootError> {
        let mount = path("mount", &settings.mount)?;
        let key = key_name("key", &settings.key)?;
        let audit_key = settings.audit_key.as_deref();
        let audit_key = audit_key.map(|key| key_name("audit_key", key)).transpose()?;
        let auth = checked(settings.auth.clone())?;
        auth.read()?;
        let transport = Arc::new(Transport::new(settings, attempt_timeout)?);
        let namespace = settings.namespace.as_ref();
        let namespace = namespace.map(|name| format!(", namespace {name}")).unwrap_or_default();
        let at = |purpose: Purpose, key: String| {
            let words = format!("key {key} of {mount}/ at {}{namespace}", settings.address);
            (KeyPlace { mount: mount.clone(), key, purpose }, words)
        };
        let (key, place) = at(Purpose::Wraps, key);
        let access = Access {
            name: settings.name.clone(),
            place,
            key,
            session: Session::new(auth.clone(), Arc::clone(&transport)),
            auth,
            transport,
        };
        let audit_key = audit_key.map(|key| at(Purpose::Signs, key));
        Ok(Self { access, audit_key, arena: arena.clone() })
    }

    /// The authority of this root, if [`VaultSettings::audit_key`] names its key. It shares the login.
    #[must_use]
    pub fn authority(&self) -> Option<VaultAuthority> {
        let (key, place) = self.audit_key.clone()?;
        Some(VaultAuthority::new(Access { key, place, ..self.access.clone() }))
    }

    async fn encrypt(&self, body: &EncryptBody<'_>) -> Result<String, Failure> {
        let KeyPlace { mount, key, .. } = self.access.key.clone();
        // The body is written by us, in place: the endpoint says where it goes.
        let endpoint = EncryptDataRequest { mount, name: key, ..Default::default() };
        match self.access.ask(&endpoint, body, &[body.plaintext]).await {
            Ok(answer) => Ok(answer.data.ok_or_else(access::unanswered)?.ciphertext),
            // With `update` alone, Vault refuses a key that is not there as it refuses a missing policy.
            Err(denied @ Failure::Denied { .. }) => match self.exists(body.associated_data).await {
                Err(gone @ Failure::KeyGone { .. }) => Err(gone),
                _ => Err(denied),
            },
            Err(failure) => Err(failure),
        }
    }

    async fn decrypt(&self, body: &DecryptBody<'_>) -> Result<Zeroizing<String>, Failure> {
        let KeyPlace { mount, key, .. } = self.access.key.clone();
        let endpoint = DecryptDataRequest { mount, name: key, ..Default::default() };
        let answer = self.access.ask(&endpoint, body, &[]).await?;
        Ok(Zeroizing::new(answer.data.ok_or_else(access::unanswered)?.plaintext))
    }

    /// Asks for what nobody wrapped: [`Failure::KeyGone`] if there is no key, and nothing if it is as it should be.
    async fn exists(&self, associated_data: &str) -> Result<(), Failure> {
        match self.decrypt(&DecryptBody { ciphertext: NOBODYS, associated_data }).await {
            Ok(_) | Err(Failure::Corrupt) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// How the key is set up, as far as this process may see it; that it is there, in any case.
    async fn look_at_key(&self) -> Result<Vec<String>, Failure> {
        if let Some(properties) = self.access.read_key().await? {
            return self.access.key.judge_properties(&properties);
        }
        // Whoever has `create` would make the key by wrapping under it. This also logs in again, if that was it.
        self.exists(&STANDARD.encode("keypod-check")).await?;
        if let Some(properties) = self.access.read_key().await? {
            return self.access.key.judge_properties(&properties);
        }
        let KeyPlace { mount, key, .. } = &self.access.key;
        Ok(vec![format!(
            "whether the key {key} can leave Vault is not known, because its properties may not be read: give its policy `read` on {mount}/keys/{key}"
        )])
    }

    fn opened(&self, plaintext: &str) -> Result<KeyVersionSecret, RootError> {
        let corrupt = || Failure::Corrupt.of(&self.access.name);
        // Some decoders want room for all that the text might hold: the secret goes on from there at once.
        let mut bytes = WipedBytes::zeroed(KEY_BYTES + 1);
        let len = STANDARD.decode_slice(plaintext, &mut bytes).map_err(|_| corrupt())?;
        let found =
            bytes.get(..len).filter(|found| found.len() == KEY_BYTES).ok_or_else(corrupt)?;
        let filled = KeyVersionSecret::fill(&self.arena, |secret| {
            secret.copy_from_slice(found);
            Ok::<_, RootError>(())
        });
        Ok(filled?)
    }
}

#[derive(Serialize)]
struct EncryptBody<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
}

#[derive(Serialize)]
struct DecryptBody<'a> {
    ciphertext: &'a str,
    associated_data: &'a str,
}

const WANTED: &str = "it has to be a name of letters, digits, `-`, `_` and `.`, and for a mount of several with `/` between";

/// A mount or a name that means nothing else in an address or in a policy.
fn path(setting: &'static str, text: &str) -> Result<String, VaultRootError> {
    let text = text.trim_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    match text.split('/').all(is_name) {
        true => Ok(text.to_owned()),
        false => Err(VaultRootError::Setting { setting, problem: WANTED }),
    }
}

/// A name of a key, which is in no folder.
fn key_name(setting: &'static str, text: &str) -> Result<String, VaultRootError> {
    match path(setting, text)? {
        key if key.contains('/') => Err(VaultRootError::Setting { setting, problem: WANTED }),
        key => Ok(key),
    }
}

/// `auth` with a mount that is one.
fn checked(mut auth: VaultAuth) -> Result<VaultAuth, VaultRootError> {
    match &mut auth {
        VaultAuth::TokenFile(_) => {}
        VaultAuth::AppRole { mount, .. } => *mount = path("approle.mount", mount)?,
        VaultAuth::Kubernetes { mount, .. } => *mount = path("kubernetes.mount", mount)?,
    }
    Ok(auth)
}

#[async_trait]
impl Root for VaultRoot {
    async fn wrap(
        &self,
        secret: &KeyVersionSecret,
        binding: Binding<'_>,
    ) -> Result<WrappedKey, RootError> {
        let mut plaintext = WipedBytes::zeroed(PLAINTEXT_CHARS);
        let written = STANDARD.encode_slice(secret.expose_bytes(), &mut plaintext);
        let plaintext = std::str::from_utf8(&plaintext).ok().filter(|_| written.is_ok());
        let body = EncryptBody {
            plaintext: plaintext.unwrap_or_default(),
            associated_data: &STANDARD.encode(binding.to_bytes()),
        };
        let given = self.encrypt(&body).await.map_err(|failure| failure.of(&self.access.name))?;
        match ciphertext::text(given.as_bytes()) {
            Some(_) => Ok(WrappedKey::from_bytes(given.into_bytes())),
            None => {
                let reason = self.access.key.new_key("does not wrap as Vault's transit keys do");
                Err(Failure::Unusable { reason }.of(&self.access.name))
            }
        }
    }

    async fn unwrap_key(
        &self,
        wrapped: &WrappedKey,
        binding: Binding<'_>,
    ) -> Result<KeyVersionSecret, RootError> {
        let ciphertext = ciphertext::text(wrapped.as_bytes())
            .ok_or_else(|| Failure::Corrupt.of(&self.access.name))?;
        let body =
            DecryptBody { ciphertext, associated_data: &STANDARD.encode(binding.to_bytes()) };
        let plaintext =
            self.decrypt(&body).await.map_err(|failure| failure.of(&self.access.name))?;
        self.opened(&plaintext)
    }

    async fn check(&self, domain: &str) -> Result<Vec<String>, RootError> {
        let mut notes =
            self.look_at_key().await.map_err(|failure| failure.of(&self.access.name))?;
        prove(self, domain, &self.arena).await?;
        notes.extend(
            self.access.look_at_token().await.map_err(|failure| failure.of(&self.access.name))?,
        );
        notes.extend(self.access.look_at_secret());
        Ok(notes)
    }

    fn describe(&self) -> RootDescription {
        RootDescription {
            name: self.access.name.clone(),
            kind: "vault",
            place: self.access.place.clone(),
            fingerprint: None,
            note: None,
        }
    }
}

impl fmt::Debug for VaultRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VaultRoot({}: {})", self.access.name, self.access.place)
    }
}
