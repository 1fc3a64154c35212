//! What one client may ask for in what time. Pure.

use std::time::Duration;

use crate::base::bucket::{Bucket, Rate};
use crate::base::limits::{DENIED_JOIN_RATE, RATE_PATIENCE};
use crate::base::time::Mono;

/// A client that was not over its rate for so long has a new start.
const FORGIVEN_AFTER: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Limiter {
    commands: Bucket,
    denied: Bucket,
    /// Since when it is over a rate, if it was at `over_at`.
    over_since: Mono,
    over_at: Mono,
}

impl Limiter {
    /// LIM-01: a command that counts for so many; or how long it must wait.
    pub(super) fn command(&mut self, tokens: u32, rate: Option<Rate>, now: Mono) -> Result<(), Duration> {
        rate.map_or(Ok(()), |rate| self.commands.take(tokens, rate, now)).inspect_err(|_| self.over(now))
    }

    /// A join; or how long it must wait, if too many were denied. One that the token names cannot be denied.
    pub(super) fn join(&mut self, by_pattern: bool, now: Mono) -> Result<(), Duration> {
        if by_pattern {
            return Ok(());
        }
        self.denied.clone().take(1, DENIED_JOIN_RATE, now).inspect_err(|_| self.over(now))
    }

    /// A join was denied. Several may be under way, so it counts also where it would not have been let through.
    pub(super) fn denied(&mut self, now: Mono) {
        self.denied.charge(1, DENIED_JOIN_RATE, now);
    }

    fn over(&mut self, now: Mono) {
        if self.over_at == Mono::default() || now.since(self.over_at) > FORGIVEN_AFTER {
            self.over_since = now;
        }
        self.over_at = now;
    }

    /// After a refusal: whether it has been over its rate for too long.
    pub(super) fn is_out_of_patience(&self, now: Mono) -> bool {
        now.since(self.over_since) >= RATE_PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{COMMAND_BURST, ROOMS_PER_CONN_MAX};

    const RATE: Option<Rate> = Some(Rate::per_second(20, 20 * COMMAND_BURST));
    const START: Mono = Mono(7_000_000_000);

    fn at(ms: u64) -> Mono {
        START.plus(Duration::from_millis(ms))
    }

    /// LIM-01: all rooms may be joined at once; who stays over the rate for 10 s is out of patience, who pauses is not.
    #[test]
    fn a_client_joins_all_its_rooms_at_once_and_a_flood_ends_after_ten_seconds() {
        let mut limiter = Limiter::default();
        for _ in 0..2 * ROOMS_PER_CONN_MAX {
            limiter.command(1, RATE, START).unwrap();
        }
        assert_eq!(limiter.command(1, RATE, START), Err(Duration::from_millis(50)));
        let mut flood = |from: u64, until: u64| {
            (from..until).find(|ms| limiter.command(1, RATE, at(*ms)).is_err() && limiter.is_out_of_patience(at(*ms)))
        };
        assert_eq!(flood(0, 9_990), None);
        assert_eq!(flood(12_000, 21_900), None, "it had paused for two seconds");
        assert!(flood(21_900, 22_200).is_some());
    }

    /// LIM-01, REQUIREMENTS J: ten denied joins a minute, pipelined or not; rooms that the token names are not concerned.
    #[test]
    fn denied_joins_have_a_rate_of_their_own() {
        let mut limiter = Limiter::default();
        for _ in 0..10 {
            limiter.join(false, START).unwrap();
            limiter.denied(START);
        }
        assert_eq!(limiter.join(false, START), Err(Duration::from_secs(6)));
        assert_eq!(limiter.join(true, START), Ok(()));
        limiter.denied(START);
        assert_eq!(limiter.join(false, START), Err(Duration::from_secs(12)));
        assert_eq!(limiter.join(false, at(12_000)), Ok(()));
    }
}
