//! Closes the process against its neighbours: no core files, no tracing by the same user, no new privileges.
//!
//! Depends on nothing. None of it needs root. It never undoes anything.

use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// What stands after [`harden`], as read back from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardening {
    /// Whether the kernel writes this process into core files and lets processes of the same user trace it or
    /// read its `/proc/PID/mem`.
    pub dumpable: bool,
    /// Bytes that a core file may have; `None` is no limit.
    pub core_bytes_max: Option<u64>,
    /// Whether executing a set-uid program gives no privileges.
    pub no_new_privileges: bool,
    /// Bits that files made by this process never get.
    pub umask: u32,
    /// Bytes of protected memory that this process may have without `CAP_IPC_LOCK`; `None` is no limit.
    pub memlock_bytes_max: Option<u64>,
}

/// The kernel refused a step of [`harden`].
#[derive(Debug, thiserror::Error)]
#[error("the process cannot be hardened: {step} was refused")]
#[non_exhaustive]
pub struct HardenError {
    /// Which step, by the name of its system call.
    pub step: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// Hardens this process. To be called first in `main`: `PR_SET_NO_NEW_PRIVS` holds for the calling thread and
/// the threads that it starts later.
///
/// # Errors
/// [`HardenError`] if the kernel refuses a step; those before it stay applied.
pub fn harden() -> Result<Hardening, HardenError> {
    let refused = |step| move |error: rustix::io::Errno| HardenError { step, source: error.into() };
    // Before anything secret is read. The core limit alone would not do: a handler that core_pattern pipes into
    // is called in spite of it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(refused("prctl(PR_SET_DUMPABLE)"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(refused("setrlimit(RLIMIT_CORE)"))?;
    rustix::thread::set_no_new_privs(true).map_err(refused("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    let mask = Mode::RWXG | Mode::RWXO;
    rustix::process::umask(mask);
    // All the protected memory that there is without asking anybody.
    let memlock = rustix::process::getrlimit(Resource::Memlock);
    let all = Rlimit { current: memlock.maximum, maximum: memlock.maximum };
    rustix::process::setrlimit(Resource::Memlock, all)
        .map_err(refused("setrlimit(RLIMIT_MEMLOCK)"))?;

    let dumpable =
        rustix::process::dumpable_behavior().map_err(refused("prctl(PR_GET_DUMPABLE)"))?;
    Ok(Hardening {
        dumpable: dumpable != DumpableBehavior::NotDumpable,
        core_bytes_max: rustix::process::getrlimit(Resource::Core).current,
        no_new_privileges: rustix::thread::no_new_privs()
            .map_err(refused("prctl(PR_GET_NO_NEW_PRIVS)"))?,
        umask: mask.as_raw_mode(),
        memlock_bytes_max: rustix::process::getrlimit(Resource::Memlock).current,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn every_step_is_applied_without_root() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::hardens_itself", "--ignored"])
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && output.contains("1 passed"), "{output}");
    }

    #[test]
    #[ignore = "hardens the process that it runs in: every_step_is_applied_without_root starts it"]
    fn hardens_itself() {
        rustix::thread::set_capabilities(
            None,
            rustix::thread::CapabilitySets {
                effective: rustix::thread::CapabilitySet::empty(),
                permitted: rustix::thread::CapabilitySet::empty(),
                inheritable: rustix::thread::CapabilitySet::empty(),
            },
        )
        .unwrap();
        let hardening = harden().unwrap();
        assert!(!hardening.dumpable && hardening.no_new_privileges, "{hardening:?}");
        assert_eq!((hardening.core_bytes_max, hardening.umask), (Some(0), 0o077));
        let memlock = rustix::process::getrlimit(Resource::Memlock);
        assert_eq!(hardening.memlock_bytes_max, memlock.maximum);
        let child = Command::new("/bin/sh").args(["-c", "umask; cat /proc/self/status"]).output();
        let status = String::from_utf8(child.unwrap().stdout).unwrap();
        assert!(status.starts_with("0077") && status.contains("NoNewPrivs:\t1"), "{status}");
    }
}
