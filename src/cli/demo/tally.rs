//! What one of the demo's clients received: frames, latency by lane, and what each alert overtook.
//!
//! Latency is from the making of the event to the moment at which the client has the whole message, on one clock, since
//! publisher and client are one process. It includes what the daemon holds on purpose (metrics until their room's flush, an
//! update of a key that had one less than 100 ms ago) and the wait for a slow line; but a conflated value counts from the
//! newest one, which is the one that is sent. What was replayed on joining is not measured, nor is what others publish.

use std::borrow::Cow;
use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::lane::{Lane, PerLane};
use crate::base::time::Mono;

use super::events::Stamp;

/// Alerts that are kept until they are taken; more than a screen shows.
const ALERTS_MAX: usize = 256;
/// The longest latency told apart.
const LATENCY_US_MAX: u64 = 120_000_000;

/// One client's.
#[derive(Debug)]
pub(super) struct Tally {
    /// By lane.
    pub lanes: PerLane<LaneTally>,
    /// Why the line is down, if it is.
    pub down: Option<String>,
    /// How often it was lost.
    pub losses: u64,
    alerts: Vec<AlertSeen>,
    /// The last metric's number of each series.
    arrived: Vec<u64>,
    /// How many metrics had certainly left the daemon's windows, by the newest event that says so.
    settled_n: u64,
    /// Rooms whose replay is not over.
    replays: usize,
}

/// One lane of one client.
#[derive(Debug)]
pub(super) struct LaneTally {
    /// Events received.
    pub frames: u64,
    /// Latency in microseconds since the start.
    pub total_us: Histogram<u64>,
    /// The same since it was last taken.
    pub recent_us: Histogram<u64>,
    /// The newest message, whole.
    pub latest: String,
}

/// An alert that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AlertSeen {
    /// Its room; with `seq` its name.
    pub room: String,
    /// Its number.
    pub seq: u64,
    /// What it says, short.
    pub text: String,
    /// How long it took, if the demo made it.
    pub latency_us: Option<u64>,
    /// Series of which an older value, published before the alert, had not arrived yet: each is a metric frame that was
    /// ahead in the daemon's queue for this client and behind on arrival.
    pub overtook: u64,
}

impl Tally {
    /// For a desk with that many metric series.
    pub(super) fn new(slots: usize) -> Tally {
        Tally {
            lanes: Lane::ALL.map(|_| LaneTally::new()),
            down: None,
            losses: 0,
            alerts: Vec::new(),
            arrived: vec![0; slots],
            settled_n: 0,
            replays: 0,
        }
    }

    /// The client joins that many rooms anew: what comes until all have caught up is replay.
    pub(super) fn joining(&mut self, rooms: usize) {
        self.replays = rooms;
        self.down = None;
    }

    /// The line is lost.
    pub(super) fn lost(&mut self, why: String) {
        self.down = Some(why);
        self.losses += 1;
    }

    /// Whether all rooms are joined.
    pub(super) fn is_live(&self) -> bool {
        self.replays == 0 && self.down.is_none()
    }

    /// The alerts that came since the last call.
    pub(super) fn take_alerts(&mut self) -> Vec<AlertSeen> {
        std::mem::take(&mut self.alerts)
    }

    /// Series of which a newer value waits in the daemon's queue for this client: one metric frame each.
    pub(super) fn waiting(&self) -> u64 {
        self.overtaken_by(self.settled_n)
    }

    /// Takes one message. The error is what the daemon says is wrong.
    pub(super) fn take(&mut self, text: &str, now: Mono) -> Result<(), String> {
        let message: Received<'_> = serde_json::from_str(text).map_err(|error| format!("the daemon sent {text:?}: {error}"))?;
        match (&*message.kind, message.lane.as_deref().and_then(Lane::parse), message.data) {
            ("error", ..) => Err(format!("the daemon refused: {}", message.message.unwrap_or_default())),
            ("caught_up", ..) => {
                self.replays = self.replays.saturating_sub(1);
                Ok(())
            }
            (_, Some(lane), Some(data)) => {
                self.event(text, &message, lane, &Data::read(data), now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn event(&mut self, text: &str, message: &Received<'_>, lane: Lane, data: &Data<'_>, now: Mono) {
        let measured = data.demo.filter(|_| self.replays == 0);
        let latency_us = measured.map(|stamp| now.0.saturating_sub(stamp.sent_ns) / 1000);
        self.lanes[lane.index()].record(text, latency_us);
        let stamp = data.demo.unwrap_or_default();
        self.settled_n = self.settled_n.max(stamp.settled_n.unwrap_or_default());
        if let Some(n) = stamp.n {
            self.arrive(n);
        } else if lane == Lane::Alert && self.replays == 0 && self.alerts.len() < ALERTS_MAX {
            self.alerts.push(AlertSeen {
                room: message.room.as_deref().unwrap_or_default().to_owned(),
                seq: message.seq.and_then(|seq| seq.get().parse().ok()).unwrap_or_default(),
                text: brief(message, data),
                latency_us,
                // What somebody else publishes overtakes as much as the newest event of ours that is here tells.
                overtook: self.overtaken_by(stamp.settled_n.unwrap_or(self.settled_n)),
            });
        }
    }

    fn arrive(&mut self, n: u64) {
        let slots = self.arrived.len() as u64;
        let arrived = &mut self.arrived[(n.saturating_sub(1) % slots) as usize];
        *arrived = n.max(*arrived);
    }

    /// Series whose last value up to metric number `settled_n` has neither arrived nor been replaced by a newer one that has.
    fn overtaken_by(&self, settled_n: u64) -> u64 {
        let slots = self.arrived.len() as u64;
        let waits = |(slot, arrived): (u64, &u64)| {
            let rounds = (settled_n + slots - 1 - slot) / slots;
            rounds > 0 && *arrived < (rounds - 1) * slots + slot + 1
        };
        (0..).zip(&self.arrived).filter(|pair| waits(*pair)).count() as u64
    }
}

impl LaneTally {
    fn new() -> LaneTally {
        LaneTally { frames: 0, total_us: histogram(), recent_us: histogram(), latest: String::new() }
    }

    fn record(&mut self, text: &str, latency_us: Option<u64>) {
        self.frames += 1;
        self.latest.clear();
        self.latest.push_str(text);
        if let Some(latency_us) = latency_us {
            self.total_us.saturating_record(latency_us);
            self.recent_us.saturating_record(latency_us);
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order and the digits are allowed")
}

/// A message in a few words: who, what, how much.
pub(super) fn in_short(text: &str) -> String {
    serde_json::from_str(text)
        .map(|message: Received<'_>| brief(&message, &message.data.map(Data::read).unwrap_or_default()))
        .unwrap_or_default()
}

fn brief(message: &Received<'_>, data: &Data<'_>) -> String {
    let mut text = format!("{} {}", message.kind, message.room.as_deref().unwrap_or_default());
    if let Some(status) = &data.new_status {
        add(&mut text, format_args!("  {status} {}", data.reason.as_deref().unwrap_or_default()));
    } else if let Some(told) = &data.message {
        add(&mut text, format_args!("  {told}"));
    } else {
        for value in [&data.series, &data.side, &data.symbol, &data.price, &data.current_equity, &data.value].into_iter().flatten() {
            add(&mut text, format_args!(" {value}"));
        }
    }
    text.retain(|c| !c.is_control());
    text
}

fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("writing to a String does not fail");
}

/// What is read of a message; the rest is ignored.
#[derive(Deserialize)]
struct Received<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    lane: Option<Cow<'a, str>>,
    /// A number in an event, and one for each lane in `subscribed`.
    #[serde(borrow, default)]
    seq: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// What is read of an event's `data`.
#[derive(Default, Deserialize)]
struct Data<'a> {
    #[serde(default)]
    demo: Option<Stamp>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    new_status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    series: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    side: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    symbol: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    price: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    current_equity: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    value: Option<Cow<'a, str>>,
}

impl<'a> Data<'a> {
    /// Data of another shape, which anybody may publish while the demo runs, has nothing for us.
    fn read(data: &'a RawValue) -> Data<'a> {
        serde_json::from_str(data.get()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(n: u64, sent_us: u64) -> String {
        format!(
            r#"{{"type":"metrics.update","room":"account:c01","lane":"metric","key":"k","rev":1,"ts":1,"data":{{"demo":{{"sent_ns":{},"n":{n}}}}}}}"#,
            sent_us * 1000
        )
    }

    fn alert(seq: u64, settled_n: u64) -> String {
        format!(
            r#"{{"type":"RISK_ALERT","room":"challenge:c01","lane":"alert","seq":{seq},"ts":1,"data":{{"message":"daily drawdown 4.12 of 5.00 %","demo":{{"sent_ns":5000,"settled_n":{settled_n}}}}}}}"#
        )
    }

    fn overtook(tally: &mut Tally, settled_n: u64) -> u64 {
        tally.take(&alert(1, settled_n), Mono(9000)).unwrap();
        tally.take_alerts().remove(0).overtook
    }

    /// Against a model that lists the metrics: which series' newest settled value is newer than what arrived?
    #[test]
    fn an_alert_overtook_the_series_whose_settled_value_is_not_there() {
        for arrived in [vec![], vec![1], vec![2, 3], vec![1, 2, 3], vec![1, 5, 3], vec![4, 5, 6], vec![9, 8, 7]] {
            for settled_n in 0..12 {
                let mut tally = Tally::new(3);
                for n in &arrived {
                    tally.take(&metric(*n, 1), Mono(2000)).unwrap();
                }
                let newest = |numbers: &mut dyn Iterator<Item = u64>, slot| numbers.filter(|n| (n - 1) % 3 == slot).max();
                let waits = |slot| newest(&mut (1..=settled_n), slot) > newest(&mut arrived.iter().copied(), slot);
                let expected = (0..3).filter(|slot| waits(*slot)).count() as u64;
                assert_eq!(overtook(&mut tally, settled_n), expected, "{arrived:?} {settled_n}");
                assert_eq!(tally.waiting(), expected);
            }
        }
    }

    #[test]
    fn latency_counts_from_the_stamp_and_replay_does_not_count() {
        let mut tally = Tally::new(1);
        tally.joining(1);
        assert!(!tally.is_live());
        tally.take(&metric(1, 1), Mono(1_000_000)).unwrap();
        tally.take(&alert(1, 1), Mono(1_000_000)).unwrap();
        tally.take(r#"{"type":"subscribed","room":"account:c01","epoch":"e","seq":{"alert":0,"update":0}}"#, Mono(0)).unwrap();
        tally.take(r#"{"type":"caught_up","room":"account:c01"}"#, Mono(0)).unwrap();
        assert!(tally.is_live() && tally.take_alerts().is_empty());
        tally.take(&metric(2, 100), Mono(350_000)).unwrap();
        let lane = &tally.lanes[Lane::Metric.index()];
        assert_eq!((lane.frames, lane.total_us.len(), lane.total_us.max()), (2, 1, 250));
    }

    #[test]
    fn an_alert_of_somebody_else_is_shown_without_a_latency() {
        let mut tally = Tally::new(1);
        tally.take(&alert(1, 1), Mono(0)).unwrap();
        tally.take_alerts();
        tally
            .take(r#"{"type":"RISK_ALERT","room":"challenge:c01","lane":"alert","seq":9,"data":{"message":"a\u001b[2Jb"}}"#, Mono(1))
            .unwrap();
        tally.take(r#"{"type":"RISK_ALERT","room":"challenge:c01","lane":"alert","seq":10,"data":[1]}"#, Mono(1)).unwrap();
        let alerts = tally.take_alerts();
        assert_eq!((alerts[0].seq, &*alerts[0].text, alerts[0].latency_us), (9, "RISK_ALERT challenge:c01  a[2Jb", None));
        assert_eq!(alerts.iter().map(|alert| alert.overtook).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn an_error_of_the_daemon_is_told() {
        let error = Tally::new(1).take(r#"{"type":"error","id":1,"code":103,"message":"access denied"}"#, Mono(0)).unwrap_err();
        assert!(error.contains("access denied"));
        assert!(Tally::new(1).take("not json", Mono(0)).is_err());
    }

    #[test]
    fn messages_in_short() {
        let status = r#"{"type":"CHALLENGE_FAILED","room":"challenge:c02","lane":"alert","seq":2,"data":{"old_status":"ACTIVE","new_status":"FAILED","reason":"MAX_DAILY_DRAWDOWN"}}"#;
        assert_eq!(in_short(status), "CHALLENGE_FAILED challenge:c02  FAILED MAX_DAILY_DRAWDOWN");
        let equity = r#"{"type":"EQUITY_UPDATED","room":"challenge:c02","lane":"update","data":{"current_equity":"9999.10"}}"#;
        assert_eq!(in_short(equity), "EQUITY_UPDATED challenge:c02 9999.10");
        assert_eq!(in_short(""), "");
    }
}
