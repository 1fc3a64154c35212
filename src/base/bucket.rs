//! A token bucket that is one time, the one at which it is full again (the generic cell rate algorithm).

use std::time::Duration;

use super::time::Mono;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// One more token in this time.
    pub every: Duration,
    /// As many tokens at once.
    pub burst: u32,
}

impl Rate {
    /// So many in a second, and so many at once.
    pub const fn per_second(tokens: u32, burst: u32) -> Rate {
        Rate { every: Duration::from_nanos(1_000_000_000 / tokens as u64), burst }
    }
}

/// See the module. A new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: Mono,
}

impl Bucket {
    /// Takes so many tokens; or none, and says how long until there are as many.
    pub fn take(&mut self, tokens: u32, rate: Rate, now: Mono) -> Result<(), Duration> {
        let full_at = self.full_at.max(now).plus(rate.every * tokens);
        let missing = full_at.since(now).saturating_sub(rate.every * rate.burst);
        if !missing.is_zero() {
            return Err(missing);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Takes so many tokens, be they there or not.
    pub fn charge(&mut self, tokens: u32, rate: Rate, now: Mono) {
        self.full_at = self.full_at.max(now).plus(rate.every * tokens);
    }

    /// Whether nothing was taken lately.
    pub fn is_full(&self, now: Mono) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate::per_second(20, 100);

    /// LIM-01.
    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (mut bucket, mut now) = (Bucket::default(), Mono(5_000_000_000));
        let taken = |bucket: &mut Bucket, now| std::iter::repeat_with(|| bucket.take(1, RATE, now)).take_while(Result::is_ok).count();
        assert_eq!(taken(&mut bucket, now), 100);
        assert_eq!(bucket.take(1, RATE, now), Err(RATE.every));
        assert_eq!(bucket.take(5, RATE, now), Err(RATE.every * 5));
        now = now.plus(Duration::from_secs(1));
        assert_eq!(taken(&mut bucket, now), 20);
        now = now.plus(Duration::from_secs(5));
        assert!(bucket.is_full(now));
        bucket.charge(130, RATE, now);
        assert_eq!(bucket.take(1, RATE, now), Err(RATE.every * 31));
        assert_eq!(taken(&mut bucket, now.plus(Duration::from_secs(60))), 100, "it holds no more than its burst");
    }

    proptest! {
        /// Whatever is asked when, no span of time lets more pass than its burst and its rate; and what is refused passes after the wait.
        #[test]
        fn no_more_passes_than_burst_and_rate(asks in prop::collection::vec((0u64..200, 1u32..8), 1..200)) {
            let (mut bucket, mut now, mut passed) = (Bucket::default(), Mono(0), Vec::new());
            for (wait_ms, tokens) in asks {
                now = now.plus(Duration::from_millis(wait_ms));
                match bucket.take(tokens, RATE, now) {
                    Ok(()) => passed.push((now, tokens)),
                    Err(wait) => prop_assert_eq!(bucket.clone().take(tokens, RATE, now.plus(wait)), Ok(())),
                }
            }
            for (from, &(start, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for &(end, tokens) in &passed[from..] {
                    sum += u64::from(tokens);
                    prop_assert!(sum <= 100 + end.since(start).as_millis() as u64 / 50 + 1);
                }
            }
        }
    }
}
