//! Reads which service account, of which pod, a Kubernetes token is for.

use serde::Deserialize;

use super::Proven;
use super::error::{IdentityError, Refusal};
use super::settings::PodUid;
use super::token::Claims;
use crate::file;
use crate::names::RoleName;
use crate::policy::{CallerKind, Identity};

const PREFIX: &str = "system:serviceaccount:";
const POD_UID_BYTES_MAX: u64 = 128;

/// The claim `kubernetes.io`.
#[derive(Deserialize)]
struct Bound {
    namespace: String,
    serviceaccount: Named,
    pod: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    uid: String,
}

/// The uid of the only pod whose tokens are taken.
pub(super) fn read_pod_uid(provider: &str, uid: &PodUid) -> Result<String, IdentityError> {
    let path = match uid {
        PodUid::Is(uid) => return Ok(uid.clone()),
        PodUid::File(path) => path,
    };
    let provider = provider.to_owned();
    let bytes = match file::read(path, POD_UID_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(source) => {
            return Err(IdentityError::Unreadable { provider, path: path.clone(), source });
        }
    };
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok(uid) if !uid.is_empty() => Ok(uid.to_owned()),
        _ => Err(IdentityError::Content { provider, path: path.clone(), wanted: "a pod's uid" }),
    }
}

/// The service account that `claims` are about, once the signature is checked.
pub(super) fn service_account(pod_uid: Option<&str>, claims: &Claims) -> Result<Proven, Refusal> {
    let bound = claims.others.get("kubernetes.io").ok_or(Refusal::Claims)?;
    let bound: Bound = serde_json::from_value(bound.clone()).map_err(|_| Refusal::Claims)?;
    let (namespace, name) = claims
        .sub
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once(':'))
        .ok_or(Refusal::Subject)?;
    let agrees = namespace == bound.namespace && name == bound.serviceaccount.name;
    if !agrees || namespace.is_empty() || name.is_empty() || name.contains(':') {
        return Err(Refusal::Subject);
    }
    if let Some(wanted) = pod_uid
        && bound.pod.as_ref().is_none_or(|pod| pod.uid != wanted)
    {
        return Err(Refusal::Pod);
    }
    let role = |text: &str| text.parse::<RoleName>().map_err(|_| Refusal::Subject);
    let roles = vec![
        role("system:serviceaccounts")?,
        role(&format!("system:serviceaccounts:{namespace}"))?,
    ];
    let name = claims.sub.parse().map_err(|_| Refusal::Subject)?;
    Ok(Proven {
        identity: Identity::new(name, CallerKind::ServiceAccount, roles).into(),
        mfa: false,
    })
}
