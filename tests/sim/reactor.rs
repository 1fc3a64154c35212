//! A modelled reactor: connections in slots with generations, membership by room id, floors, joins and leaves that race.
//!
//! It follows the rules in the doc comments of `hub::ports`, shares no code with the real one, and gives each frame to its
//! members at once: what a connection's own queue does to frames is another test's matter.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use tickerd::base::ids::{ConnId, RoomId};
use tickerd::base::lane::PerLane;
use tickerd::hub::ports::{Consent, Input, Join, Joined, Output};
use tickerd::wire::frame::{Frame, Kind};

use crate::client::{Kept, Session, Via};
use crate::message::{Body, Message, Reader};
use crate::plan::user_name;

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Subscribe { room: String, by_pattern: bool, kept: Option<Kept>, history: Option<u32>, delta: bool },
    Snapshot { room: String },
    Unsubscribe { room: String },
}

impl Command {
    fn room(&self) -> &str {
        match self {
            Command::Subscribe { room, .. } | Command::Snapshot { room } | Command::Unsubscribe { room } => room,
        }
    }
}

/// A connection.
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) user: usize,
    pub(crate) sessions: HashMap<RoomId, Session>,
    pub(crate) next_ticket: u64,
    /// Commands that the hub has not answered, in order, with their `id`.
    asked: VecDeque<(u64, Command)>,
    /// Commands that wait until the room's earlier ones are answered.
    waiting: VecDeque<Command>,
}

#[derive(Default)]
struct LocalRoom {
    generation: u32,
    members: Vec<u32>,
    floors: HashMap<u32, PerLane<u64>>,
}

/// One reactor.
pub(crate) struct Reactor {
    index: u16,
    pub(crate) slots: Vec<(u32, Option<Conn>)>,
    rooms: HashMap<u32, LocalRoom>,
    /// To the hub: alerts, joins, leaves, snapshots.
    pub(crate) urgent: VecDeque<Input>,
    /// To the hub: all other publishes.
    pub(crate) bulk: VecDeque<Input>,
    /// Leaves that found the link full.
    pub(crate) retry: Vec<Input>,
    pub(crate) late_leaves: bool,
    /// Answers it waits for.
    pub(crate) outstanding: usize,
    pub(crate) stalled: bool,
    /// What clients keep of memberships that ended, by (user, room).
    pub(crate) ended: Vec<(usize, String, Kept)>,
    next_request: u64,
    /// Deltas that members got, and full states in their place.
    pub(crate) deltas: u64,
    pub(crate) delta_missed: u64,
}

impl Reactor {
    pub(crate) fn new(index: usize, slots: usize, late_leaves: bool) -> Reactor {
        Reactor {
            index: index as u16,
            slots: (0..slots).map(|_| (0, None)).collect(),
            rooms: HashMap::new(),
            urgent: VecDeque::new(),
            bulk: VecDeque::new(),
            retry: Vec::new(),
            late_leaves,
            outstanding: 0,
            stalled: false,
            ended: Vec::new(),
            next_request: 0,
            deltas: 0,
            delta_missed: 0,
        }
    }

    pub(crate) fn conns(&self) -> impl Iterator<Item = &Conn> {
        self.slots.iter().filter_map(|(_, conn)| conn.as_ref())
    }

    pub(crate) fn connect(&mut self, slot: usize, user: usize) {
        let (generation, conn) = &mut self.slots[slot];
        assert!(conn.is_none(), "the slot is taken");
        let id = ConnId { reactor: self.index, slot: slot as u32, generation: *generation };
        let (sessions, asked, waiting) = (HashMap::new(), VecDeque::new(), VecDeque::new());
        *conn = Some(Conn { id, user, sessions, next_ticket: 0, asked, waiting });
    }

    pub(crate) fn disconnect(&mut self, slot: usize) {
        let Some(conn) = self.slots[slot].1.take() else { return };
        self.slots[slot].0 += 1;
        for session in conn.sessions.into_values() {
            self.leave(conn.id, conn.user, &session);
        }
    }

    /// A client's command arrives.
    pub(crate) fn command(&mut self, slot: usize, command: Command) {
        let Some(conn) = &mut self.slots[slot].1 else { return };
        let room = command.room();
        let waits = conn.waiting.iter().any(|other| other.room() == room);
        let asked = conn.asked.iter().any(|(_, other)| other.room() == room);
        if waits || (asked && !matches!(command, Command::Subscribe { .. })) {
            conn.waiting.push_back(command);
        } else {
            self.execute(slot, command);
        }
    }

    /// What the hub has to say arrives.
    pub(crate) fn take(&mut self, output: Output, reader: &mut Reader) {
        match output {
            Output::Deliver(frame) => self.deliver(&frame, reader),
            Output::Joined(joined) => self.joined(&joined, reader),
            Output::Reply { conn, frames } => self.reply(conn, &frames, reader),
            Output::Acked(_) | Output::Unowned(_) | Output::Replayed(_) | Output::Lost(_) => {
                panic!("there is neither authorizer nor journal, nor a user")
            }
            Output::Answers(answers) => self.outstanding -= answers.len(),
        }
    }

    fn execute(&mut self, slot: usize, command: Command) {
        let request = self.next_request;
        let Some(conn) = &mut self.slots[slot].1 else { return };
        match &command {
            Command::Subscribe { room, by_pattern, kept, history, delta } => {
                let (room, user) = (room.as_str().into(), user_name(conn.user).as_str().into());
                let join = Join {
                    conn: conn.id,
                    request: Some(request.into()),
                    room,
                    user,
                    by_pattern: *by_pattern,
                    consent: Consent::None,
                    since: kept.as_ref().map(|kept| kept.since.clone()),
                    history: *history,
                    delta: *delta,
                    poll: None,
                    sample: None,
                };
                self.urgent.push_back(Input::Join(Box::new(join)));
            }
            Command::Snapshot { room } => {
                let Some(session) = conn.sessions.values().find(|session| session.name == *room) else { return };
                self.urgent.push_back(Input::Snapshot { conn: conn.id, request: Some(request.into()), room: session.room, digest: false });
            }
            Command::Unsubscribe { room } => return self.unsubscribe(slot, &room.clone()),
        }
        conn.asked.push_back((request, command));
        self.next_request += 1;
        self.outstanding += 1;
    }

    fn unsubscribe(&mut self, slot: usize, room: &str) {
        let Some(conn) = &mut self.slots[slot].1 else { return };
        let Some(id) = conn.sessions.values().find(|session| session.name == room).map(|session| session.room) else { return };
        let (session, conn_id, user) = (conn.sessions.remove(&id).expect("it was found"), conn.id, conn.user);
        self.leave(conn_id, user, &session);
    }

    fn leave(&mut self, conn: ConnId, user: usize, session: &Session) {
        let local = self.rooms.get_mut(&session.room.slot).expect("a member's room is known");
        local.members.retain(|slot| *slot != conn.slot);
        local.floors.remove(&conn.slot);
        self.ended.push((user, session.name.clone(), session.kept()));
        self.send_leave(session.room, conn, session.delta);
    }

    fn send_leave(&mut self, room: RoomId, conn: ConnId, delta: bool) {
        let leave = Input::Leave { room, conn, delta };
        if self.late_leaves { self.retry.push(leave) } else { self.urgent.push_back(leave) }
    }

    fn deliver(&mut self, frame: &Arc<Frame>, reader: &mut Reader) {
        let tag = frame.tag;
        let Some(local) = self.rooms.get(&tag.room.slot).filter(|local| local.generation == tag.room.generation) else { return };
        let message = reader.read(frame);
        for slot in &local.members {
            let floor = local.floors.get(slot).map_or(0, |floors| floors[tag.lane.index()]);
            let skipped = match tag.kind {
                Kind::Stream { seq } => seq < floor,
                Kind::Gap { to } => to < floor,
                _ => false,
            };
            if !skipped {
                let conn = self.slots[*slot as usize].1.as_mut().expect("a member is connected");
                let session = conn.sessions.get_mut(&tag.room).expect("a member has a session");
                let delta = delta(frame, &message, session);
                self.deltas += u64::from(delta.is_some());
                self.delta_missed += u64::from(session.delta && frame.delta().is_some() && delta.is_none());
                session.take(delta.as_ref().unwrap_or(&message), Via::Live);
            }
        }
    }

    fn joined(&mut self, joined: &Joined, reader: &mut Reader) {
        self.outstanding -= 1;
        let Some((request, command)) = self.answered(joined.conn) else {
            return self.send_leave(joined.room, joined.conn, joined.delta);
        };
        let Command::Subscribe { room, kept, delta, .. } = &command else { panic!("Joined answers {command:?}") };
        assert_eq!(*room, *joined.name, "Joined names another room than was asked for");
        assert_eq!(*delta, joined.delta, "Joined forgets what was asked for");
        let session = session(joined, request, kept.as_ref(), reader);
        let conn = self.slots[joined.conn.slot as usize].1.as_mut().expect("it was found");
        let again = conn.sessions.values().any(|old| old.name == session.name);
        let replaced = conn.sessions.insert(joined.room, session);
        assert_eq!(again, replaced.is_some(), "a member's room got another id");
        self.enter(joined);
        if let Some(replaced) = replaced {
            self.send_leave(joined.room, joined.conn, replaced.delta);
        }
        self.wake(joined.conn.slot as usize, room);
    }

    fn enter(&mut self, joined: &Joined) {
        let local = self.rooms.entry(joined.room.slot).or_default();
        if local.generation != joined.room.generation {
            assert!(local.members.is_empty(), "a room's slot got its next owner while it has members");
            *local = LocalRoom { generation: joined.room.generation, ..LocalRoom::default() };
        }
        if !local.members.contains(&joined.conn.slot) {
            local.members.push(joined.conn.slot);
        }
        local.floors.insert(joined.conn.slot, joined.floor);
    }

    fn reply(&mut self, conn: ConnId, frames: &[Arc<Frame>], reader: &mut Reader) {
        self.outstanding -= 1;
        let Some((request, command)) = self.answered(conn) else { return };
        let messages: Vec<_> = frames.iter().map(|frame| reader.read(frame)).collect();
        assert_eq!(messages[0].id, Some(request), "an answer out of order to {command:?}: {messages:?}");
        match (&command, &messages[0].body) {
            (Command::Subscribe { .. }, Body::Error { .. }) => assert_eq!(frames.len(), 1, "more than an error: {messages:?}"),
            (Command::Snapshot { room }, Body::Ok) => self.snapshot(conn, room, &messages[1..]),
            _ => panic!("{command:?} was answered with {messages:?}"),
        }
        self.wake(conn.slot as usize, command.room());
    }

    fn snapshot(&mut self, conn: ConnId, room: &str, messages: &[Rc<Message>]) {
        let conn = self.slots[conn.slot as usize].1.as_mut().expect("it was found");
        let session = conn.sessions.values_mut().find(|session| session.name == room).expect("an unsubscribe waits for the snapshot");
        for message in messages {
            session.take(message, Via::Snapshot);
        }
        assert!(matches!(messages.last().expect("never empty").body, Body::CaughtUp), "a snapshot ends with `caught_up`");
    }

    /// The command that is answered, if its connection is still there: answers come in the order of the commands.
    fn answered(&mut self, id: ConnId) -> Option<(u64, Command)> {
        let conn = self.slots[id.slot as usize].1.as_mut().filter(|conn| conn.id == id)?;
        Some(conn.asked.pop_front().expect("an answer that nobody asked for"))
    }

    /// Executes what waited for the room's earlier commands.
    fn wake(&mut self, slot: usize, room: &str) {
        while let Some(conn) = &mut self.slots[slot].1 {
            let busy = conn.asked.iter().any(|(_, other)| other.room() == room);
            let Some(next) = conn.waiting.iter().position(|other| other.room() == room).filter(|_| !busy) else { return };
            let command = conn.waiting.remove(next).expect("it was found");
            self.execute(slot, command);
        }
    }
}

/// The frame as a delta, for one who wants it and was told of its base.
fn delta(frame: &Frame, message: &Message, session: &Session) -> Option<Message> {
    let Body::Event(event) = &message.body else { return None };
    let told = session.told(event).filter(|_| session.delta)?;
    frame.delta_on(told).map(Reader::read_delta)
}

fn session(joined: &Joined, request: u64, kept: Option<&Kept>, reader: &mut Reader) -> Session {
    let messages: Vec<_> = joined.frames.iter().map(|frame| reader.read(frame)).collect();
    let Body::Subscribed(subscribed) = &messages[0].body else { panic!("an answer to a join begins with {:?}", messages[0]) };
    assert_eq!(messages[0].id, Some(request), "an answer out of order");
    let mut session = Session::open(joined.room, &joined.name, subscribed, kept, joined.delta);
    for message in &messages[1..] {
        session.take(message, Via::Join);
    }
    session.joined();
    assert!(matches!(messages[messages.len() - 1].body, Body::CaughtUp), "something after `caught_up`");
    session
}
