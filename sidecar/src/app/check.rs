//! `serve --check`: opens everything that the configuration names, except listeners, and says of each part whether it
//! can be reached. It does not stop at the first that cannot. Like a start, it makes an SQLite file that is not there.

use std::sync::Arc;

use serde::Serialize;

use super::parts::{open_roots_and_authorities, open_store};
use super::policies::PolicySource;
use super::{StartError, keyring_settings, load_callers};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error_chain::error_chain;
use crate::identity::Issuers;
use crate::keyring::{Keyring, Probed};
use crate::names::KeyName;
use crate::root::authority::AuthorityDescription;
use crate::root::{RootDescription, RootError};
use crate::secret::Arena;
use crate::sinks::{self, ReadySinks};
use crate::store::{KeyStore, StoreError};

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    /// One for each part, and one more for each thing to know about it.
    pub findings: Vec<Finding>,
}

/// What was found of one part.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Which part: `root NAME`, `store`, ...
    pub part: String,
    /// Whether it is as it should be.
    pub well: bool,
    /// What it is, or what is wrong with it and what to do.
    pub text: String,
}

impl Checked {
    /// Whether every part is as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.well)
    }

    fn say(&mut self, part: impl Into<String>, well: bool, text: impl Into<String>) {
        self.findings.push(Finding { part: part.into(), well, text: text.into() });
    }

    fn well(&mut self, part: impl Into<String>, text: impl Into<String>) {
        self.say(part, true, text);
    }

    fn wrong(&mut self, part: impl Into<String>, error: &(dyn std::error::Error + 'static)) {
        self.say(part, false, error_chain(error));
    }

    fn root(&mut self, root: &RootDescription, found: Result<Vec<String>, RootError>) {
        let part = format!("root {}", root.name);
        match found {
            Ok(notes) => {
                let notes = root.note.map(str::to_owned).into_iter().chain(notes);
                self.well(&part, format!("{}, {}: wraps and unwraps", root.kind, root.place));
                notes.for_each(|note| self.well(&part, note));
            }
            Err(error) => self.wrong(part, &error),
        }
    }

    fn authority(
        &mut self,
        authority: &AuthorityDescription,
        found: Result<Vec<String>, RootError>,
    ) {
        let part = format!("authority {}", authority.name);
        match found {
            Ok(notes) => {
                self.well(&part, format!("{}, {}: signs", authority.kind, authority.place));
                notes.into_iter().for_each(|note| self.well(&part, note));
            }
            Err(error) => self.wrong(part, &error),
        }
    }

    async fn sinks(&mut self, sinks: ReadySinks) {
        for (name, found) in sinks.check().await {
            let (well, text) = match found {
                Ok(text) => (true, text),
                Err(reason) => (false, reason),
            };
            self.say(format!("audit sink {name}"), well, text);
        }
    }

    async fn issuers(&mut self, issuers: &Issuers) {
        let now = SystemClock.now();
        issuers.check(now).await;
        for issuer in issuers.status(now) {
            let part = format!("identity {}", issuer.name);
            match (&issuer.problem, &issuer.keys) {
                (Some(problem), _) => self.wrong(part, problem),
                (None, Some(keys)) if keys.keys == 0 => {
                    let text = format!("{}: none of its keys can be used", issuer.issuer);
                    self.say(part, false, text);
                }
                (None, Some(keys)) => {
                    self.well(part, format!("{}, {} keys", issuer.issuer, keys.keys));
                }
                (None, None) => self.well(part, format!("{}, answers", issuer.issuer)),
            }
        }
    }

    async fn store(&mut self, store: &dyn KeyStore, keyring: &Keyring, preload: &[KeyName]) {
        let keys = match store.list_keys().await {
            Ok(keys) => keys.len(),
            Err(error) => return self.wrong("store", &error),
        };
        self.well("store", format!("{}, {}, {keys} keys", store.kind(), store.place()));
        if let Err(error) = store.check().await {
            self.wrong("store", &error);
        }
        match store.damaged_keys().await {
            Ok(damaged) => damaged.into_iter().for_each(|what| self.say("store", false, what)),
            Err(error) => self.wrong("store", &error),
        }
        match keyring.probe_root(preload).await {
            Ok(Probed::Opens) => self.well("store", "the roots open its keys"),
            Ok(Probed::Empty) => {}
            Err(error) => self.wrong("store", &StartError::of_probe(error, store)),
        }
    }
}

/// Tries every part of the configuration.
///
/// # Errors
/// [`StartError`]: a part without which the others cannot be tried.
pub async fn check(config: &Config) -> Result<Checked, StartError> {
    let mut checked = Checked::default();
    let arena = Arena::new(config.memory_require)?;
    checked.well("memory", arena.protection().as_str());
    match load_callers(&config.callers) {
        Ok(_callers) => checked.well("callers", config.callers.len().to_string()),
        Err(error) => checked.wrong("callers", &error),
    }
    match Issuers::open(&config.identity) {
        Ok(issuers) => checked.issuers(&issuers).await,
        Err(error) => checked.wrong("identity", &error),
    }
    match PolicySource::new(config).load() {
        Ok(policies) => {
            checked.well("policies", format!("{}, {}", policies.count(), policies.hash_text()));
            policies.notes().iter().for_each(|note| checked.well("policies", note.to_string()));
        }
        Err(problems) => {
            problems.iter().for_each(|problem| checked.say("policies", false, problem.to_string()));
        }
    }
    let (roots, authorities) = open_roots_and_authorities(config, &arena).await?;
    for (root, found) in roots.check(&config.root.domain).await {
        checked.root(&root, found);
    }
    for authority in authorities {
        checked.authority(&authority.describe(), authority.check().await);
    }
    match sinks::open(&config.audit.sinks, Arc::new(SystemClock)) {
        Ok(sinks) => checked.sinks(sinks).await,
        Err(error) => checked.wrong("audit sinks", &error),
    }
    match open_store(&config.store).await {
        Ok(store) => {
            let settings = keyring_settings(config);
            let keyring = Keyring::new(settings, roots, Arc::clone(&store), arena);
            checked.store(&*store, &keyring, &config.cache.preload).await;
            store.close().await;
        }
        Err(StartError::Store { source: StoreError::InUse { reason }, .. }) => {
            let text = format!("not looked into, a sidecar is running on it ({reason})");
            checked.well("store", text);
        }
        Err(error) => checked.wrong("store", &error),
    }
    Ok(checked)
}
