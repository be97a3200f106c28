//! Loads the policies that the configuration names, and loads them again when their folder changes.
//!
//! A set that is not valid never takes the place of one that is: the old one goes on deciding, and the log says
//! what is wrong and where. Nor does one whose folder was emptied, as by a mount that breaks: the `forbid`s of the folder and
//! the groups that those of packs name would be gone (`a_folder_that_is_emptied_takes_no_forbid_away`).

use std::sync::Mutex;

use serde_json::json;

use super::StartError;
use crate::audit::{AppendError, Outcome, Receipt};
use crate::config::Config;
use crate::policy::folder::{self, Stamp};
use crate::policy::{self, Grant, Policies, Problem};
use crate::service::Service;

/// What a folder is told that had policies or files and has none any more.
const EMPTIED: &str = "there is no policy left in the folder, as if its mount were broken: to take away what it permits, \
                       leave one `forbid`; to be without it, start again";

/// Where the policies come from.
#[derive(Debug)]
pub(super) struct PolicySource {
    folder: Option<std::path::PathBuf>,
    packs: Vec<String>,
    grants: Vec<Grant>,
    second_person: bool,
    /// What the folder looked like when it was last read, and last looked at.
    seen: Mutex<(Option<Stamp>, Option<Stamp>)>,
}

impl PolicySource {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            folder: config.policy.folder.clone(),
            packs: config.policy.packs.clone(),
            grants: config.callers.iter().map(|caller| caller.grant.clone()).collect(),
            second_person: config.keys.second_person,
            seen: Mutex::default(),
        }
    }

    /// The set as it is now.
    pub(super) fn load(&self) -> Result<Policies, Vec<Problem>> {
        let (mut documents, stamp) = match &self.folder {
            Some(path) => {
                let (documents, stamp) = folder::read(path).map_err(|problem| vec![problem])?;
                (documents, Some(stamp))
            }
            None => (Vec::new(), None),
        };
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *seen = (stamp.clone(), stamp);
        drop(seen);
        if self.second_person {
            documents.push(policy::second_person());
        }
        let packs: Vec<_> = self.packs.iter().map(String::as_str).collect();
        Policies::load(&documents, &packs, &self.grants)
    }

    /// Whether the folder has changed since it was read, and has come to rest: it looked the same twice, so that
    /// whoever writes file by file has most likely ended.
    fn has_changed(&self) -> bool {
        let Some(path) = &self.folder else { return false };
        let now = folder::stamp(path).ok();
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let rests = seen.1 == now;
        seen.1.clone_from(&now);
        rests && seen.0 != now && now.is_some()
    }

    /// Puts a changed set in the place of the old one, if it is valid and the audit log has it.
    pub(super) async fn reload_if_changed(&self, service: &Service) {
        if !self.has_changed() {
            return;
        }
        let loaded = self.load();
        if let Err(error) = record(service, &loaded).await {
            tracing::error!(%error, "changed policies are not taken: the audit log cannot be written");
            // It is looked at again, as if it had not been read.
            self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 = None;
            return;
        }
        match loaded {
            // Of the folder alone: packs and what the configuration says are there however broken its mount is.
            Ok(policies) if policies.from_files().is_emptied(service.policies().from_files()) => {
                refuse(&[Problem::new("policies", EMPTIED)]);
            }
            Ok(policies) => {
                say(&policies);
                metrics::counter!("keypod_policy_reloads_total", "outcome" => "taken").increment(1);
                service.set_policies(policies);
            }
            Err(problems) => refuse(&problems),
        }
    }
}

/// Has the audit log know what is to decide from now on, or why that stays as it is.
async fn record(
    service: &Service,
    loaded: &Result<Policies, Vec<Problem>>,
) -> Result<Receipt, AppendError> {
    let now = service.policies();
    let (outcome, detail) = match loaded {
        Ok(policies) if policies.from_files().is_emptied(now.from_files()) => {
            (Outcome::Failed, json!({ "problem": EMPTIED, "policy_set": now.hash_text() }))
        }
        Ok(policies) => {
            let detail = json!({
                "policy_set": policies.hash_text(),
                "policies": policies.count(),
                "before": now.hash_text(),
            });
            (Outcome::Ok, detail)
        }
        Err(problems) => {
            let detail = json!({ "problems": problems.len(), "policy_set": now.hash_text() });
            (Outcome::Failed, detail)
        }
    };
    service.audit().record("policies", outcome, detail).await
}

fn refuse(problems: &[Problem]) {
    metrics::counter!("keypod_policy_reloads_total", "outcome" => "refused").increment(1);
    for problem in problems {
        tracing::error!(problem = %problem, "changed policies are not taken: the old ones go on");
    }
}

/// Says which set decides from now on.
pub(super) fn say(policies: &Policies) {
    tracing::info!(policies = policies.count(), hash = policies.hash_text(), "policies");
    for note in policies.notes() {
        tracing::warn!(%note, "policies");
    }
    if policies.count() == 0 {
        tracing::warn!(
            "there is no policy, so nobody may do anything: see [policy] and [[callers]]"
        );
    }
}

/// The set that a configuration names.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_policies(config: &Config) -> Result<Policies, Vec<Problem>> {
    PolicySource::new(config).load()
}

/// The set with which a sidecar starts.
pub(super) fn first(source: &PolicySource) -> Result<Policies, StartError> {
    let policies = source.load().map_err(|problems| StartError::Policies { problems })?;
    say(&policies);
    Ok(policies)
}
