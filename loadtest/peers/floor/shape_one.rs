//! One epoll thread: reads publishes, writes sockets.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use mio::{Events, Poll};

use crate::Writes;
use crate::lines::{RoomFinder, TEXT, push_frame};
use crate::publishers::{self, Publishers};
use crate::sockets::Sockets;

/// Events taken at once.
pub(crate) const EVENTS: usize = 1024;

/// Runs for ever; an error is one of the loop itself.
pub(crate) fn run(clients: TcpListener, publishes: UnixListener, writes: Writes) -> io::Result<Infallible> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    let mut sockets = Sockets::new(clients, writes, poll.registry())?;
    let mut publishers = Publishers::new(publishes, poll.registry())?;
    let finder = RoomFinder::new();
    let mut more = false;
    loop {
        let now = more && !sockets.is_stuffed();
        wait(&mut poll, &mut events, now.then_some(Duration::ZERO))?;
        for event in &events {
            if event.token().0 >= publishers::TOKENS_FROM {
                publishers.on_event(event, poll.registry())?;
                more = true;
            } else {
                sockets.on_event(event, poll.registry())?;
            }
        }
        if more && !sockets.is_stuffed() {
            more = publishers.drain(|line| match finder.room(line) {
                Some(room) => sockets.take(&line[room], |run| push_frame(run, TEXT, line)),
                None => true,
            });
        }
        sockets.flush();
    }
}

/// Polls; a signal that interrupts it is no event.
pub(crate) fn wait(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        polled => polled,
    }
}
