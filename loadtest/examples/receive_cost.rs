//! What the receiving side spends on each event beyond the read: verification and two histograms. Run it under an
//! instruction counter that counts only the receiving, and divide by the events:
//!
//! ```text
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null '--toggle-collect=*World*take*' target/release/examples/receive_cost shared 10
//! ```
//!
//! A round is 100,000 events: `shared`, of one room to 1,000 connections, 100 each in one read; `private`, of 1,000 rooms to one connection
//! each, one in each read, 100 times.

use std::env;
use std::time::Instant;

use tickerd_loadtest::payload::Template;
use tickerd_loadtest::scenario::Scenario;
use tickerd_loadtest::stamp::Stamp;
use tickerd_loadtest::worker::recorder::Recorder;
use tickerd_loadtest::worker::session::{Phase, Session, Shared};
use tickerd_loadtest::worker::verify::{Subscribed, Verifier};

const CONNS: u32 = 1000;
const RUN: u32 = 1;
const NOW_NS: u64 = 1_000_000_000_000;

fn main() {
    let (shape, rounds) = (env::args().nth(1), env::args().nth(2).and_then(|text| text.parse().ok()));
    let (Some(shape), Some(rounds)) = (shape.filter(|shape| shape == "shared" || shape == "private"), rounds) else {
        eprintln!("usage: receive_cost shared|private ROUNDS");
        std::process::exit(2);
    };
    let mut world = World::new(shape == "shared");
    let began = Instant::now();
    (0..rounds).for_each(|round: u32| world.round(round * 100));
    let faults = world.shared.verifier.faults();
    assert_eq!(faults.total(), 0, "{faults:?}");
    let received: u64 = world.shared.verifier.received().iter().sum();
    println!("{received} events, {:.1} ns each", began.elapsed().as_nanos() as f64 / received as f64);
}

struct World {
    scenario: Scenario,
    shared: Shared,
    sessions: Vec<Session>,
    template: Template,
    is_shared: bool,
}

impl World {
    fn new(is_shared: bool) -> World {
        let (rooms, members) = if is_shared { (1, CONNS) } else { (CONNS, 1) };
        let text = format!(
            "name='x'\nabout=''\nduration_s=1\n[connections]\ncount={CONNS}\nrate=1\n[[room]]\nclass='c'\nname='room:{{n}}'\ncount={rooms}\n\
             members={members}\n[[flow]]\nrooms='c'\ntype='tick'\nlane='update'\nmode='stream'\nrate=1\nbytes=300\n"
        );
        let scenario: Scenario = toml::from_str(&text).expect("the scenario is valid");
        let mut verifier = Verifier::new(&scenario, RUN, false, 0, CONNS).expect("the scenario is good");
        for conn in 0..CONNS {
            let room = format!("room:{}", if is_shared { 0 } else { conn });
            assert!(verifier.subscribed(conn, &room, &Subscribed::default()) && verifier.caught_up(conn, &room));
        }
        let template = Template::new(&scenario.flows[0], &scenario.rooms[0]).expect("the flow is good");
        let shared = Shared { verifier, recorder: Recorder::new(1), pongs: 0, random: 1 };
        let mut sessions: Vec<Session> = (0..CONNS).map(|_| Session::default()).collect();
        for session in &mut sessions {
            session.phase = Phase::Joined;
        }
        World { scenario, shared, sessions, template, is_shared }
    }

    /// 100 events to each connection, numbered from `after + 1` on.
    fn round(&mut self, after: u32) {
        if self.is_shared {
            let bytes: Vec<u8> = (1..=100).flat_map(|n| self.frame(0, after + n)).collect();
            (0..CONNS).for_each(|conn| self.take(conn, &bytes));
            return;
        }
        for n in 1..=100 {
            let frames: Vec<Vec<u8>> = (0..CONNS).map(|room| self.frame(room, after + n)).collect();
            frames.iter().zip(0..).for_each(|(bytes, conn)| self.take(conn, bytes));
        }
    }

    /// Apart from the making of the frames, so that a profiler can tell it from that.
    #[inline(never)]
    fn take(&mut self, conn: u32, bytes: &[u8]) {
        let taken = self.sessions[conn as usize].take(conn, bytes, NOW_NS, &self.scenario, &mut self.shared);
        assert_eq!(taken, Ok(bytes.len()));
    }

    fn frame(&mut self, room: u32, n: u32) -> Vec<u8> {
        let intended_ns = NOW_NS - u64::from(n % 1000) * 10_000;
        let stamp = Stamp { run: RUN, flow: 0, room, n, intended_ns, sent_ns: intended_ns + 5_000 };
        let mut line = Vec::new();
        self.template.line(&stamp, &mut line);
        let line = String::from_utf8(line).expect("is text");
        let data = &line[line.find("\"data\":").expect("has data")..];
        let text = format!(r#"{{"type":"tick","room":"room:{room}","lane":"update","seq":{n},"ts":1795000000000,{data}"#);
        let mut frame = vec![0x81, 126];
        frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
        frame.extend_from_slice(text.as_bytes());
        frame
    }
}
