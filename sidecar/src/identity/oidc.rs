//! Reads who a person is out of the claims of an OIDC token: `PROVIDER:SUBJECT`, in the roles `PROVIDER:GROUP`.

use serde_json::Value;

use super::Proven;
use super::error::Refusal;
use super::settings::OidcSettings;
use super::token::{Claims, OneOrMany};
use crate::names::RoleName;
use crate::policy::{CallerKind, Identity};

/// Groups of one person.
const GROUPS_MAX: usize = 256;

/// Who `claims` are about, once the signature is checked.
pub(super) fn person(settings: &OidcSettings, claims: &Claims) -> Result<Proven, Refusal> {
    let name = format!("{}:{}", settings.name, claims.sub);
    let name = name.parse().map_err(|_| Refusal::Subject)?;
    let roles = groups(settings, claims)?;
    let mfa = is_strong(settings, claims)?;
    Ok(Proven { identity: Identity::new(name, CallerKind::Person, roles).into(), mfa })
}

/// A group that cannot be a role refuses the token, and so does a list that is elsewhere because it is too long: a
/// policy may forbid something to one of them.
fn groups(settings: &OidcSettings, claims: &Claims) -> Result<Vec<RoleName>, Refusal> {
    let claim = &settings.groups_claim;
    let elsewhere = claims.others.get("_claim_names").and_then(|names| names.get(claim));
    if elsewhere.is_some() {
        return Err(Refusal::Groups);
    }
    let groups = texts(claims, claim, Refusal::Groups)?;
    if groups.len() > GROUPS_MAX {
        return Err(Refusal::Groups);
    }
    let role = |group: &String| format!("{}:{group}", settings.name).parse();
    groups.iter().map(role).collect::<Result<_, _>>().map_err(|_| Refusal::Groups)
}

/// Whether the issuer says that a second factor was used (RFC 8176, and `acr` of OpenID Connect Core 1.0, section 2).
fn is_strong(settings: &OidcSettings, claims: &Claims) -> Result<bool, Refusal> {
    let said = |claim: &str, strong: &[String]| {
        let said = texts(claims, claim, Refusal::Claims)?;
        Ok::<_, Refusal>(said.iter().any(|method| strong.contains(method)))
    };
    Ok(said("amr", &settings.mfa_amr)? || said("acr", &settings.mfa_acr)?)
}

/// The texts of a claim; none if it is not there.
fn texts(claims: &Claims, claim: &str, refusal: Refusal) -> Result<Vec<String>, Refusal> {
    match claims.others.get(claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            let texts: OneOrMany = serde_json::from_value(value.clone()).map_err(|_| refusal)?;
            Ok(texts.as_slice().to_vec())
        }
    }
}
