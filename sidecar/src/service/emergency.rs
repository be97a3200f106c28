//! Breaking the glass, for oneself: begin, list, end.

use super::{Error, Service};
use crate::emergency::Emergency;
use crate::policy::{Action, Caller, Resource};

impl Service {
    /// Breaks the glass for the caller. While that lasts, policy takes it into account in everything that they ask for.
    ///
    /// # Errors
    /// [`Error`]; nothing has begun.
    pub fn begin_emergency(
        &self,
        caller: &Caller,
        reason: &str,
        minutes: u32,
    ) -> Result<Emergency, Error> {
        let now = self.now();
        let permit = self.permit_server(caller, Action::BreakGlass, now)?;
        Ok(self.emergencies.begin(&permit, reason, minutes, now)?)
    }

    /// Ends the caller's own. That needs no permission: it takes rights away, and nobody else's.
    ///
    /// # Errors
    /// [`Error`]: there is none, or the caller's rate is used up.
    pub fn end_emergency(&self, caller: &Caller) -> Result<Emergency, Error> {
        Ok(self.emergencies.end(caller.name(), self.now())?)
    }

    /// The caller's own, and everybody's for who may read the status.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub fn list_emergencies(&self, caller: &Caller) -> Result<Vec<Emergency>, Error> {
        let now = self.now();
        let mut emergencies = self.emergencies.list(now);
        let all = self.decide(caller, Action::ReadStatus, Resource::Server, None, false, now);
        if all.is_err() {
            emergencies.retain(|emergency| emergency.caller == *caller.name());
        }
        Ok(emergencies)
    }
}

#[cfg(test)]
mod tests;
