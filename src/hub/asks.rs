//! Joins, leaves and snapshots that wait for their turn. Pure.
//!
//! An answer may be thousands of frames, so these are not worked off as they come, but a slice at a time, with alerts in between. The
//! connections of a reactor take turns: who asks for a hundred snapshots in one go delays the others by one of them. What one connection
//! asked for keeps its order.

use std::collections::{HashMap, VecDeque};

use crate::base::ids::ConnId;

use super::ports::Input;

/// See the module. Bounded by what reactors may ask for before they are answered, and by the memberships that can be left.
pub struct Asks {
    /// By reactor.
    reactors: Vec<Turns>,
    /// The reactor whose turn is next.
    next: usize,
}

/// The connections of one reactor.
#[derive(Default)]
struct Turns {
    /// Each connection with something to ask, once.
    order: VecDeque<ConnId>,
    asks: HashMap<ConnId, VecDeque<Input>>,
}

impl Asks {
    /// None yet.
    pub fn new(reactors: usize) -> Asks {
        Asks { reactors: (0..reactors).map(|_| Turns::default()).collect(), next: 0 }
    }

    /// Takes one on; gives back what is none.
    pub fn push(&mut self, input: Input) -> Result<(), Input> {
        let Some(conn) = asker(&input) else { return Err(input) };
        let turns = &mut self.reactors[usize::from(conn.reactor)];
        let asks = turns.asks.entry(conn).or_default();
        if asks.is_empty() {
            turns.order.push_back(conn);
        }
        asks.push_back(input);
        Ok(())
    }

    /// The next one, of the reactors that may be answered.
    pub fn pop(&mut self, may_answer: impl Fn(usize) -> bool) -> Option<Input> {
        let count = self.reactors.len();
        let reactor = (0..count).map(|ahead| (self.next + ahead) % count).find(|reactor| self.waits(*reactor, &may_answer))?;
        self.next = (reactor + 1) % count;
        self.reactors[reactor].pop()
    }

    /// Whether there is one, of the reactors that may be answered.
    pub fn has_any(&self, may_answer: impl Fn(usize) -> bool) -> bool {
        (0..self.reactors.len()).any(|reactor| self.waits(reactor, &may_answer))
    }

    fn waits(&self, reactor: usize, may_answer: impl Fn(usize) -> bool) -> bool {
        !self.reactors[reactor].order.is_empty() && may_answer(reactor)
    }
}

impl Turns {
    fn pop(&mut self) -> Option<Input> {
        let conn = self.order.pop_front()?;
        let asks = self.asks.get_mut(&conn)?;
        let input = asks.pop_front();
        if asks.is_empty() {
            self.asks.remove(&conn);
        } else {
            self.order.push_back(conn);
        }
        input
    }
}

/// Who asks; nobody in the case of inputs that do not wait.
fn asker(input: &Input) -> Option<ConnId> {
    match input {
        Input::Join(join) => Some(join.conn),
        Input::Leave { conn, .. } | Input::Snapshot { conn, .. } => Some(*conn),
        Input::Publish(_)
        | Input::Announce(_)
        | Input::Ack(_)
        | Input::Escalated(_)
        | Input::Sequenced(_)
        | Input::Journal(_)
        | Input::Store(_)
        | Input::ReplayTaken { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::ids::RoomId;

    /// The `n`th thing that a connection asks for.
    fn ask(reactor: u16, slot: u32, n: u32) -> Input {
        let (conn, room) = (ConnId { reactor, slot, generation: 0 }, RoomId { slot: n, generation: 0 });
        if n.is_multiple_of(2) {
            Input::Leave { room, conn, delta: false }
        } else {
            Input::Snapshot { conn, request: None, room, digest: false }
        }
    }

    /// Reactor and slot of who asked, and which of its asks it is.
    fn told(input: &Input) -> (u16, u32, u32) {
        match input {
            Input::Leave { room, conn, .. } | Input::Snapshot { conn, room, .. } => (conn.reactor, conn.slot, room.slot),
            _ => panic!("nothing else was asked"),
        }
    }

    #[test]
    fn who_asks_for_much_delays_the_others_by_one() {
        let mut asks = Asks::new(1);
        for n in 0..100 {
            asks.push(ask(0, 1, n)).unwrap();
        }
        asks.push(ask(0, 2, 0)).unwrap();
        let first: Vec<_> = (0..3).map(|_| told(&asks.pop(|_| true).unwrap())).collect();
        assert_eq!(first, [(0, 1, 0), (0, 2, 0), (0, 1, 1)]);
    }

    #[test]
    fn a_reactor_that_may_not_be_answered_holds_up_no_other() {
        let mut asks = Asks::new(2);
        asks.push(ask(0, 1, 0)).unwrap();
        asks.push(ask(1, 1, 0)).unwrap();
        assert_eq!(told(&asks.pop(|reactor| reactor == 1).unwrap()), (1, 1, 0));
        assert!(asks.pop(|reactor| reactor == 1).is_none() && !asks.has_any(|reactor| reactor == 1));
        assert!(asks.has_any(|_| true));
        assert_eq!(told(&asks.pop(|_| true).unwrap()), (0, 1, 0));
        assert!(asks.reactors.iter().all(|turns| turns.asks.is_empty() && turns.order.is_empty()), "nothing is kept of who asks no more");
    }

    #[test]
    fn reactors_have_their_turn_one_after_the_other() {
        let mut asks = Asks::new(3);
        for (reactor, n) in (0..3).flat_map(|reactor| [(reactor, 0), (reactor, 1)]) {
            asks.push(ask(reactor, 1, n)).unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| asks.pop(|_| true)).map(|input| told(&input).0).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    proptest! {
        /// All comes out, once, in each connection's order; and between two of one connection each other one that waits has its turn.
        #[test]
        fn each_keeps_its_order_and_all_have_their_turn(steps in prop::collection::vec(prop::option::of((0u16..2, 0u32..4)), 1..200)) {
            let mut asks = Asks::new(2);
            let (mut asked, mut answered) = (HashMap::<(u16, u32), u32>::new(), HashMap::<(u16, u32), u32>::new());
            // How many others of its reactor were answered since each began to wait, or had its turn.
            let mut passed_over = HashMap::<(u16, u32), usize>::new();
            let drain = vec![None; steps.len()];
            for step in steps.into_iter().chain(drain) {
                let Some((reactor, slot)) = step else {
                    let Some(input) = asks.pop(|_| true) else {
                        prop_assert_eq!(&asked, &answered);
                        continue;
                    };
                    let (reactor, slot, n) = told(&input);
                    let turn = answered.entry((reactor, slot)).or_default();
                    prop_assert_eq!(n, *turn);
                    *turn += 1;
                    passed_over.remove(&(reactor, slot));
                    for (_, passed) in passed_over.iter_mut().filter(|((other, _), _)| *other == reactor) {
                        *passed += 1;
                        prop_assert!(*passed <= 3, "three others, each once");
                    }
                    if asked[&(reactor, slot)] > answered[&(reactor, slot)] {
                        passed_over.insert((reactor, slot), 0);
                    }
                    continue;
                };
                let n = asked.entry((reactor, slot)).or_default();
                prop_assert!(asks.push(ask(reactor, slot, *n)).is_ok());
                *n += 1;
                passed_over.entry((reactor, slot)).or_default();
            }
            prop_assert_eq!(asked, answered);
        }
    }
}
