//! The daemon's figures at one moment, for the alerts and for `/v1/stats`.

use std::path::Path;

use crate::base::codes::CLOSE_SLOW_CONSUMER;
use crate::base::counters::{Counter, HistogramSnapshot};
use crate::base::lane::Lane;
use crate::base::time::Mono;
use crate::ops::alerts::Readings;
use crate::ops::process;
use crate::reactor::stats::{Handshake, ReactorStats};

use super::metrics::Sources;
use super::utilisation::Queue;

impl Sources {
    /// What they say now.
    pub(super) fn readings(&self, at: Mono) -> Readings {
        let hub = *self.hub.lock();
        let usage = process::usage();
        let upgraded = self.sum(|stats| &stats.handshakes[Handshake::Upgraded as usize]);
        let all_handshakes: u64 = self.reactors.iter().flat_map(|stats| &stats.handshakes).map(Counter::value).sum();
        let latencies: [HistogramSnapshot; Lane::COUNT] = std::array::from_fn(|lane| self.merged(|stats| &stats.delivery[lane]));
        let admin_lost = self.audit.as_ref().map_or(0, |audit| audit.admin_lost.load(std::sync::atomic::Ordering::Relaxed));
        Readings {
            at,
            connections: self.registry.connections() as u64,
            connections_max: self.registry.connections_max() as u64,
            users: self.registry.users() as u64,
            rooms: hub.rooms,
            members: hub.members,
            queued_bytes: self.sum(|stats| &stats.queued_bytes),
            memory_used: self.memory.parts().iter().map(|(_, bytes)| bytes).sum(),
            memory_budget: self.memory.budget(),
            resident_bytes: usage.resident_bytes,
            queue_fill: self.queues().into_iter().map(|queue| queue.used as f64 / queue.max.max(1) as f64).fold(0.0, f64::max),
            faults: self.health.components().iter().filter(|component| component.fault.is_some()).count() as u64,
            journal_failing: hub.journal_failing,
            disk_fill: self.data_dir.as_deref().and_then(disk_fill),
            certificate_expiry_s: self.certificates.as_ref().map(|served| served.expires_in_s()),
            publishes: self.sum(|stats| &stats.publish_lines),
            refused: hub.refused + self.sum(|stats| &stats.publish_refused),
            accepted: hub.accepted,
            deliveries: std::array::from_fn(|lane| self.sum(|stats| &stats.frames_sent[lane])),
            latencies: latencies.map(|snapshot| snapshot.buckets),
            dropped: self.sum(|stats| &stats.dropped_as_slow) + hub.transient_dropped,
            conflated: self.conflated(&hub).map(|(_, count)| count).iter().sum(),
            slow_warned: self.sum(|stats| &stats.slow_warned),
            slow_closed: self.reactors.iter().map(|stats| slow_closed(stats)).sum(),
            handshakes: upgraded,
            handshakes_failed: all_handshakes - upgraded,
            tokens_refused: self.reactors.iter().flat_map(|stats| stats.token_errors()).map(|(_, count)| count).sum(),
            joins_denied: self.sum(|stats| &stats.joins_denied),
            came_back: self.registry.returns(),
            audit_lost: self.sum(|stats| &stats.audit_lost) + admin_lost,
            metrics_drift: self.analytics.as_ref().map(|analytics| analytics.drifted()),
            sent_bytes: self.sum(|stats| &stats.bytes_sent),
            cpu_ms: usage.cpu_ms,
        }
    }

    /// The queues between threads.
    fn queues(&self) -> Vec<Queue> {
        let hub = *self.hub.lock();
        let [urgent, bulk] = &self.ingest;
        let mut queues = vec![
            Queue { name: "urgent", index: 0, used: urgent.len(), max: urgent.capacity() },
            Queue { name: "bulk", index: 0, used: bulk.len(), max: bulk.capacity() },
        ];
        queues.extend(Queue::journal(&hub));
        queues.extend(self.inboxes.iter().enumerate().map(|(index, link)| Queue::reactor(index, link.len())));
        queues
    }
}

fn slow_closed(stats: &ReactorStats) -> u64 {
    stats.closes().filter(|(name, _)| *name == CLOSE_SLOW_CONSUMER.name).map(|(_, count)| count).sum()
}

/// How full the file system of that directory is for who is not root, 0 to 1.
fn disk_fill(dir: &Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let usable = stat.f_blocks - stat.f_bfree + stat.f_bavail;
    (usable > 0).then(|| 1.0 - stat.f_bavail as f64 / usable as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_neither_emptier_than_empty_nor_fuller_than_full() {
        let fill = disk_fill(Path::new("/")).unwrap();
        assert!((0.0..=1.0).contains(&fill), "{fill}");
        assert_eq!(disk_fill(Path::new("/no/such/directory")), None);
    }
}
