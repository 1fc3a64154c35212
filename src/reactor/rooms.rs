//! Who is a member of what, on this reactor. Pure.
//!
//! Both sides hold the other's position, so joining and leaving cost the same whatever the size of the room: a room's member
//! says where the connection keeps the membership, and the connection's membership says where the room keeps the member.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::base::ids::RoomId;
use crate::base::lane::{Lane, PerLane};
use crate::wire::frame::{Kind, Tag};

/// See the module.
#[derive(Debug, Default)]
pub struct Rooms {
    /// By the slot of the room's id.
    by_slot: Vec<LocalRoom>,
    /// By the connection's slot.
    conns: Vec<Vec<Membership>>,
    memberships: usize,
}

/// One room's members on this reactor.
#[derive(Debug, Default)]
struct LocalRoom {
    generation: u32,
    members: Vec<Member>,
    floors: Option<Box<Floors>>,
}

/// Where the `stream` events begin that each new member does not have already; by the connection's slot.
type Floors = HashMap<u32, PerLane<u64>, RandomState>;

/// A room's side of a membership.
#[derive(Clone, Copy, Debug)]
struct Member {
    slot: u32,
    /// Position among the connection's memberships.
    at: u32,
}

/// A connection's side of a membership.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Which room.
    pub room: RoomId,
    /// Its name.
    pub name: Arc<str>,
    /// The token's patterns allowed the join; otherwise only ownership did.
    pub by_pattern: bool,
    /// Position among the room's members.
    at: u32,
}

impl Rooms {
    /// Makes the connection in that slot a member, with floors (0: none). False, but for the floors, if it is one already.
    pub fn join(&mut self, slot: u32, room: RoomId, name: &Arc<str>, by_pattern: bool, floor: PerLane<u64>) -> bool {
        let is_new = !self.is_member(slot, room);
        if is_new {
            self.add(slot, room, name, by_pattern);
        } else if let Some(membership) = self.conns[slot as usize].iter_mut().find(|membership| membership.room == room) {
            membership.by_pattern = by_pattern;
        }
        self.set_floor(slot, room, floor);
        is_new
    }

    fn add(&mut self, slot: u32, room: RoomId, name: &Arc<str>, by_pattern: bool) {
        grow(&mut self.by_slot, room.slot);
        grow(&mut self.conns, slot);
        let local = &mut self.by_slot[room.slot as usize];
        debug_assert!(local.members.is_empty() || local.generation == room.generation, "the hub reused a room that has members");
        local.generation = room.generation;
        let memberships = &mut self.conns[slot as usize];
        let at = local.members.len() as u32;
        push_exact(&mut local.members, Member { slot, at: memberships.len() as u32 });
        push_exact(memberships, Membership { room, name: Arc::clone(name), by_pattern, at });
        self.memberships += 1;
    }

    fn set_floor(&mut self, slot: u32, room: RoomId, floor: PerLane<u64>) {
        let floors = &mut self.by_slot[room.slot as usize].floors;
        if floor != [0; 3] {
            floors.get_or_insert_default().insert(slot, floor);
        } else if let Some(floors) = floors {
            floors.remove(&slot);
        }
    }

    /// From now on, a member gets the `stream` events of that lane from this number on.
    pub fn set_lane_floor(&mut self, slot: u32, room: RoomId, lane: Lane, floor: u64) {
        let Some(local) = self.by_slot.get_mut(room.slot as usize).filter(|local| local.generation == room.generation) else { return };
        local.floors.get_or_insert_default().entry(slot).or_default()[lane.index()] = floor;
    }

    /// Lanes of the room of which the member gets past events first.
    pub fn replaying(&self, slot: u32, room: RoomId) -> Vec<Lane> {
        let local = self.by_slot.get(room.slot as usize).filter(|local| local.generation == room.generation);
        let floor = local.and_then(|local| local.floors.as_ref()?.get(&slot)).copied().unwrap_or_default();
        Lane::ALL.into_iter().filter(|lane| floor[lane.index()] == u64::MAX).collect()
    }

    /// Ends a membership; whether there was one.
    pub fn leave(&mut self, slot: u32, room: RoomId) -> bool {
        let Some(memberships) = self.conns.get_mut(slot as usize) else { return false };
        let Some(at) = memberships.iter().position(|membership| membership.room == room) else { return false };
        self.remove(slot, at);
        true
    }

    /// Ends all memberships of a connection, which it returns.
    pub fn leave_all(&mut self, slot: u32) -> Vec<RoomId> {
        let mut left = Vec::new();
        while let Some(last) = self.of(slot).last().map(|membership| membership.room) {
            self.remove(slot, self.of(slot).len() - 1);
            left.push(last);
        }
        if let Some(memberships) = self.conns.get_mut(slot as usize) {
            *memberships = Vec::new();
        }
        left
    }

    /// Both lists close the hole with their last element, whose other side is told its new position.
    fn remove(&mut self, slot: u32, at: usize) {
        let memberships = &mut self.conns[slot as usize];
        let gone = memberships.swap_remove(at);
        if let Some(moved) = memberships.get(at) {
            self.by_slot[moved.room.slot as usize].members[moved.at as usize].at = at as u32;
        }
        let local = &mut self.by_slot[gone.room.slot as usize];
        local.members.swap_remove(gone.at as usize);
        if let Some(moved) = local.members.get(gone.at as usize) {
            self.conns[moved.slot as usize][moved.at as usize].at = gone.at;
        }
        if let Some(floors) = &mut local.floors {
            floors.remove(&slot);
        }
        if local.members.is_empty() {
            *local = LocalRoom { generation: local.generation, ..LocalRoom::default() };
        }
        self.memberships -= 1;
    }

    /// Whether the connection in that slot is a member.
    pub fn is_member(&self, slot: u32, room: RoomId) -> bool {
        self.of(slot).iter().any(|membership| membership.room == room)
    }

    /// The connection's membership of the room of that name.
    pub fn find(&self, slot: u32, name: &str) -> Option<&Membership> {
        self.of(slot).iter().find(|membership| &*membership.name == name)
    }

    /// All memberships of a connection.
    pub fn of(&self, slot: u32) -> &[Membership] {
        self.conns.get(slot as usize).map_or(&[], Vec::as_slice)
    }

    /// How many memberships there are.
    pub fn memberships(&self) -> usize {
        self.memberships
    }

    /// The slots of the room's members.
    pub fn members(&self, room: RoomId) -> impl ExactSizeIterator<Item = u32> {
        let local = self.by_slot.get(room.slot as usize).filter(|local| local.generation == room.generation);
        local.map_or(&[][..], |local| &local.members).iter().map(|member| member.slot)
    }

    /// Whether the room has members that are not for every frame: see [`Rooms::for_each_recipient`].
    pub fn has_floors(&self, room: RoomId) -> bool {
        self.by_slot.get(room.slot as usize).is_some_and(|local| local.generation == room.generation && local.floors.is_some())
    }

    /// Calls `each` with the slot of every member that the frame is for: all members of the room, but for those whose floor
    /// says that they have the event already.
    pub fn for_each_recipient(&mut self, tag: &Tag, mut each: impl FnMut(u32)) {
        let Some(local) = self.by_slot.get_mut(tag.room.slot as usize).filter(|local| local.generation == tag.room.generation) else {
            return;
        };
        let Some((floors, seq)) = local.floors.as_mut().zip(last_seq(tag.kind)) else {
            return local.members.iter().for_each(|member| each(member.slot));
        };
        let lane = tag.lane.index();
        let wanted = |member: &&Member| floors.get(&member.slot).is_none_or(|floor| seq >= floor[lane]);
        local.members.iter().filter(wanted).for_each(|member| each(member.slot));
        pass(floors, lane, seq);
        if floors.is_empty() {
            local.floors = None;
        }
    }
}

/// Numbers come in order, so a floor that is reached is of no more use.
fn pass(floors: &mut Floors, lane: usize, seq: u64) {
    floors.retain(|_, floor| {
        if floor[lane] <= seq.saturating_add(1) {
            floor[lane] = 0;
        }
        *floor != [0; 3]
    });
}

/// The last number of the lane that the frame is about.
fn last_seq(kind: Kind) -> Option<u64> {
    match kind {
        Kind::Stream { seq } => Some(seq),
        Kind::Gap { to } => Some(to),
        Kind::Reply | Kind::Notice | Kind::State { .. } | Kind::Transient => None,
    }
}

/// Appends; the first element gets place for itself alone, where a vector would make place for four: private rooms have one member,
/// and most connections one room.
fn push_exact<T>(list: &mut Vec<T>, element: T) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.push(element);
}

fn grow<T: Default>(table: &mut Vec<T>, slot: u32) {
    if table.len() <= slot as usize {
        table.resize_with(slot as usize + 1, T::default);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::base::time::Mono;

    fn room(slot: u32) -> RoomId {
        RoomId { slot, generation: 1 }
    }

    fn recipients(rooms: &mut Rooms, room: RoomId, kind: Kind) -> Vec<u32> {
        let mut slots = Vec::new();
        let tag = Tag { room, lane: Lane::Update, kind, accepted: Mono(0), taken: Mono(0), released: Mono(0) };
        rooms.for_each_recipient(&tag, |slot| slots.push(slot));
        slots.sort_unstable();
        slots
    }

    #[test]
    fn a_member_is_spared_what_lies_below_its_floor_until_that_is_reached() {
        let mut rooms = Rooms::default();
        rooms.join(1, room(0), &"r".into(), true, [0; 3]);
        rooms.join(2, room(0), &"r".into(), true, [0, 5, 0]);
        assert_eq!(recipients(&mut rooms, room(0), Kind::Stream { seq: 3 }), [1]);
        assert_eq!(recipients(&mut rooms, room(0), Kind::Transient), [1, 2]);
        assert_eq!(recipients(&mut rooms, room(0), Kind::Gap { to: 4 }), [1]);
        assert!(rooms.by_slot[0].floors.is_none());
        assert_eq!(recipients(&mut rooms, room(0), Kind::Stream { seq: 5 }), [1, 2]);
    }

    /// A frame of a room's former life reaches nobody of its present one.
    #[test]
    fn another_generation_has_no_members() {
        let mut rooms = Rooms::default();
        rooms.join(1, room(0), &"r".into(), true, [0; 3]);
        assert!(recipients(&mut rooms, RoomId { slot: 0, generation: 0 }, Kind::Transient).is_empty());
        assert!(recipients(&mut rooms, RoomId::NONE, Kind::Transient).is_empty());
        assert!(!rooms.leave(1, RoomId { slot: 0, generation: 0 }));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Join(u32, u32),
        Leave(u32, u32),
        LeaveAll(u32),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u32..8, 0u32..6).prop_map(|(slot, room)| Op::Join(slot, room)),
            2 => (0u32..8, 0u32..6).prop_map(|(slot, room)| Op::Leave(slot, room)),
            1 => (0u32..8).prop_map(Op::LeaveAll),
        ]
    }

    proptest! {
        /// Promise 3, no leak: after any joins and leaves, a room's frames go to exactly its members.
        #[test]
        fn members_are_those_of_a_plain_map(ops in prop::collection::vec(op(), 1..200)) {
            let (mut rooms, mut model) = (Rooms::default(), BTreeMap::<u32, BTreeSet<u32>>::new());
            for op in ops {
                match op {
                    Op::Join(slot, n) => {
                        let is_new = model.entry(n).or_default().insert(slot);
                        prop_assert_eq!(rooms.join(slot, room(n), &n.to_string().into(), true, [0; 3]), is_new);
                    }
                    Op::Leave(slot, n) => {
                        prop_assert_eq!(rooms.leave(slot, room(n)), model.entry(n).or_default().remove(&slot));
                    }
                    Op::LeaveAll(slot) => {
                        let left: BTreeSet<u32> = rooms.leave_all(slot).iter().map(|room| room.slot).collect();
                        let expected: BTreeSet<u32> = model.iter_mut().filter_map(|(n, slots)| slots.remove(&slot).then_some(*n)).collect();
                        prop_assert_eq!(left, expected);
                    }
                }
                for (n, slots) in &model {
                    prop_assert_eq!(recipients(&mut rooms, room(*n), Kind::Transient), slots.iter().copied().collect::<Vec<_>>());
                    for slot in 0..8 {
                        prop_assert_eq!(rooms.find(slot, &n.to_string()).is_some(), slots.contains(&slot));
                    }
                }
                prop_assert_eq!(rooms.memberships(), model.values().map(BTreeSet::len).sum::<usize>());
            }
        }
    }
}
