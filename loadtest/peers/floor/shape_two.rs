//! The server's shape: an event thread reads and frames publishes, and hands the bytes over to the epoll thread that owns the sockets.
//!
//! What goes over is a batch: the frames of up to one read, contiguous, and where each one's room stands in them. Batches come back and are
//! used again, so that no event costs an allocation. Whoever sleeps is woken once, however much there is for it: a [`Bell`] each way.

use std::convert::Infallible;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::Thread;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Poll, Token, Waker};

use crate::Writes;
use crate::lines::{RoomFinder, TEXT, push_frame};
use crate::publishers::Publishers;
use crate::shape_one::{EVENTS, wait};
use crate::sockets::Sockets;

/// A batch is handed over when it is so long, or when there is nothing more to read.
const BATCH_BYTES: usize = 64 * 1024;
/// Batches that wait at most: 1 MiB, about as many events as a publisher of the server may have unanswered.
const BATCHES: usize = 16;

const WAKER: Token = Token(usize::MAX - 1);

/// Frames, contiguous.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    frames: Vec<Cut>,
}

/// One frame of a batch, as positions in its bytes.
struct Cut {
    room: Range<u32>,
    end: u32,
}

/// Where the two threads meet.
struct Handover {
    full: ArrayQueue<Batch>,
    /// Batches that are used up.
    empty: ArrayQueue<Batch>,
    /// The epoll thread sleeps until batches come.
    arrived: Bell,
    waker: Waker,
    /// The event thread sleeps until there is room.
    freed: Bell,
    event_thread: Thread,
}

/// A coalesced wake-up. A producer pushes, then rings; the consumer arms, looks once more, and sleeps only if there is nothing. Each side has
/// a `SeqCst` fence between its write and its read, so at least one sees the other's.
#[derive(Default)]
struct Bell(AtomicBool);

impl Bell {
    fn arm(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn disarm(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the caller must wake the other side.
    fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::AcqRel)
    }
}

/// Runs for ever; an error is one of the event thread's loop. This thread becomes the event thread.
pub(crate) fn run(clients: TcpListener, publishes: UnixListener, writes: Writes) -> io::Result<Infallible> {
    let poll = Poll::new()?;
    let handover = Handover {
        full: ArrayQueue::new(BATCHES),
        empty: ArrayQueue::new(BATCHES),
        arrived: Bell::default(),
        waker: Waker::new(poll.registry(), WAKER)?,
        freed: Bell::default(),
        event_thread: std::thread::current(),
    };
    let sockets = Sockets::new(clients, writes, poll.registry())?;
    std::thread::scope(|scope| {
        let handover = &handover;
        std::thread::Builder::new().name("sockets".into()).spawn_scoped(scope, move || {
            let Err(error) = own_sockets(poll, sockets, handover);
            panic!("the loop of the sockets cannot go on: {error}"); // which ends the process
        })?;
        read_publishes(publishes, handover)
    })
}

// ---- the event thread --------------------------------------------------------------------------------------------------

fn read_publishes(listener: UnixListener, handover: &Handover) -> io::Result<Infallible> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    let mut publishers = Publishers::new(listener, poll.registry())?;
    let finder = RoomFinder::new();
    let mut batch = Batch::default();
    let mut more = false;
    loop {
        wait(&mut poll, &mut events, more.then_some(Duration::ZERO))?;
        for event in &events {
            publishers.on_event(event, poll.registry())?;
        }
        more = publishers.drain(|line| {
            if let Some(room) = finder.room(line) {
                batch.push(line, room);
            }
            if batch.bytes.len() >= BATCH_BYTES {
                handover.push(&mut batch);
            }
            true
        });
        if !batch.frames.is_empty() {
            handover.push(&mut batch);
        }
    }
}

impl Batch {
    /// Frames the line, in which the room's name stands at `room`.
    fn push(&mut self, line: &[u8], room: Range<usize>) {
        push_frame(&mut self.bytes, TEXT, line);
        let end = self.bytes.len();
        let line_at = end - line.len();
        self.frames.push(Cut { room: (line_at + room.start) as u32..(line_at + room.end) as u32, end: end as u32 });
    }
}

impl Handover {
    /// Hands the batch over, and puts an empty one in its place. Waits while the queue is full.
    fn push(&self, batch: &mut Batch) {
        let mut full = std::mem::replace(batch, self.empty.pop().unwrap_or_default());
        while let Err(back) = self.full.push(full) {
            full = back;
            self.freed.arm();
            if self.full.is_full() {
                std::thread::park();
            }
            self.freed.disarm();
        }
        if self.arrived.ring() {
            self.waker.wake().expect("an eventfd write fails only when its counter overflows");
        }
    }
}

// ---- the epoll thread --------------------------------------------------------------------------------------------------

fn own_sockets(mut poll: Poll, mut sockets: Sockets, handover: &Handover) -> io::Result<Infallible> {
    let mut events = Events::with_capacity(EVENTS);
    let mut batches = Batches { handover, current: Batch::default(), next: 0 };
    loop {
        handover.arrived.arm();
        let timeout = (!sockets.is_stuffed() && batches.are_there()).then_some(Duration::ZERO);
        wait(&mut poll, &mut events, timeout)?;
        handover.arrived.disarm();
        for event in events.iter().filter(|event| event.token() != WAKER) {
            sockets.on_event(event, poll.registry())?;
        }
        if !sockets.is_stuffed() {
            batches.take(&mut sockets);
        }
        sockets.flush();
    }
}

/// The consumer's side.
struct Batches<'a> {
    handover: &'a Handover,
    /// A batch that is not used up, and the first frame that is not taken.
    current: Batch,
    next: usize,
}

impl Batches<'_> {
    fn are_there(&self) -> bool {
        self.next < self.current.frames.len() || !self.handover.full.is_empty()
    }

    /// Takes frames until there are none, or the sockets want no more in this turn.
    fn take(&mut self, sockets: &mut Sockets) {
        while self.take_current(sockets) {
            let Some(batch) = self.handover.full.pop() else { break };
            let mut used = std::mem::replace(&mut self.current, batch);
            self.next = 0;
            used.bytes.clear();
            used.frames.clear();
            drop(self.handover.empty.push(used)); // one too many is freed
        }
        if self.handover.freed.ring() {
            self.handover.event_thread.unpark();
        }
    }

    /// Whether the current batch is used up and more may be taken.
    fn take_current(&mut self, sockets: &mut Sockets) -> bool {
        let Batch { bytes, frames } = &self.current;
        while let Some(Cut { room, end }) = frames.get(self.next) {
            let start = self.next.checked_sub(1).map_or(0, |before| frames[before].end);
            self.next += 1;
            let frame = &bytes[start as usize..*end as usize];
            if !sockets.take(&bytes[room.start as usize..room.end as usize], |run| run.extend_from_slice(frame)) {
                return false;
            }
        }
        true
    }
}
