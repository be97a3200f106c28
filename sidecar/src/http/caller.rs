//! Turns a connection and its headers into a [`Caller`]: the only place that makes one for a request.
//!
//! A bearer token is compared by its SHA-256 digest with the digest of every known token, in constant time, and
//! always with all of them. On the Unix socket the kernel's word about the peer may be enough; a token that is
//! given there is used, and if it is wrong nothing else is tried. Tokens are read from their files at start and
//! again when a file changes; the table is swapped whole. A file that is gone, empty or bad revokes its token and
//! no other. A token that is in no file and could be a signed one is for [`crate::identity`] to judge.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::error::Failure;
use super::source::{Source, TcpEnds};
use crate::clock::Now;
use crate::file::{self, Stamp};
use crate::identity::{self, Issuers, Proven};
use crate::names::CallerName;
use crate::policy::{Caller, CallerKind, Identity, Transport};
use crate::service::Code;

/// The shortest token that is taken: 128 bits in base64.
const TOKEN_BYTES_MIN: usize = 22;
/// The longest.
const TOKEN_BYTES_MAX: usize = 4096;

/// The user and group at the other end of the Unix socket (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Tokens in one file: the new one and those that still run out.
const TOKENS_MAX: usize = 4;

/// What is known of a connection before its first request.
#[derive(Clone, Debug)]
pub(super) enum Connection {
    /// On the Unix socket, and the peer if the kernel says who it is.
    Unix(Option<Peer>),
    /// On loopback TCP.
    Tcp(Arc<TcpEnds>),
}

impl Connection {
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Unix(_) => Transport::Unix,
            Self::Tcp(_) => Transport::Tcp,
        }
    }

    /// Who the peer is, as far as that can be told at once and proves who calls.
    pub(super) fn peer(&self) -> Option<Peer> {
        match self {
            Self::Unix(peer) => *peer,
            Self::Tcp(_) => None,
        }
    }

    /// The user at the other end: for counting, and no proof of who calls.
    pub(super) async fn source(&self) -> Source {
        match self {
            Self::Unix(peer) => peer.map_or(Source::Unknown, |peer| Source::User(peer.uid)),
            Self::Tcp(ends) => ends.source().await,
        }
    }
}

/// How one caller proves who they are.
#[derive(Clone, Debug)]
pub enum Proof {
    /// With the token in this file.
    TokenFile(PathBuf),
    /// By being this user, and where given in this group, on the Unix socket.
    Peer {
        /// The user.
        uid: u32,
        /// The group.
        gid: Option<u32>,
    },
}

/// Why the callers' credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallersError {
    /// The token file cannot be read.
    #[error("cannot read the token file {} of caller {caller}", path.display())]
    Unreadable {
        /// Whose.
        caller: CallerName,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others than owner and group can read it.
    #[error("everybody can read the token file {} of caller {caller}: chmod o= it", path.display())]
    TooOpen {
        /// Whose.
        caller: CallerName,
        /// Which file.
        path: PathBuf,
    },
    /// What it holds is no token.
    #[error(
        "the token file {} of caller {caller} must hold one line, or up to {TOKENS_MAX} in a change-over, of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters: fill it with `openssl rand -base64 32`",
        path.display()
    )]
    NoToken {
        /// Whose.
        caller: CallerName,
        /// Which file.
        path: PathBuf,
    },
    /// Two callers have one token or one peer, so they could not be told apart.
    #[error("callers {first} and {second} have the same credential: give each its own")]
    Same {
        /// One.
        first: CallerName,
        /// The other.
        second: CallerName,
    },
}

/// All callers that can prove who they are.
#[derive(Debug)]
pub struct Callers {
    proofs: Vec<(CallerName, Proof)>,
    /// Those of the socket: user, group, and who that is.
    peers: Vec<(u32, Option<u32>, Arc<Identity>)>,
    tokens: ArcSwap<Vec<Token>>,
    /// What the token files looked like when they were last read.
    seen: Mutex<Vec<Option<Stamp>>>,
    /// Whose signed tokens are taken.
    issuers: Option<Issuers>,
}

#[derive(Debug)]
struct Token {
    caller: Arc<Identity>,
    digest: [u8; 32],
}

impl Callers {
    /// These callers, their token files read.
    ///
    /// # Errors
    /// [`CallersError`], naming the caller and the file.
    pub fn load(proofs: Vec<(CallerName, Proof)>) -> Result<Self, CallersError> {
        check_peers(&proofs)?;
        let seen = stamps(&proofs);
        let (tokens, errors) = gather(&proofs);
        if let Some(error) = errors.into_iter().next() {
            return Err(error);
        }
        let peers = proofs.iter().filter_map(|(caller, proof)| match proof {
            Proof::Peer { uid, gid } => Some((*uid, *gid, known(caller, CallerKind::Peer))),
            Proof::TokenFile(_) => None,
        });
        let peers = peers.collect();
        let (tokens, seen) = (ArcSwap::from_pointee(tokens), Mutex::new(seen));
        Ok(Self { peers, tokens, seen, proofs, issuers: None })
    }

    /// The same, and whoever these issuers vouch for.
    #[must_use]
    pub fn with_issuers(self, issuers: Issuers) -> Self {
        Self { issuers: Some(issuers), ..self }
    }

    /// Whose signed tokens are taken.
    #[must_use]
    pub fn issuers(&self) -> Option<&Issuers> {
        self.issuers.as_ref()
    }

    /// Reads the token files again if one has changed. A file that is gone, empty or bad revokes its token: the
    /// error says which, and the others are valid all the same. `None` if no file has changed.
    pub fn reload_if_changed(&self) -> Option<Vec<CallersError>> {
        let now = stamps(&self.proofs);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return None;
        }
        let (tokens, errors) = gather(&self.proofs);
        self.tokens.store(Arc::new(tokens));
        *seen = now;
        Some(errors)
    }

    /// Who is calling. Waits for an issuer alone, and for a few seconds at most.
    pub(super) async fn authenticate(
        &self,
        connection: &Connection,
        headers: &HeaderMap,
        now: Now,
    ) -> Result<Caller, Failure> {
        let proven = if headers.contains_key(header::AUTHORIZATION) {
            match bearer(headers) {
                Some(token) => self.by_token(token, now).await,
                None => None,
            }
        } else {
            let identity = connection.peer().and_then(|peer| self.by_peer(peer));
            identity.map(|identity| Proven { identity, mfa: false })
        };
        let Proven { identity, mfa } = proven.ok_or_else(|| {
            Failure::new(
                Code::Unauthenticated,
                "send `Authorization: Bearer TOKEN`, or call on the Unix socket as a configured user",
            )
        })?;
        Ok(Caller { identity, transport: connection.transport(), mfa })
    }

    async fn by_token(&self, token: &[u8], now: Now) -> Option<Proven> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(identity) = self.by_file(&digest) {
            return Some(Proven { identity, mfa: false });
        }
        let issuers = self.issuers.as_ref().filter(|issuers| issuers.could_be_a_token(token))?;
        issuers.authenticate(std::str::from_utf8(token).ok()?, digest, now).await
    }

    fn by_file(&self, digest: &[u8; 32]) -> Option<Arc<Identity>> {
        let tokens = self.tokens.load();
        // The index of the match, or the count: every token is compared, whichever matches.
        let mut found = u32::MAX;
        for (index, token) in (0_u32..).zip(tokens.iter()) {
            let same: Choice = token.digest.ct_eq(digest);
            found.conditional_assign(&index, same);
        }
        tokens.get(found as usize).map(|token| Arc::clone(&token.caller))
    }

    fn by_peer(&self, peer: Peer) -> Option<Arc<Identity>> {
        let found = self
            .peers
            .iter()
            .find(|(uid, gid, _)| *uid == peer.uid && gid.is_none_or(|gid| gid == peer.gid));
        found.map(|(.., caller)| Arc::clone(caller))
    }
}

fn known(caller: &CallerName, kind: CallerKind) -> Arc<Identity> {
    Arc::new(Identity::new(caller.clone(), kind, Vec::new()))
}

/// The token of the only `Authorization` header, if its scheme is `Bearer` (RFC 6750).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    let token = token.trim_ascii();
    let fits = token.len() <= identity::TOKEN_BYTES_MAX;
    (scheme.eq_ignore_ascii_case(b"bearer ") && fits).then_some(token)
}

fn token_files(proofs: &[(CallerName, Proof)]) -> impl Iterator<Item = (&CallerName, &Path)> {
    proofs.iter().filter_map(|(caller, proof)| match proof {
        Proof::TokenFile(path) => Some((caller, path.as_path())),
        Proof::Peer { .. } => None,
    })
}

/// The tokens of all files that can be used, and what is wrong with the others. A token that two callers have is
/// nobody's: they could not be told apart.
fn gather(proofs: &[(CallerName, Proof)]) -> (Vec<Token>, Vec<CallersError>) {
    let (mut tokens, mut errors) = (Vec::new(), Vec::new());
    for (caller, path) in token_files(proofs) {
        match read_tokens(caller, path) {
            Ok(read) => tokens.extend(read),
            Err(error) => errors.push(error),
        }
    }
    let mut shared = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let same = |other: &&Token| other.digest == token.digest && other.caller != token.caller;
        if let Some(other) = tokens.iter().skip(index + 1).find(same) {
            let (first, second) = (token.caller.name().clone(), other.caller.name().clone());
            errors.push(CallersError::Same { first, second });
            shared.push(token.digest);
        }
    }
    tokens.retain(|token| !shared.contains(&token.digest));
    (tokens, errors)
}

/// What the token files look like, taken before they are read: a change in between is seen the next time.
fn stamps(proofs: &[(CallerName, Proof)]) -> Vec<Option<Stamp>> {
    token_files(proofs).map(|(_, path)| Stamp::of(path).ok()).collect()
}

/// The tokens of one file, a line each.
fn read_tokens(caller: &CallerName, path: &Path) -> Result<Vec<Token>, CallersError> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    let unreadable =
        |source| CallersError::Unreadable { caller: caller.clone(), path: path.to_owned(), source };
    let no_token = || CallersError::NoToken { caller: caller.clone(), path: path.to_owned() };
    let (file, metadata) = file::open(path).map_err(unreadable)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(CallersError::TooOpen { caller: caller.clone(), path: path.to_owned() });
    }
    let most = (TOKEN_BYTES_MAX + 2) * TOKENS_MAX;
    if !metadata.is_file() || metadata.len() > most as u64 {
        return Err(no_token());
    }
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(most as u64).read_to_end(&mut text).map_err(unreadable)?;
    let identity = known(caller, CallerKind::Token);
    let mut tokens = Vec::new();
    for line in text.trim_ascii_end().split(|byte| *byte == b'\n') {
        let token = line.trim_ascii_end();
        let has_length = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
        if !has_length || !token.iter().all(u8::is_ascii_graphic) || tokens.len() == TOKENS_MAX {
            return Err(no_token());
        }
        let digest = Sha256::digest(token).into();
        tokens.push(Token { caller: Arc::clone(&identity), digest });
    }
    Ok(tokens)
}

/// Refuses two callers that one peer would match.
fn check_peers(proofs: &[(CallerName, Proof)]) -> Result<(), CallersError> {
    let peers: Vec<_> = proofs
        .iter()
        .filter_map(|(name, proof)| match proof {
            Proof::Peer { uid, gid } => Some((name, *uid, *gid)),
            Proof::TokenFile(_) => None,
        })
        .collect();
    for (index, (first, uid, gid)) in peers.iter().enumerate() {
        for (second, other_uid, other_gid) in peers.iter().skip(index + 1) {
            let overlap =
                uid == other_uid && (gid.is_none() || other_gid.is_none() || gid == other_gid);
            if overlap && first != second {
                return Err(CallersError::Same {
                    first: (*first).clone(),
                    second: (*second).clone(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
