//! What the figures were measured on.

use serde::{Deserialize, Serialize};

/// Facts of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// The profile that the sidecars were built in.
    pub(crate) profile: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        // Without what a builder appends to it.
        let release = release.trim().split('-').next().unwrap_or_default();
        let kernel = format!("Linux {release} {}", std::env::consts::ARCH);
        let profile =
            if cfg!(debug_assertions) { "dev, dependencies optimised" } else { "release" };
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel,
            profile: profile.to_owned(),
        }
    }
}

/// Raises this process's own limit of open files, and so that of the sidecars, to what it may have. What that is
/// not enough for fails with its own message.
pub(crate) fn allow_many_connections() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
