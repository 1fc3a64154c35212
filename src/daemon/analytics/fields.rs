//! What fills, cash flows and marks say: the members of `data` by the names that backends give them. Pure.
//!
//! | what | members, the first that is there |
//! | --- | --- |
//! | symbol | `symbol`, `ticker`, `market_ticker`, `instrument` |
//! | quantity | `quantity`, `qty`, `size`, `count`; with `side` (`buy`, `sell`, `long`, `short`) it has no sign, without one it has |
//! | price of a fill | `price`, `fill_price`, `execution_price` |
//! | price of a mark | `mark`, `mark_price`, `price`, `last`, `last_price`, `mid`, `close` |
//! | fee | `fee`, `commission`; none: 0 |
//! | amount of a cash flow | `amount`; deposited, or with a minus withdrawn |
//! | when | `executed_at`, `timestamp`, `ts`, `time`: Unix milliseconds, or a text such as `2026-11-20T14:03:00.123Z`; none: when the hub accepted it |
//! | name | `trade_id`, `fill_id`, `execution_id`, `transfer_id`, else the event's `event_id`: one of a name counts once |
//!
//! Numbers are texts of decimals, or JSON numbers, which are read as they are written and never become floats.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::journal::accounts::{Input, InputKind};

use super::time;

/// How much of a value a message shows.
const SHOWN_CHARS_MAX: usize = 40;
/// Longer texts are no numbers, symbols or names.
const TEXT_BYTES_MAX: usize = 200;

/// What the envelope says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    /// The room: whose the input is, if it is somebody's.
    pub(super) room: &'a str,
    pub(super) event_id: Option<&'a str>,
    /// When the hub accepted it.
    pub(super) ts_ms: u64,
}

type Members<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// Reads an input of that kind, or says what is wrong with it, where, and what to do.
pub(super) fn read(kind: InputKind, envelope: Envelope<'_>, data: &str) -> Result<Input, String> {
    let members: Members<'_> =
        serde_json::from_str(data).map_err(|_| "`data` is no object: send one with the members of a fill".to_owned())?;
    let ts_ms = match first(&members, &["executed_at", "timestamp", "ts", "time"]) {
        Some((name, raw)) => moment(name, raw)?,
        None => envelope.ts_ms,
    };
    let input = Input { account: (kind != InputKind::Mark).then(|| envelope.room.into()), kind, ts_ms, ..Input::default() };
    match kind {
        InputKind::Mark => {
            Ok(Input { symbol: Some(text(&members, "symbol", SYMBOLS)?), price: Some(price(&members, MARKS, false)?), ..input })
        }
        InputKind::Flow => {
            let name = name(&members, envelope)?;
            Ok(Input { amount: Some(number(&members, "amount", &["amount"])?), name, ..input })
        }
        InputKind::Fill | InputKind::Status | InputKind::Bad => Ok(Input {
            symbol: Some(text(&members, "symbol", SYMBOLS)?),
            quantity: Some(quantity(&members)?),
            price: Some(price(&members, PRICES, true)?),
            fee: first(&members, FEES).map(|_| number(&members, "fee", FEES)).transpose()?,
            name: name(&members, envelope)?,
            ..input
        }),
    }
}

/// What `data` calls the input, if that can be read.
pub(super) fn name_of(data: &str) -> Option<Box<str>> {
    let members: Members<'_> = serde_json::from_str(data).ok()?;
    text(&members, "name", NAMES).ok()
}

/// The user that `data` names.
pub(super) fn user(data: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(data).ok()?;
    let (_, raw) = first(&members, &["user_id"])?;
    plain(raw).map(Cow::into_owned)
}

const SYMBOLS: &[&str] = &["symbol", "ticker", "market_ticker", "instrument"];
const PRICES: &[&str] = &["price", "fill_price", "execution_price"];
const MARKS: &[&str] = &["mark", "mark_price", "price", "last", "last_price", "mid", "close"];
const NAMES: &[&str] = &["trade_id", "fill_id", "execution_id", "transfer_id"];
const FEES: &[&str] = &["fee", "commission"];

/// The first member of these names that is there and not null.
fn first<'a>(members: &Members<'a>, names: &[&'static str]) -> Option<(&'static str, &'a str)> {
    names.iter().find_map(|name| Some((*name, members.get(*name)?.get()))).filter(|(_, raw)| *raw != "null")
}

fn wanted<'a>(members: &Members<'a>, what: &str, names: &[&'static str]) -> Result<(&'static str, &'a str), String> {
    first(members, names).ok_or_else(|| format!("there is no {what}: give `{}`", names.join("`, or `")))
}

/// A string as it is, or a number's digits.
fn plain(raw: &str) -> Option<Cow<'_, str>> {
    if raw.starts_with('"') {
        return serde_json::from_str(raw).ok().map(|text: String| Cow::Owned(text));
    }
    raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then_some(Cow::Borrowed(raw))
}

fn text(members: &Members<'_>, what: &str, names: &[&'static str]) -> Result<Box<str>, String> {
    let (name, raw) = wanted(members, what, names)?;
    let text = plain(raw).filter(|text| !text.is_empty() && text.len() <= TEXT_BYTES_MAX);
    text.map(Box::from).ok_or_else(|| format!("`{name}` is {}: write a text of 1 to {TEXT_BYTES_MAX} bytes", shown(raw)))
}

fn number(members: &Members<'_>, what: &str, names: &[&'static str]) -> Result<Box<str>, String> {
    let (name, raw) = wanted(members, what, names)?;
    plain(raw).filter(|text| is_number(text)).map(Box::from).ok_or_else(|| no_number(name, raw))
}

/// A price. Fills may be at 0, as what expires without worth is; a mark of 0 is a feed's fault that would end every challenge that holds the symbol.
fn price(members: &Members<'_>, names: &[&'static str], may_be_zero: bool) -> Result<Box<str>, String> {
    let price = number(members, "price", names)?;
    let is_zero = !price.split(['e', 'E']).next().is_some_and(|digits| digits.bytes().any(|digit| (b'1'..=b'9').contains(&digit)));
    if price.starts_with('-') || is_zero && !may_be_zero {
        let least = if may_be_zero { "not below 0" } else { "above 0" };
        return Err(format!("the price is {}: prices are {least}", shown(&price)));
    }
    Ok(price)
}

fn no_number(name: &str, raw: &str) -> String {
    format!("`{name}` is {}, which is no number: write a decimal such as \"187.25\"", shown(raw))
}

/// Whether it begins as a decimal does; the rest is judged where it is read.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    text.len() <= TEXT_BYTES_MAX && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
}

/// The quantity with its sign.
fn quantity(members: &Members<'_>) -> Result<Box<str>, String> {
    const NAMES: &[&str] = &["quantity", "qty", "size", "count"];
    let (name, raw) = wanted(members, "quantity", NAMES)?;
    let quantity = plain(raw).filter(|text| is_number(text)).ok_or_else(|| no_number(name, raw))?;
    let Some((_, raw)) = first(members, &["side"]) else { return Ok(quantity.into()) };
    let side = plain(raw).unwrap_or_default().to_ascii_lowercase();
    let is_bought = match &*side {
        "buy" | "long" => true,
        "sell" | "short" => false,
        _ => return Err(format!("`side` is {}: write `buy` or `sell`", shown(raw))),
    };
    if quantity.starts_with('-') {
        return Err(format!("`{name}` is {} beside a `side`: write it without a sign, or leave `side` out", shown(&quantity)));
    }
    let digits = quantity.strip_prefix('+').unwrap_or(&quantity);
    Ok(if is_bought { digits.into() } else { format!("-{digits}").into() })
}

fn name(members: &Members<'_>, envelope: Envelope<'_>) -> Result<Option<Box<str>>, String> {
    match first(members, NAMES) {
        Some(_) => text(members, "name", NAMES).map(Some),
        None => Ok(envelope.event_id.map(Box::from)),
    }
}

fn moment(name: &str, raw: &str) -> Result<u64, String> {
    let is_text = raw.starts_with('"');
    let ms = plain(raw).and_then(|text| if is_text { time::parse(&text) } else { text.parse().ok() });
    // What would be the year 1973 in milliseconds is one of our days in seconds.
    let ms = ms.filter(|ms| (100_000_000_000..=i64::MAX.cast_unsigned() / 2).contains(ms));
    ms.ok_or_else(|| {
        format!("`{name}` is {}: write Unix milliseconds as an integer, or a text such as \"2026-11-20T14:03:00.123Z\"", shown(raw))
    })
}

fn shown(raw: &str) -> String {
    let mut shown: String = raw.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < raw.len() {
        shown.push('…');
    }
    format!("`{shown}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: Envelope<'static> = Envelope { room: "challenge:c1", event_id: Some("e1"), ts_ms: 1_700_000_000_000 };

    fn fill(data: &str) -> Result<Input, String> {
        read(InputKind::Fill, ENVELOPE, data)
    }

    /// TRP-02, X25: decimals come as they were written; the hub's time stands in for one that is not given.
    #[test]
    fn a_fill_is_read_by_the_names_that_backends_use() {
        let read = fill(r#"{"symbol":"AAPL","side":"SELL","quantity":"10.50","price":187.2500,"commission":0.35,"trade_id":77}"#).unwrap();
        let expected = Input {
            account: Some("challenge:c1".into()),
            kind: InputKind::Fill,
            ts_ms: 1_700_000_000_000,
            symbol: Some("AAPL".into()),
            quantity: Some("-10.50".into()),
            price: Some("187.2500".into()),
            fee: Some("0.35".into()),
            amount: None,
            name: Some("77".into()),
        };
        assert_eq!(read, expected);
        let other = fill(r#"{"ticker":"X","qty":-2,"fill_price":"1e2","fee":null,"executed_at":"2026-11-20T14:03:00.123Z"}"#).unwrap();
        assert_eq!((other.quantity.as_deref(), other.price.as_deref(), other.fee.as_deref()), (Some("-2"), Some("1e2"), None));
        assert_eq!((other.name.as_deref(), other.ts_ms), (Some("e1"), 1_795_183_380_123));
        assert_eq!(user(r#"{"user_id":"a:b"}"#).as_deref(), Some("a:b"));
        assert_eq!((user(r#"{"user_id":null}"#), user("1")), (None, None));
    }

    #[test]
    fn flows_and_marks_are_read() {
        let flow = read(InputKind::Flow, ENVELOPE, r#"{"amount":"-100","timestamp":1700000000001}"#).unwrap();
        assert_eq!((flow.amount.as_deref(), flow.ts_ms, flow.name.as_deref()), (Some("-100"), 1_700_000_000_001, Some("e1")));
        let mark = read(InputKind::Mark, ENVELOPE, r#"{"symbol":"X","last":"1.5","close":"1"}"#).unwrap();
        assert_eq!((mark.account, mark.price.as_deref()), (None, Some("1.5")));
    }

    /// X15: what is wrong, where, and what to do.
    #[test]
    fn what_is_wrong_is_told() {
        let told = |data: &str| fill(data).unwrap_err();
        assert_eq!(
            told(r#"{"side":"buy","quantity":1,"price":1}"#),
            "there is no symbol: give `symbol`, or `ticker`, or `market_ticker`, or `instrument`"
        );
        assert!(told(r#"{"symbol":"","quantity":1,"price":1}"#).contains("`symbol` is `\"\"`"));
        assert!(told(r#"{"symbol":"X","quantity":true,"price":1}"#).contains("`quantity` is `true`, which is no number"));
        assert!(told(r#"{"symbol":"X","quantity":"ten","price":1}"#).contains("no number"));
        assert!(told(r#"{"symbol":"X","quantity":1,"side":"hold","price":1}"#).contains("write `buy` or `sell`"));
        assert!(told(r#"{"symbol":"X","quantity":-1,"side":"buy","price":1}"#).contains("without a sign"));
        assert!(told(r#"{"symbol":"X","quantity":1}"#).contains("there is no price"));
        for bad in ["1700000000", "1700000000.5", "\"yesterday\"", "99999999999999999999", "{}"] {
            assert!(told(&format!(r#"{{"symbol":"X","quantity":1,"price":1,"ts":{bad}}}"#)).contains("Unix milliseconds"), "{bad}");
        }
        assert!(told(r#"{"symbol":"X","quantity":1,"price":-5}"#).contains("not below 0"));
        assert!(fill(r#"{"symbol":"X","quantity":-1,"price":"0.00"}"#).is_ok(), "it expired without worth");
        for bad in ["0", "\"0.00\"", "-3", "\"-0.1\"", "\"0e5\""] {
            let told = read(InputKind::Mark, ENVELOPE, &format!(r#"{{"symbol":"X","price":{bad}}}"#)).unwrap_err();
            assert!(told.contains("above 0"), "{bad}: {told}");
        }
        assert!(told("[1]").contains("no object"));
        assert!(read(InputKind::Flow, ENVELOPE, "{}").unwrap_err().contains("there is no amount"));
    }
}
