//! The account at the end: what was published against what came, for each (connection, room).

use std::collections::BTreeMap;

use crate::control::{Apart, Faults};
use crate::layout;
use crate::scenario::{Mode, Scenario};

use super::Verifier;
use super::member::{Joined, LANES, Member};

/// What was published.
#[derive(Clone, Debug, Default)]
pub struct Published {
    sent: Vec<u64>,
    /// For each (flow, room): the numbers that the server refused, ascending.
    refused: BTreeMap<(u8, u32), Vec<u32>>,
    rooms: Vec<u32>,
}

/// What is wrong with the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Everything, `missing` and `stale` as this account has them.
    pub faults: Faults,
    /// Slow readers and those that never joined.
    pub apart: Apart,
    /// See [`Final`](crate::control::Final).
    pub told_missing: u64,
    /// Likewise.
    pub conflated: u64,
    /// Likewise.
    pub transient_lost: u64,
}

impl Published {
    /// As the coordinator says it.
    pub fn new(scenario: &Scenario, sent: &[u64], refused: &[Vec<u64>]) -> Published {
        let rooms_of = |name: &str| scenario.rooms.iter().find(|class| class.class == name).map_or(1, |class| class.count.max(1));
        let rooms: Vec<u32> = scenario.flows.iter().map(|flow| rooms_of(&flow.rooms)).collect();
        let mut by_room: BTreeMap<(u8, u32), Vec<u32>> = BTreeMap::new();
        for ((flow, events), rooms) in refused.iter().enumerate().zip(&rooms) {
            for e in events {
                let (room, n) = layout::place(*rooms, *e);
                by_room.entry((flow as u8, room)).or_default().push(n);
            }
        }
        for numbers in by_room.values_mut() {
            numbers.sort_unstable();
            numbers.dedup();
        }
        Published { sent: sent.to_vec(), refused: by_room, rooms }
    }

    /// How many events of that flow a member of that room was to get, and the number of the last one.
    fn to(&self, flow: u8, room: u32) -> (u32, u32) {
        let at = usize::from(flow);
        let sent = self.sent.get(at).map_or(0, |sent| layout::sent_to(self.rooms[at], room, *sent));
        let refused = self.refused.get(&(flow, room)).map_or(&[][..], Vec::as_slice);
        let mut last = sent;
        for n in refused.iter().rev().skip_while(|n| **n > sent) {
            if *n != last {
                break;
            }
            last -= 1;
        }
        (sent.saturating_sub(refused.len() as u32), last)
    }
}

impl Verifier {
    /// The account, slow readers and those that never joined apart.
    pub fn account(&self, published: &Published) -> Account {
        let mut account = Account { faults: Faults { missing: 0, ..self.faults }, ..Account::default() };
        for conn in 0..self.begins.len() as u32 - 1 {
            for member in self.members(conn) {
                if member.epoch.is_none() || self.is_slow(conn) {
                    self.set_apart(member, published, &mut account.apart);
                } else {
                    self.settle(member, published, &mut account);
                }
            }
        }
        account
    }

    /// A member that is charged for nothing.
    fn set_apart(&self, member: &Member, published: &Published, apart: &mut Apart) {
        let (mut owed, mut came) = (0, 0);
        for flow in 0..self.flow_at.len() as u8 {
            let (class, _, mode) = self.reader.flow(flow);
            if class == member.place.0 && mode == Mode::Stream {
                let track = &self.tracks[(member.tracks + self.flow_at[usize::from(flow)]) as usize];
                owed += u64::from(published.to(flow, member.place.1).0);
                came += u64::from(track.came);
            }
        }
        if member.epoch.is_none() {
            apart.absent_owed += owed;
            return;
        }
        apart.slow_owed += owed;
        apart.slow_came += came;
        apart.slow_told += member.lanes.iter().map(|lane| lane.told).sum::<u64>();
    }

    /// Whether all that was published has come to all that are joined, and all are.
    pub fn has_all(&self, published: &Published) -> bool {
        let account = self.account(published);
        let all_live = (0..self.begins.len() as u32 - 1)
            .filter(|conn| !self.is_slow(*conn))
            .flat_map(|conn| self.members(conn))
            .all(|member| member.epoch.is_none() || member.joined == Joined::Live);
        all_live && account.faults.missing == 0 && account.faults.stale == 0 && account.transient_lost == 0
    }

    fn settle(&self, member: &Member, published: &Published, account: &mut Account) {
        let (mut expected, mut came) = ([0u64; LANES.len()], [0u64; LANES.len()]);
        for flow in 0..self.flow_at.len() as u8 {
            let (class, lane, mode) = self.reader.flow(flow);
            if class != member.place.0 {
                continue;
            }
            let track = &self.tracks[(member.tracks + self.flow_at[usize::from(flow)]) as usize];
            let (due, last) = published.to(flow, member.place.1);
            let lost = u64::from(due.saturating_sub(track.came));
            match mode {
                Mode::Stream => {
                    expected[lane as usize] += u64::from(due);
                    came[lane as usize] += u64::from(track.came);
                }
                Mode::State => {
                    let is_stale = track.numbers.last() < u64::from(last);
                    account.faults.stale += u64::from(is_stale);
                    account.conflated += lost.saturating_sub(u64::from(is_stale));
                }
                Mode::Transient => account.transient_lost += lost,
            }
        }
        for (at, lane) in member.lanes.iter().enumerate() {
            let lacking = expected[at].saturating_sub(came[at] + u64::from(lane.unnamed));
            let holes = if self.is_floor { 0 } else { lane.seq.as_ref().map_or(0, super::sequence::Sequence::holes) };
            if lane.told_unknown {
                account.told_missing += lacking;
            } else {
                account.told_missing += lane.told;
                account.faults.missing += lacking.saturating_sub(lane.told).max(holes);
            }
        }
    }
}
