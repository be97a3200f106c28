//! Breaking the glass, for oneself: begin, list, end.

use super::{Error, Recorded, Service};
use crate::audit::Attempt;
use crate::emergency::{Emergency, Reason};
use crate::policy::{Action, Resource};

impl Service {
    /// Breaks the glass for the caller. While that lasts, policy takes it into account in everything that they ask for.
    ///
    /// # Errors
    /// [`Error`]; nothing has begun.
    pub async fn begin_emergency(
        &self,
        attempt: &mut Attempt,
        reason: &str,
        minutes: u32,
    ) -> Result<Recorded<Emergency>, Error> {
        let now = self.now();
        let permit = self.permit_server(attempt, Action::BreakGlass, now)?;
        let reason: Reason = reason.parse()?;
        attempt.detail("reason", reason.as_str());
        attempt.detail("minutes", minutes);
        attempt.begin().await?;
        let begun = self.emergencies.begin(&permit, reason, minutes, now)?;
        attempt.detail("until", begun.until.to_string());
        Ok(Recorded::new(begun, attempt.succeed().await?))
    }

    /// Ends the caller's own. That needs no permission: it takes rights away, and nobody else's.
    ///
    /// # Errors
    /// [`Error`]: there is none, or the caller's rate is used up.
    pub async fn end_emergency(&self, attempt: &mut Attempt) -> Result<Recorded<Emergency>, Error> {
        let ended = self.emergencies.end(attempt.caller().name(), self.now())?;
        attempt.detail("reason", ended.reason.as_str());
        Ok(Recorded::new(ended, attempt.succeed().await?))
    }

    /// The caller's own, and everybody's for who may read the status.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub async fn list_emergencies(
        &self,
        attempt: &mut Attempt,
    ) -> Result<Recorded<Vec<Emergency>>, Error> {
        let now = self.now();
        let caller = attempt.caller();
        let mut emergencies = self.emergencies.list(now);
        let all = self.decide(caller, Action::ReadStatus, Resource::Server, None, false, now);
        if all.is_err() {
            emergencies.retain(|emergency| emergency.caller == *caller.name());
        }
        Ok(Recorded::new(emergencies, attempt.succeed().await?))
    }
}

#[cfg(test)]
mod tests;
