//! Joins about which the authorizer is asked.

use super::*;
use crate::auth::{Answer, Failure, InquiryOptions};
use crate::net::clock::Clock;
use crate::net::link::{Door, Waker};
use crate::reactor::authorizer::{Authorizer, Word};

/// A session whose reactor has an authorizer, which a test speaks for.
struct Asked {
    desk: Desk,
    authorizer: Arc<Authorizer>,
    words: Arc<Link<Word>>,
}

impl Asked {
    fn new() -> Asked {
        let words = Arc::new(Link::new(8, Door::new(Waker::Thread(std::thread::current()))));
        let options = InquiryOptions { waiting_max: 8, answers_max: 8, kept_for: Duration::ZERO };
        let authorizer = Arc::new(Authorizer::new(options, vec![Arc::clone(&words)]));
        let mut desk = Desk::open(&[], &[]);
        desk.core.inquirer = Inquirer::new(Some(Arc::clone(&authorizer)));
        Asked { desk, authorizer, words }
    }

    fn say(&mut self, text: &str) {
        assert_eq!(self.desk.say(text), Next::Go);
    }

    /// The next join that comes to the hub, and what it knows of the authorizer's word.
    fn join(&mut self) -> (Box<Join>, Consent) {
        match self.desk.urgent.pop() {
            Some(Input::Join(join)) => (join.clone(), join.consent),
            other => panic!("{other:?}"),
        }
    }

    /// The hub says that neither pattern nor ownership allows the next join.
    fn unowned(&mut self) {
        let (join, consent) = self.join();
        assert_eq!(consent, Consent::ToBeAsked);
        self.desk.core.uplink.answered(1);
        self.desk.session.on_unowned(join, &mut self.desk.core, &mut self.desk.outbox);
    }

    /// The authorizer answers the next question.
    fn answer(&mut self, outcome: Result<Answer, Failure>) {
        let clock = Clock::start();
        let inquiry = self.authorizer.next(clock);
        self.authorizer.settle(&inquiry, outcome, Duration::ZERO, clock.mono());
        while let Some(word) = self.words.pop() {
            self.desk.core.inquirer.heard();
            self.desk.session.on_word(&word, &mut self.desk.core, &mut self.desk.outbox);
        }
    }

    fn heard(&mut self) -> Vec<String> {
        self.desk.heard()
    }
}

fn said(body: &str) -> Answer {
    Answer::parse(body.as_bytes()).unwrap()
}

/// ROM-02, ROM-03: allowed is put to the hub again with the word, denied is the hub's own denial, no answer says so.
#[test]
fn the_word_decides_a_join() {
    for (outcome, told) in
        [(Ok(said(r#"{"allow":false}"#)), r#""name":"access_denied""#), (Err(Failure::Timeout), r#""name":"auth_backend_unavailable""#)]
    {
        let mut asked = Asked::new();
        asked.say(r#"{"type":"subscribe","id":1,"room":"r"}"#);
        asked.unowned();
        assert!(asked.heard().is_empty(), "nothing is said before the word");
        asked.answer(outcome);
        let heard = asked.heard();
        assert!(heard.len() == 1 && heard[0].contains(told) && heard[0].contains(r#""id":1"#), "{heard:?}");
        assert!(asked.desk.urgent.pop().is_none());
        assert_eq!(asked.desk.core.stats.joins_denied.value(), u64::from(told.contains("access_denied")), "no answer is no denial");
    }
    let mut asked = Asked::new();
    asked.say(r#"{"type":"subscribe","id":1,"room":"r","history":3}"#);
    asked.unowned();
    asked.answer(Ok(said(r#"{"allow":true}"#)));
    let (join, consent) = asked.join();
    assert_eq!((consent, join.history, &*join.room), (Consent::Given, Some(3), "r"));
    asked.desk.grant(room(1), "r");
    assert_eq!(asked.heard()[0], r#"{"type":"subscribed"}"#);
}

/// A command about the room waits for the word, and one behind a second join of the room waits for that one.
#[test]
fn commands_wait_for_the_join_that_they_came_after() {
    let mut asked = Asked::new();
    for text in [
        r#"{"type":"subscribe","id":1,"room":"r"}"#,
        r#"{"type":"unsubscribe","id":2,"room":"r"}"#,
        r#"{"type":"subscribe","id":3,"room":"r"}"#,
        r#"{"type":"unsubscribe","id":4,"room":"r"}"#,
    ] {
        asked.say(text);
    }
    asked.unowned();
    asked.unowned();
    asked.say(r#"{"type":"snapshot","id":5,"room":"r"}"#);
    asked.say(r#"{"type":"ping","id":6}"#);
    assert_eq!(asked.heard(), [r#"{"type":"ok","id":6}"#], "what is about no room does not wait");
    asked.answer(Ok(said(r#"{"allow":true}"#)));
    assert_eq!(asked.join().1, Consent::Given);
    asked.desk.grant(room(1), "r");
    let heard = asked.heard();
    assert!(
        heard.iter().any(|text| text == r#"{"type":"ok","id":2}"#) && !heard.iter().any(|text| text.contains(r#""id":4"#)),
        "{heard:?}"
    );
    let (join, consent) = {
        assert!(matches!(asked.desk.urgent.pop(), Some(Input::Leave { .. })));
        asked.join()
    };
    assert_eq!((join.request.unwrap().as_json(), consent), ("3", Consent::ToBeAsked));
    asked.desk.grant(room(1), "r");
    let heard = asked.heard();
    assert!(heard.iter().any(|text| text == r#"{"type":"ok","id":4}"#), "{heard:?}");
    assert!(heard.last().unwrap().contains("not_member"), "{heard:?}");
}

/// LIM-07: what waits for the authorizer counts, and there is an end to it.
#[test]
fn what_waits_for_the_authorizer_is_bounded() {
    let mut asked = Asked::new();
    asked.desk.core.options.commands = None;
    let mut told = 0;
    for number in 0..3 * AWAITED_PER_CONN_MAX {
        asked.say(r#"{"type":"subscribe","id":1,"room":"r"}"#);
        match asked.heard().first() {
            None => asked.unowned(),
            Some(text) => {
                assert!(text.contains("queue_full") && number >= AWAITED_PER_CONN_MAX, "{text}");
                told += 1;
            }
        }
    }
    assert_eq!(told, 2 * AWAITED_PER_CONN_MAX);
}
