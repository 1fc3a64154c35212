//! Compresses frames when it is their turn to be written, a bounded part of them in one go, and counts what that takes.
//!
//! A frame is compressed once for all reactors. Doing so at the write keeps it off the hub, and leaves the alerts of other
//! connections no more than one part's time to wait.

use std::sync::Arc;

use crate::base::limits::DEFLATE_BYTES_PER_WRITE;
use crate::net::clock::Clock;
use crate::wire::deflate::{Deflater, WINDOW_BITS_MAX};
use crate::wire::frame::Frame;

use super::options::CompressionOptions;
use super::stats::ReactorStats;

/// See the module.
pub(super) struct Compressor {
    deflater: Deflater,
    clock: Clock,
    stats: Arc<ReactorStats>,
    /// Bytes of frames that may still be compressed for this write.
    left: usize,
}

impl Compressor {
    /// With what an operator may tune.
    pub(super) fn new(options: CompressionOptions, clock: Clock, stats: Arc<ReactorStats>) -> Compressor {
        Compressor { deflater: Deflater::new(options.level, options.bytes_min), clock, stats, left: 0 }
    }

    /// Begins a write: at least one frame will be compressed, if there is one to be.
    pub(super) fn begin_write(&mut self) {
        self.left = DEFLATE_BYTES_PER_WRITE;
    }

    /// Whether the write has compressed as much as it may.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    /// Compresses a frame, if that is worth it; false if it is to wait for another write.
    pub(super) fn compress(&mut self, frame: &Frame) -> bool {
        if self.is_exhausted() {
            return false;
        }
        let began = self.clock.mono();
        let is_made_now = frame.deflate(&mut self.deflater);
        self.stats.deflate_ns.add(self.clock.mono().since(began).as_nanos() as u64);
        let (plain, deflated) = (frame.as_websocket().len(), frame.for_window(WINDOW_BITS_MAX).map_or(0, <[u8]>::len));
        if is_made_now {
            self.stats.deflated_frames.inc();
            self.stats.deflated_plain_bytes.add(plain as u64);
            self.stats.deflated_bytes.add(deflated as u64);
        }
        self.left = self.left.saturating_sub(plain);
        true
    }
}
