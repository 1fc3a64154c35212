//! Clients and rooms: events in, runs of frames to writes out.

use std::collections::HashMap;
use std::io::{self, Read};

use foldhash::fast::RandomState;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::Writes;
use crate::client::{self, INPUT_BYTES_MAX, Said};
use crate::lines::{CLOSE, PONG, TEXT, push_frame};
use crate::pending::{Pending, Spares, put};

/// A run that is so long is written before more is taken: it is one write to each member, read again from the cache each time.
const RUN_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one turn, over all members. It bounds what a turn can leave pending.
const TURN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Publishes are not taken while so much waits for slow clients.
const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Read at once from a client.
const INPUT_BYTES: usize = 16 * 1024;
/// Members and runs are named by slots; this names none.
const NONE: u32 = u32::MAX;

const LISTENER: Token = Token(0);
/// A client's token is its slot and this.
const TOKENS_FROM: usize = 1;

/// See the module.
pub(crate) struct Sockets {
    listener: TcpListener,
    writes: Writes,
    clients: Vec<Option<Client>>,
    free: Vec<u32>,
    rooms: Vec<Room>,
    by_name: HashMap<Box<[u8]>, u32, RandomState>,
    /// Rooms with a run in this turn.
    due: Vec<u32>,
    /// Clients to be written to in this turn.
    dirty: Vec<u32>,
    /// Bytes taken in this turn, over all members.
    turn_bytes: usize,
    pending_bytes: usize,
    spares: Spares,
    input: Vec<u8>,
    reply: Vec<u8>,
}

/// A room's members and its frames of this turn.
#[derive(Default)]
struct Room {
    members: Vec<u32>,
    run: Vec<u8>,
}

/// One connection.
struct Client {
    stream: TcpStream,
    pending: Pending,
    /// The beginning of what is not whole yet.
    input: Vec<u8>,
    rooms: Vec<u32>,
    /// The room whose run is all there is for this client in this turn.
    only: u32,
    upgraded: bool,
    writable: bool,
    /// It is in `dirty`.
    dirty: bool,
    /// It ends once what is pending is written.
    ending: bool,
}

/// A client's end: its own wish, or what is wrong with it.
struct End;

impl Sockets {
    pub(crate) fn new(mut listener: TcpListener, writes: Writes, registry: &Registry) -> io::Result<Sockets> {
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Sockets {
            listener,
            writes,
            clients: Vec::new(),
            free: Vec::new(),
            rooms: Vec::new(),
            by_name: HashMap::default(),
            due: Vec::new(),
            dirty: Vec::new(),
            turn_bytes: 0,
            pending_bytes: 0,
            spares: Spares::default(),
            input: vec![0; INPUT_BYTES],
            reply: Vec::new(),
        })
    }

    /// Notes an event, and answers what a client says.
    pub(crate) fn on_event(&mut self, event: &Event, registry: &Registry) -> io::Result<()> {
        if event.token() == LISTENER {
            return self.accept(registry);
        }
        let slot = (event.token().0 - TOKENS_FROM) as u32;
        if event.is_writable()
            && let Some(Some(client)) = self.clients.get_mut(slot as usize)
        {
            client.writable = true;
            mark(slot, client, &mut self.dirty);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(slot, event.is_read_closed() || event.is_error());
        }
        Ok(())
    }

    fn accept(&mut self, registry: &Registry) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            if stream.set_nodelay(true).is_err() {
                continue; // it has gone already
            }
            let slot = self.free.pop().unwrap_or(self.clients.len() as u32);
            registry.register(&mut stream, Token(TOKENS_FROM + slot as usize), Interest::READABLE | Interest::WRITABLE)?;
            if slot as usize == self.clients.len() {
                self.clients.push(None);
            }
            self.clients[slot as usize] = Some(Client::new(stream));
        }
    }

    fn close(&mut self, slot: u32) {
        let Some(client) = self.clients[slot as usize].take() else { return };
        self.pending_bytes -= client.pending.len();
        for room in client.rooms {
            let members = &mut self.rooms[room as usize].members;
            members.iter().position(|member| *member == slot).map(|at| members.swap_remove(at));
        }
        self.free.push(slot);
    }

    // ---- what clients say ----------------------------------------------------------------------------------------------

    fn read(&mut self, slot: u32, is_end: bool) {
        let mut input = std::mem::take(&mut self.input);
        while let Some(Some(client)) = self.clients.get_mut(slot as usize) {
            let taken = match client.stream.read(&mut input) {
                Ok(0) => Err(End),
                Ok(read) => self.take_input(slot, &mut input[..read]).map(|()| read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => Err(End),
            };
            match taken {
                Err(End) => self.close(slot),
                Ok(read) if read < input.len() && !is_end => break, // that was all there was
                Ok(_) => {}
            }
        }
        self.input = input;
    }

    /// Takes what was read, behind what was left of the read before.
    fn take_input(&mut self, slot: u32, input: &mut [u8]) -> Result<(), End> {
        let client = self.clients[slot as usize].as_mut().ok_or(End)?;
        let mut kept = std::mem::take(&mut client.input);
        if kept.is_empty() {
            let used = self.take_messages(slot, input)?;
            kept.extend_from_slice(&input[used..]);
        } else {
            kept.extend_from_slice(input);
            let used = self.take_messages(slot, &mut kept)?;
            kept.drain(..used);
        }
        if kept.len() > INPUT_BYTES_MAX {
            return Err(End);
        }
        if !kept.is_empty() {
            self.clients[slot as usize].as_mut().ok_or(End)?.input = kept;
        }
        Ok(())
    }

    /// Answers what is whole; how many bytes that was.
    fn take_messages(&mut self, slot: u32, input: &mut [u8]) -> Result<usize, End> {
        let mut used = 0;
        if !self.clients[slot as usize].as_ref().ok_or(End)?.upgraded {
            let Some((answer, taken)) = client::upgrade(input).map_err(|_| End)? else { return Ok(0) };
            used = taken;
            self.upgrade(slot, &answer);
        }
        while let Some((said, taken)) = client::next(&mut input[used..]).map_err(|_| End)? {
            used += taken;
            match said {
                Said::Text(text) => self.subscribe(slot, text),
                Said::Ping(body) => self.answer(slot, PONG, body),
                Said::Close(body) => {
                    self.answer(slot, CLOSE, body);
                    self.clients[slot as usize].as_mut().ok_or(End)?.ending = true;
                }
                Said::Nothing => {}
            }
        }
        Ok(used)
    }

    fn upgrade(&mut self, slot: u32, answer: &str) {
        if let Some(client) = &mut self.clients[slot as usize] {
            client.upgraded = true;
        }
        self.queue(slot, answer.as_bytes(), answer.len());
        self.answer(slot, TEXT, br#"{"type":"welcome"}"#);
    }

    fn subscribe(&mut self, slot: u32, text: &[u8]) {
        let Some((id, name)) = client::subscribe(text) else { return };
        let next = self.rooms.len() as u32;
        let room = *self.by_name.entry(name.as_bytes().into()).or_insert(next);
        if room == next {
            self.rooms.push(Room::default());
        }
        if let Some(client) = &mut self.clients[slot as usize]
            && !client.rooms.contains(&room)
        {
            client.rooms.push(room);
            self.rooms[room as usize].members.push(slot);
        }
        for answer in client::subscribed(id, name) {
            self.answer(slot, TEXT, answer.as_bytes());
        }
    }

    fn answer(&mut self, slot: u32, first: u8, body: &[u8]) {
        let mut reply = std::mem::take(&mut self.reply);
        reply.clear();
        push_frame(&mut reply, first, body);
        self.queue(slot, &reply, 0);
        self.reply = reply;
    }

    fn queue(&mut self, slot: u32, bytes: &[u8], started: usize) {
        let Some(client) = &mut self.clients[slot as usize] else { return };
        self.pending_bytes += bytes.len();
        client.pending.append(bytes, started, &mut self.spares);
        mark(slot, client, &mut self.dirty);
    }

    // ---- what is published ---------------------------------------------------------------------------------------------

    /// Whether so much waits for slow clients that publishes are not taken.
    pub(crate) fn is_stuffed(&self) -> bool {
        self.pending_bytes >= PENDING_BYTES_MAX
    }

    /// Adds a frame, which `push` appends, to the room's run. Whether more may be taken in this turn.
    pub(crate) fn take(&mut self, room: &[u8], push: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(&slot) = self.by_name.get(room) else { return true };
        let room = &mut self.rooms[slot as usize];
        if room.members.is_empty() {
            return true;
        }
        if room.run.is_empty() {
            self.due.push(slot);
        }
        let before = room.run.len();
        push(&mut room.run);
        self.turn_bytes += (room.run.len() - before) * room.members.len();
        room.run.len() < RUN_BYTES_MAX && self.turn_bytes < TURN_BYTES_MAX
    }

    /// Ends the turn: every client that something waits for is written to, once.
    pub(crate) fn flush(&mut self) {
        for at in 0..self.due.len() {
            self.spread(self.due[at]);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            if self.write(slot).is_err() {
                self.close(slot);
            }
        }
        self.dirty = dirty;
        self.turn_bytes = 0;
        for room in self.due.drain(..) {
            self.rooms[room as usize].run.clear();
        }
    }

    /// Gives the members of a room its run: by reference while that is all there is for a member, else by copy.
    fn spread(&mut self, room: u32) {
        let run = &self.rooms[room as usize].run;
        for slot in &self.rooms[room as usize].members {
            let Some(client) = &mut self.clients[*slot as usize] else { continue };
            if client.pending.is_empty() && client.only == NONE {
                client.only = room;
                mark(*slot, client, &mut self.dirty);
                continue;
            }
            if client.only != NONE {
                let first = &self.rooms[client.only as usize].run;
                self.pending_bytes += first.len();
                client.pending.append(first, 0, &mut self.spares);
                client.only = NONE;
            }
            self.pending_bytes += run.len();
            client.pending.append(run, 0, &mut self.spares);
        }
    }

    /// Writes what is there for a client, as far as its socket takes it.
    fn write(&mut self, slot: u32) -> Result<(), End> {
        let Some(client) = &mut self.clients[slot as usize] else { return Ok(()) };
        client.dirty = false;
        let only = std::mem::replace(&mut client.only, NONE);
        if only != NONE {
            let (run, mut started) = (&self.rooms[only as usize].run, 0);
            let written = if client.writable { put(&client.stream, run, self.writes, &mut started).map_err(|_| End)? } else { 0 };
            if written < run.len() {
                client.writable = false;
                self.pending_bytes += run.len() - written;
                client.pending.append(&run[written..], started, &mut self.spares);
            }
        } else if client.writable && !client.pending.is_empty() {
            let written = client.pending.write(&client.stream, self.writes, &mut self.spares).map_err(|_| End)?;
            self.pending_bytes -= written;
            client.writable = client.pending.is_empty();
        }
        if client.ending && client.pending.is_empty() { Err(End) } else { Ok(()) }
    }
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        Client {
            stream,
            pending: Pending::default(),
            input: Vec::new(),
            rooms: Vec::new(),
            only: NONE,
            upgraded: false,
            writable: true,
            dirty: false,
            ending: false,
        }
    }
}

fn mark(slot: u32, client: &mut Client, dirty: &mut Vec<u32>) {
    if !client.dirty {
        client.dirty = true;
        dirty.push(slot);
    }
}
