//! When a token is renewed, and when it is time for another: pure, without a clock.

use std::time::Duration;

/// How long a token lives, and whether it may live longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// From when it was given; zero: for ever.
    pub(super) duration: Duration,
    pub(super) renewable: bool,
}

/// What to do with a token that was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on with it.
    Keep,
    /// Its life cannot be made much longer: log in again.
    LogIn,
}

impl Lease {
    /// How long to leave it alone: about two thirds of its life, between 60% and 70%, so that many that began together
    /// do not renew together. `None`: it never ends.
    pub(super) fn rest(self, random: u8) -> Option<Duration> {
        let share = 0.6 + 0.1 * f64::from(random) / f64::from(u8::MAX);
        (!self.duration.is_zero()).then(|| self.duration.mul_f64(share))
    }

    /// How long to wait before another try, after one failed: an eighth of its life, so that there are two or three.
    pub(super) fn pause(self, random: u8) -> Duration {
        let share = 0.10 + 0.025 * f64::from(random) / f64::from(u8::MAX);
        self.duration.mul_f64(share)
    }

    /// What comes after the renewal that gave `renewed`, of a token that began with this lease.
    pub(super) fn next(self, renewed: Lease) -> Next {
        // Near its greatest age, Vault gives what is left and not what was asked for.
        let short = renewed.duration < self.duration / 2;
        match (renewed.duration.is_zero() || !short) && renewed.renewable {
            true => Next::Keep,
            false => Next::LogIn,
        }
    }
}

/// How often a try is repeated before it is left to the next use of the token.
pub(super) const TRIES_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(secs: u64, renewable: bool) -> Lease {
        Lease { duration: Duration::from_secs(secs), renewable }
    }

    #[test]
    fn a_token_is_renewed_at_about_two_thirds_of_its_life_and_tries_fit_into_the_rest() {
        for random in [0, 1, 127, 255] {
            let rest = lease(3600, true).rest(random).unwrap();
            assert!((2160..=2520).contains(&rest.as_secs()), "{rest:?}");
            let tries = lease(3600, true).pause(random) * (TRIES_MAX - 1);
            assert!(rest + tries < Duration::from_secs(3600 - 60), "{rest:?} and {tries:?}");
        }
        assert_ne!(lease(3600, true).rest(0), lease(3600, true).rest(255), "jittered");
        assert_eq!(lease(0, true).rest(7), None);
    }

    #[test]
    fn near_the_greatest_age_it_is_time_to_log_in_again() {
        let first = lease(3600, true);
        assert_eq!(first.next(lease(3600, true)), Next::Keep);
        assert_eq!(first.next(lease(1801, true)), Next::Keep);
        assert_eq!(first.next(lease(1799, true)), Next::LogIn);
        assert_eq!(first.next(lease(3600, false)), Next::LogIn);
        assert_eq!(lease(3600, true).next(lease(0, true)), Next::Keep);
    }
}
