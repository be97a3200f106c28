//! `[store]` as written, and what makes it valid.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Problem, check_times};
use crate::config::settings::StoreSettings;
use crate::store::postgres::{PostgresSettings, PostgresTls};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    sqlite: Option<PathBuf>,
    postgres: Option<RawPostgres>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPostgres {
    host: String,
    #[serde(default = "default_port")]
    port: u16,
    #[serde(default = "default_keypod")]
    database: String,
    #[serde(default = "default_user")]
    user: String,
    password_file: Option<PathBuf>,
    #[serde(default = "default_keypod")]
    schema: String,
    #[serde(default)]
    tls: RawTls,
    ca_file: Option<PathBuf>,
    #[serde(default = "default_connections_max")]
    connections_max: u32,
    #[serde(default = "default_timeout", with = "humantime_serde")]
    timeout: Duration,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum RawTls {
    #[default]
    VerifyFull,
    Off,
}

fn default_port() -> u16 {
    5432
}

fn default_keypod() -> String {
    "keypod".to_owned()
}

/// The role that `keypod store roles` makes for sidecars.
fn default_user() -> String {
    "keypod_sidecar".to_owned()
}

fn default_connections_max() -> u32 {
    4
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

impl RawStore {
    pub(super) fn check(self) -> Result<StoreSettings, Problem> {
        match (self.sqlite, self.postgres) {
            (Some(path), None) => Ok(StoreSettings::Sqlite(path)),
            (None, Some(postgres)) => Ok(StoreSettings::Postgres(postgres.check()?)),
            _ => Err(Problem::new("store", "either store.sqlite or [store.postgres]")),
        }
    }
}

impl RawPostgres {
    fn check(self) -> Result<PostgresSettings, Problem> {
        let local = self.host.starts_with('/')
            || self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if self.tls == RawTls::Off && !local {
            let problem = "\"off\" is for a Unix socket or loopback: use \"verify-full\"";
            return Err(Problem::new("store.postgres.tls", problem));
        }
        if self.tls == RawTls::VerifyFull && self.host.starts_with('/') {
            let problem = "a Unix socket has no TLS: set it to \"off\"";
            return Err(Problem::new("store.postgres.tls", problem));
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if self.schema.is_empty() || self.schema.len() > 63 || !self.schema.bytes().all(plain) {
            return Err(Problem::new("store.postgres.schema", "1 to 63 of a-z, 0-9 and _"));
        }
        if !(1..=100).contains(&self.connections_max) {
            return Err(Problem::new("store.postgres.connections_max", "from 1 to 100"));
        }
        check_times(&[("store.postgres.timeout", self.timeout)])?;
        Ok(PostgresSettings {
            host: self.host,
            port: self.port,
            database: self.database,
            user: self.user,
            password_file: self.password_file,
            schema: self.schema,
            tls: match self.tls {
                RawTls::VerifyFull => PostgresTls::VerifyFull,
                RawTls::Off => PostgresTls::Off,
            },
            ca_file: self.ca_file,
            connections_max: self.connections_max,
            timeout: self.timeout,
        })
    }
}
