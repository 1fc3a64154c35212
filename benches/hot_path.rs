//! What each part of an event's way costs, in time: the parts one by one, on this thread, and the hand-off between two.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tickerd::base::ids::RoomId;
use tickerd::base::lane::Lane;
use tickerd::base::time::Mono;
use tickerd::net::link::{Door, Link, Waker};
use tickerd::wire::deflate::Inflater;
use tickerd::wire::frame::{Frame, Kind, Tag};
use tickerd::wire::websocket::{Assembler, Limits, Role, Step};

use self::common::{HotPath, STREAM};

mod common;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A type of the built-in catalog, of which only the latest value counts.
const STATE: &str = "EQUITY_UPDATED";

fn event(criterion: &mut Criterion) {
    let mut path = HotPath::new(STREAM);
    criterion.bench_function("event/parse", |bench| bench.iter(|| path.parse()));
}

fn frame(criterion: &mut Criterion) {
    let text = common::line(STREAM, 1);
    let tag = Tag { room: RoomId::NONE, lane: Lane::Update, kind: Kind::Transient, accepted: Mono(1), taken: Mono(1), released: Mono(1) };
    criterion.bench_function("frame/encode", |bench| bench.iter(|| Arc::new(Frame::text(tag, black_box(&text)))));
}

/// One publish and its tick, with one local member; what the hub puts out is taken outside the time.
fn hub(criterion: &mut Criterion) {
    for (name, kind) in [("hub/stream", STREAM), ("hub/state", STATE)] {
        let mut path = HotPath::new(kind);
        criterion.bench_function(name, |bench| {
            bench.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let event = path.parse();
                    let begun = Instant::now();
                    path.hub(event);
                    spent += begun.elapsed();
                    drop(path.take());
                }
                spent
            });
        });
    }
}

fn outbox(criterion: &mut Criterion) {
    let mut path = HotPath::new(STREAM);
    let event = path.parse();
    path.hub(event);
    let (frame, answer) = path.take();
    criterion.bench_function("outbox/push_fill_wrote", |bench| bench.iter(|| path.deliver(black_box(&frame))));
    criterion.bench_function("publisher/answer", |bench| bench.iter(|| path.answer(black_box(&answer))));
}

/// A client's command of 60 bytes, masked.
fn assembler(criterion: &mut Criterion) {
    let body = br#"{"type":"subscribe","id":1,"room":"challenge:8f2c-0123456"}}"#;
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x81, 0x80 | body.len() as u8];
    frame.extend_from_slice(&mask);
    frame.extend(body.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    let mut inflater = Inflater::default();
    let (mut assembler, limits) = (Assembler::new(Role::Server), Limits { message_bytes_max: 64 * 1024 });
    criterion.bench_function("websocket/assemble", |bench| {
        let step = |mut input: Vec<u8>| assert!(matches!(assembler.step(&mut input, &limits, &mut inflater), Ok(Step::Message { .. })));
        bench.iter_batched(|| frame.clone(), step, BatchSize::SmallInput);
    });
}

/// Items from one thread to another that sleeps when it has none: the time for each, when they come without a pause.
fn link(criterion: &mut Criterion) {
    let taken = Arc::new(AtomicU64::new(0));
    let consumer_taken = Arc::clone(&taken);
    let (give, get) = std::sync::mpsc::channel::<(Arc<Link<u64>>, Arc<Door>)>();
    let consumer = std::thread::spawn(move || {
        let (link, door) = get.recv().expect("it is sent below");
        consume(&link, &door, &consumer_taken);
    });
    let door = Door::new(Waker::Thread(consumer.thread().clone()));
    let link = Arc::new(Link::new(4096, Arc::clone(&door)));
    give.send((Arc::clone(&link), door)).expect("the consumer waits for it");
    let mut pushed = 0;
    let mut group = criterion.benchmark_group("link");
    group.throughput(Throughput::Elements(1));
    group.bench_function("hand_off", |bench| {
        bench.iter_custom(|rounds| {
            let begun = Instant::now();
            for _ in 0..rounds {
                pushed += 1;
                push(&link, pushed);
            }
            while taken.load(Ordering::Acquire) < pushed {
                std::thread::yield_now();
            }
            begun.elapsed()
        });
    });
    group.finish();
    push(&link, u64::MAX);
    consumer.join().expect("the consumer does not panic");
}

fn push(link: &Link<u64>, item: u64) {
    while link.push(item).is_err() {
        link.ring();
        spin_loop();
        std::thread::yield_now();
    }
    link.ring();
}

/// Takes until the item that says that it is the last.
fn consume(link: &Link<u64>, door: &Door, taken: &AtomicU64) {
    loop {
        while let Some(item) = link.pop() {
            if item == u64::MAX {
                return;
            }
            taken.store(item, Ordering::Release);
        }
        door.arm();
        if link.is_empty() {
            std::thread::park();
        }
        door.disarm();
    }
}

fn short() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = parts;
    config = short();
    targets = event, frame, hub, outbox, assembler, link
}
criterion_main!(parts);
