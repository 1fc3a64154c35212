//! A link: a bounded lock-free queue with a bell, from any thread to one thread.

use std::sync::Arc;
use std::thread::Thread;

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use super::bell::Bell;
use super::sync::{AtomicBool, AtomicUsize, Ordering};

/// How a sleeping consumer is woken.
pub enum Waker {
    /// It sleeps in `Poll::poll`.
    Poll(mio::Waker),
    /// It is parked.
    Thread(Thread),
}

/// The consumer's door: its bell and how to wake it, shared by all links that lead to it.
pub struct Door {
    bell: Bell,
    waker: Waker,
    /// How often the consumer was here; wraps. Producers do not look at it, so it is not beside what they do look at.
    turns: CachePadded<AtomicUsize>,
}

impl Door {
    /// A door for the thread that sleeps as `waker` says.
    pub fn new(waker: Waker) -> Arc<Door> {
        Arc::new(Door { bell: Bell::default(), waker, turns: CachePadded::new(AtomicUsize::new(0)) })
    }

    /// After pushing one or more items: wakes the consumer if it sleeps.
    pub fn ring(&self) {
        if self.bell.ring() {
            match &self.waker {
                Waker::Poll(waker) => waker.wake().expect("an eventfd write fails only when its counter overflows"),
                Waker::Thread(thread) => thread.unpark(),
            }
        }
    }

    /// Before sleeping, and before the last look at the links.
    pub fn arm(&self) {
        self.bell.arm();
    }

    /// After sleeping, or when the last look found something.
    pub fn disarm(&self) {
        self.bell.disarm();
    }

    /// The consumer has come round once more. Only it may call this.
    pub fn turn(&self) {
        self.turns.store(self.turns().wrapping_add(1), Ordering::Relaxed);
    }

    /// How often the consumer has come round; wraps. One that has not since the last look, though it was rung for, stands still.
    pub fn turns(&self) -> usize {
        self.turns.load(Ordering::Relaxed)
    }
}

/// A bounded queue that leads to a door. Push, then ring the door once for the batch.
pub struct Link<T> {
    queue: ArrayQueue<T>,
    door: Arc<Door>,
    /// The consumer has more to do than it wants.
    pressed: AtomicBool,
    /// Those whom the consumer serves do not keep up.
    outrun: AtomicBool,
    /// What the consumer has dealt with since the beginning, in its own measure; wraps.
    done: AtomicUsize,
}

impl<T> Link<T> {
    /// A link with that many slots.
    pub fn new(slots: usize, door: Arc<Door>) -> Link<T> {
        let queue = ArrayQueue::new(slots);
        Link { queue, door, pressed: AtomicBool::new(false), outrun: AtomicBool::new(false), done: AtomicUsize::new(0) }
    }

    /// Pushes, or gives the item back if the link is full. Does not ring.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.queue.push(item)
    }

    /// Takes the oldest item.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Slots that are free. Exact for the only producer, but for what the consumer has taken meanwhile.
    pub fn free(&self) -> usize {
        self.queue.capacity() - self.queue.len()
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// The consumer asks producers to hold back what can wait, or not to any more; then it wakes those that sleep over it.
    pub fn press(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::Relaxed);
    }

    /// Whether producers are asked to hold back what can wait.
    pub fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    /// The consumer says whether those whom it serves keep up: if not, nothing is held back, but sources had better slow down.
    pub fn outrun(&self, outrun: bool) {
        self.outrun.store(outrun, Ordering::Relaxed);
    }

    /// Whether those whom the consumer serves do not keep up.
    pub fn is_outrun(&self) -> bool {
        self.outrun.load(Ordering::Relaxed)
    }

    /// The only consumer has dealt with so much more, where items differ in what they take.
    pub fn add_done(&self, n: usize) {
        self.done.store(self.done().wrapping_add(n), Ordering::Relaxed);
    }

    /// What the consumer has dealt with since the beginning; wraps.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Wakes the consumer if it sleeps.
    pub fn ring(&self) {
        self.door.ring();
    }
}
