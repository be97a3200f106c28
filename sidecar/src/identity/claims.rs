//! Holds the claims of a token against the configuration and the clock.

use std::time::Duration;

use super::error::Refusal;
use super::token::Claims;
use crate::clock::{Now, UnixSeconds};

/// How far an issuer's clock may be from ours.
const LEEWAY: Duration = Duration::from_secs(30);
/// No token is taken that is valid for longer.
pub(super) const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Refuses claims that are another issuer's, for another audience, or not of this time.
pub(super) fn check(
    claims: &Claims,
    issuer: &str,
    audience: &str,
    now: Now,
) -> Result<(), Refusal> {
    if claims.iss != issuer {
        return Err(Refusal::Issuer);
    }
    if !claims.aud.as_slice().iter().any(|listed| listed == audience) {
        return Err(Refusal::Audience);
    }
    if claims.sub.is_empty() {
        return Err(Refusal::Subject);
    }
    let (expires, issued) = (UnixSeconds(claims.exp), UnixSeconds(claims.iat));
    if now.wall >= expires.after(LEEWAY) {
        return Err(Refusal::Expired);
    }
    let soonest = now.wall.after(LEEWAY);
    if issued > soonest || claims.nbf.is_some_and(|from| UnixSeconds(from) > soonest) {
        return Err(Refusal::TooEarly);
    }
    if expires > issued.after(LIFETIME_MAX) {
        return Err(Refusal::Lifetime);
    }
    Ok(())
}
