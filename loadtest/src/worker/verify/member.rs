//! What one connection knows of one room.

use std::rc::Rc;

use crate::scenario::Lane;

use super::reading::Place;
use super::sequence::Sequence;

/// All lanes, in the order of [`Member::lanes`].
pub const LANES: [Lane; 3] = [Lane::Alert, Lane::Update, Lane::Metric];

/// How far a connection has come with a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Not asked, or not answered.
    No,
    /// What was missed is coming.
    Replaying,
    /// What comes is live.
    Live,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Member {
    /// The room.
    pub place: Place,
    /// Position of its first [`Track`]; one for each flow of the class follows.
    pub tracks: u32,
    /// How far it has come in this connection.
    pub joined: Joined,
    /// The history in which it counts; `None`: never joined.
    pub epoch: Option<Rc<str>>,
    /// What was counted, by lane.
    pub lanes: [LaneTrack; 3],
}

/// The `stream` events of one lane of a room.
#[derive(Clone, Debug)]
pub struct LaneTrack {
    /// Of `seq`. `None`: the next one is taken as it is.
    pub seq: Option<Sequence>,
    /// Events of ours that came, but whose payload does not say which.
    pub unnamed: u32,
    /// Events that a `gap` told of.
    pub told: u64,
    /// A `gap` told of events without saying how many.
    pub told_unknown: bool,
}

/// The events of one flow in one room.
#[derive(Clone, Debug)]
pub struct Track {
    /// Of the events' own numbers.
    pub numbers: Sequence,
    /// The highest revision, of a `state` flow.
    pub rev: u64,
    /// Distinct events that came, damaged ones included.
    pub came: u32,
}

impl Member {
    /// Nothing has come.
    pub fn new(place: Place, tracks: u32) -> Member {
        let lane = LaneTrack { seq: None, unnamed: 0, told: 0, told_unknown: false };
        Member { place, tracks, joined: Joined::No, epoch: None, lanes: [lane.clone(), lane.clone(), lane] }
    }
}

impl Default for Track {
    fn default() -> Track {
        Track { numbers: Sequence::from(1), rev: 0, came: 0 }
    }
}

/// Position of a lane in [`LANES`].
#[inline]
pub fn index(lane: Lane) -> usize {
    lane as usize
}
