//! Faults for tests: a disk that stops as a killed process does, fails, or hangs, at a step that a test names.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A change of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Write,
    Flush,
    Truncate,
    Create,
    Rename,
    Remove,
}

/// What the next steps come to.
#[derive(Debug, Default)]
pub(super) struct Faults {
    state: Mutex<State>,
    changed: Condvar,
    skips_flushes: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    taken: u64,
    by_step: HashMap<Step, u64>,
    /// From this step on nothing happens any more, and of a write at that step only half.
    stop_at: Option<u64>,
    fail: Option<(Step, i32)>,
    hang: Option<Step>,
    hanging: bool,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flushes are steps, and do nothing: a kill loses nothing that the kernel has.
    pub(super) fn skip_flushes(&self) {
        self.skips_flushes.store(true, Ordering::Relaxed);
    }

    pub(super) fn skips_flushes(&self) -> bool {
        self.skips_flushes.load(Ordering::Relaxed)
    }

    /// Stops at step `at`, counted from now, as if the process were killed.
    pub(super) fn stop_at(&self, at: u64) {
        let mut state = self.state();
        state.stop_at = Some(state.taken + at);
    }

    pub(super) fn steps(&self) -> u64 {
        self.state().taken
    }

    /// How many steps of this kind there were.
    pub(super) fn taken(&self, step: Step) -> u64 {
        self.state().by_step.get(&step).copied().unwrap_or(0)
    }

    pub(super) fn has_stopped(&self) -> bool {
        let state = self.state();
        state.stop_at.is_some_and(|at| state.taken > at)
    }

    /// From now on each `step` fails with this error of the system.
    pub(super) fn fail(&self, step: Step, errno: rustix::io::Errno) {
        self.state().fail = Some((step, errno.raw_os_error()));
    }

    pub(super) fn heal(&self) {
        *self.state() = State::default();
        self.changed.notify_all();
    }

    /// From now on each `step` hangs until [`Self::heal`].
    pub(super) fn hang(&self, step: Step) {
        self.state().hang = Some(step);
    }

    /// Waits until a step hangs.
    pub(super) fn wait_until_it_hangs(&self) {
        let mut state = self.state();
        while !state.hanging {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn pass(&self, step: Step) -> io::Result<()> {
        self.stopped_now(step).map(drop)
    }

    /// A write: at the step at which the disk stops, half of it still happens.
    pub(super) fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.stopped_now(Step::Write) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
                Err(io::Error::other("stopped"))
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
                Err(error)
            }
            passed => passed,
        }
    }

    fn stopped_now(&self, step: Step) -> io::Result<()> {
        let mut state = self.state();
        let number = state.taken;
        state.taken += 1;
        *state.by_step.entry(step).or_default() += 1;
        if let Some(at) = state.stop_at
            && number >= at
        {
            let kind = if number == at { io::ErrorKind::Interrupted } else { io::ErrorKind::Other };
            return Err(io::Error::new(kind, "stopped"));
        }
        if let Some((failing, errno)) = state.fail
            && failing == step
        {
            return Err(io::Error::from_raw_os_error(errno));
        }
        while state.hang == Some(step) {
            state.hanging = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}
