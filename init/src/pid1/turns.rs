//! How long the turns of the loop take: two histograms of fixed size, and what is told of them. A
//! turn is counted from the return of the wait to the next wait. Not here: the turn itself.

use kernel::clock;
use services::control::metrics::{FIRST_BUCKET_NS, Histogram, Metrics};

use super::Init;

/// Each bucket reaches twice as far as the one before: from 1 us to 4 s, and one for what is longer.
const BUCKETS: usize = 24;

/// Times in buckets.
#[derive(Debug, Default)]
struct Counts {
    buckets: [u64; BUCKETS],
    sum: u64,
    longest: u64,
}

impl Counts {
    fn add(&mut self, nanos: u64) {
        let doublings = (nanos / FIRST_BUCKET_NS).checked_ilog2();
        let bucket = doublings.map_or(0, |it| usize::try_from(it).unwrap_or(BUCKETS) + 1);
        if let Some(count) = self.buckets.get_mut(bucket.min(BUCKETS - 1)) {
            *count = count.saturating_add(1);
        }
        self.sum = self.sum.saturating_add(nanos);
        self.longest = self.longest.max(nanos);
    }

    fn told(&self) -> Histogram {
        Histogram {
            buckets: self.buckets.to_vec(),
            sum_ns: self.sum,
            longest_ns: self.longest,
        }
    }
}

/// What all turns have taken, and when the present one began.
#[derive(Debug, Default)]
pub(super) struct Turns {
    cpu: Counts,
    wall: Counts,
    /// Processor's time and clock; `None` before the first wait is over.
    began: Option<(u64, u64)>,
}

impl Turns {
    /// The wait is over.
    pub(super) fn begin(&mut self, wall: u64) {
        self.began = Some((clock::processor_time(), wall));
    }

    /// The next wait begins.
    pub(super) fn end(&mut self) {
        if let Some((cpu, wall)) = self.began.take() {
            self.cpu.add(clock::processor_time().saturating_sub(cpu));
            self.wall.add(clock::boottime().saturating_sub(wall));
        }
    }
}

impl Init {
    /// The answer to `Metrics`.
    pub(super) fn metrics(&self) -> Metrics {
        let (events, restarts, services) = match &self.supervisor {
            Some(core) => core.tally(),
            None => (0, 0, Vec::new()),
        };
        Metrics {
            turn_cpu: self.turns.cpu.told(),
            turn_wall: self.turns.wall.told(),
            events,
            restarts,
            log_lost_bytes: self.logger.lost.bytes,
            log_lost_messages: self.logger.lost.messages,
            services,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_bucket_that_is_the_first_to_reach_beyond_it() {
        let mut counts = Counts::default();
        for nanos in [0, 1023, 1024, 2047, 2048, u64::MAX] {
            counts.add(nanos);
        }
        let told = counts.told();
        assert_eq!(told.buckets[..4], [2, 2, 1, 0]);
        assert_eq!(told.buckets[BUCKETS - 1], 1);
        assert_eq!(told.buckets.iter().sum::<u64>(), 6);
        assert_eq!((told.sum_ns, told.longest_ns), (u64::MAX, u64::MAX));
    }
}
