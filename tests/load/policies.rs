//! A set of policies as a large installation has them: each of them could decide about the caller that is measured.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Policies in the folder, beside the caller's own grant: all look at the tenant, and the last permits what is sent.
pub(crate) const POLICIES: usize = 50;
/// Roles, all of which the caller is in.
pub(crate) const ROLES: usize = 200;
/// The context of each request, as `keypod bench` takes it: the tenant of the last policy, and what none looks at.
pub(crate) const CONTEXT: [&str; 4] = ["--context", "tenant=49", "--context", "record=r-1"];
/// The caller of `keypod dev`.
const CALLER: &str = "dev";

/// Writes the folder in `folder`.
pub(crate) fn write(folder: &Path) -> anyhow::Result<PathBuf> {
    let (mut policies, mut entities) = (String::new(), String::new());
    for number in 0..POLICIES {
        writeln!(
            policies,
            "permit (principal in Role::\"role-{number}\", action in [Action::\"encrypt\", Action::\"decrypt\"], resource in KeyGroup::\"keys\")\n\
             when {{ context.request has tenant && context.request.tenant == \"{number}\" }};"
        )?;
    }
    writeln!(entities, "[key_groups.keys]\nkeys = [\"*\"]")?;
    for number in 0..ROLES {
        writeln!(entities, "[roles.role-{number}]\nmembers = [\"{CALLER}\"]")?;
    }
    let folder = folder.join("policies");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("tenants.cedar"), policies)?;
    std::fs::write(folder.join("entities.toml"), entities)?;
    Ok(folder)
}
