//! The link's wake-up in every interleaving that the memory model allows, by loom.
//!
//! [`bell`] is the daemon's own file, compiled here against loom's atomics. Around it stands the smallest possible link:
//! an atomic as the queue, a flag as the consumer's sleep. A wake-up is lost when the consumer sleeps although something
//! was pushed and no producer has woken it: then nothing would ever wake it again, and events would wait for ever.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[path = "../src/net/bell.rs"]
#[expect(unreachable_pub, reason = "public in its own crate, private in this one")]
mod bell;

/// Two producers ring once each while the consumer goes to sleep.
#[test]
fn no_interleaving_loses_a_wake_up() {
    loom::model(two_producers_one_sleeper::<bell::Bell>);
}

/// The consumer sleeps a second time, on a bell that has rung before: the swap must leave it as good as new.
#[test]
fn no_interleaving_loses_a_later_wake_up() {
    loom::model(one_producer_two_sleeps::<bell::Bell>);
}

/// For each sleep at most one producer is told to wake: a wake-up costs a system call.
#[test]
fn a_sleep_is_woken_at_most_once() {
    loom::model(|| {
        let link = Arc::new(Link::<bell::Bell>::default());
        link.bell.arm();
        let producers = [link.produce(), link.produce()];
        join(producers);
        assert_eq!(link.wakes.load(Ordering::Relaxed), 1);
    });
}

/// The same bell without its fences: loom must find the loss, or the tests above would prove nothing.
#[test]
#[should_panic(expected = "lost wake-up")]
fn without_fences_a_wake_up_is_lost() {
    loom::model(two_producers_one_sleeper::<BellWithoutFences>);
}

/// What a link needs of its bell.
trait Bell: Default + Send + Sync + 'static {
    fn ring(&self) -> bool;
    fn arm(&self);
    fn disarm(&self);
}

impl Bell for bell::Bell {
    fn ring(&self) -> bool {
        bell::Bell::ring(self)
    }

    fn arm(&self) {
        bell::Bell::arm(self);
    }

    fn disarm(&self) {
        bell::Bell::disarm(self);
    }
}

/// [`bell::Bell`], its two fences taken out.
struct BellWithoutFences {
    armed: AtomicBool,
}

impl Default for BellWithoutFences {
    fn default() -> BellWithoutFences {
        BellWithoutFences { armed: AtomicBool::new(false) }
    }
}

impl Bell for BellWithoutFences {
    fn ring(&self) -> bool {
        self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::AcqRel)
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
    }

    fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

/// A queue that counts what was pushed, and a bell. Its orderings are those of a real queue: what is pushed is released.
struct Link<B> {
    pushed: AtomicUsize,
    wakes: AtomicUsize,
    bell: B,
}

impl<B: Bell> Default for Link<B> {
    fn default() -> Link<B> {
        Link { pushed: AtomicUsize::new(0), wakes: AtomicUsize::new(0), bell: B::default() }
    }
}

impl<B: Bell> Link<B> {
    /// A thread that pushes one item and rings.
    fn produce(self: &Arc<Self>) -> thread::JoinHandle<()> {
        let link = Arc::clone(self);
        thread::spawn(move || {
            link.pushed.fetch_add(1, Ordering::Release);
            if link.bell.ring() {
                link.wakes.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// The consumer's part: arm, look once more, and whether it goes to sleep then. `taken` is what it took before.
    fn goes_to_sleep(&self, taken: usize) -> bool {
        self.bell.arm();
        let empty = self.pushed.load(Ordering::Acquire) == taken;
        if !empty {
            self.bell.disarm();
        }
        empty
    }
}

fn two_producers_one_sleeper<B: Bell>() {
    let link = Arc::new(Link::<B>::default());
    let producers = [link.produce(), link.produce()];
    let sleeps = link.goes_to_sleep(0);
    join(producers);
    // All have pushed and rung. A sleeper that nobody woke would sleep beside a full queue.
    assert!(!sleeps || link.wakes.load(Ordering::Relaxed) > 0, "lost wake-up");
}

fn join(producers: [thread::JoinHandle<()>; 2]) {
    for producer in producers {
        producer.join().expect("a producer does not panic");
    }
}

fn one_producer_two_sleeps<B: Bell>() {
    let link = Arc::new(Link::<B>::default());
    let first = link.produce();
    let slept = link.goes_to_sleep(0);
    first.join().expect("the producer does not panic");
    // A wake without a sleep is spurious and harmless: the producer saw the bell armed just before the second look.
    assert!(!slept || link.wakes.load(Ordering::Relaxed) > 0, "lost wake-up");
    link.bell.disarm();
    link.wakes.store(0, Ordering::Relaxed);
    let second = link.produce();
    let sleeps = link.goes_to_sleep(1);
    second.join().expect("the producer does not panic");
    assert!(!sleeps || link.wakes.load(Ordering::Relaxed) > 0, "lost wake-up");
}
