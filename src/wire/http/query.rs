//! The parameters of a request's query, by name.

use std::borrow::Cow;

use super::{HttpRefusal, Request};
use crate::wire::query;

impl Request<'_> {
    /// A parameter, percent-decoded (RFC 3986 section 2.1). One that comes twice is refused: two who read the request would differ about it.
    pub fn param(&self, name: &str) -> Result<Option<Cow<'_, str>>, HttpRefusal> {
        let pairs = self.query.into_iter().flat_map(|query| query.split('&'));
        let mut values = pairs.filter_map(|pair| {
            let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
            (found == name).then_some(value)
        });
        let value = values.next();
        if values.next().is_some() {
            return Err(HttpRefusal::bad(format!("the query has `{name}` twice: send it once")));
        }
        let decoded = value.map(|value| decode(value).ok_or_else(|| HttpRefusal::bad(format!("`{name}` is not percent-encoded UTF-8"))));
        decoded.transpose()
    }

    /// Refuses a parameter that is none of these: a slip of the pen would go unnoticed.
    pub fn check_params(&self, known: &[&str]) -> Result<(), HttpRefusal> {
        let pairs = self.query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty());
        let mut names = pairs.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
        match names.find(|name| !known.contains(name)) {
            Some(name) => Err(query::unknown(name, known).into()),
            None => Ok(()),
        }
    }
}

fn decode(value: &str) -> Option<Cow<'_, str>> {
    if !value.contains('%') {
        return Some(value.into());
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            bytes.push((digit(0)? * 16 + digit(1)?) as u8);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::super::{Head, parse_head};
    use super::*;

    fn param(query: &str, name: &str) -> Result<Option<String>, u16> {
        let text = format!("GET /v1/events{query} HTTP/1.1\r\nHost: x\r\n\r\n");
        let Ok(Head::Complete { request, .. }) = parse_head(text.as_bytes()) else { panic!("{text}") };
        request.param(name).map(|value| value.map(Cow::into_owned)).map_err(|refusal| refusal.status)
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_name_and_decoded_once() {
        assert_eq!(param("?room=challenge%3A8f&x=1", "room"), Ok(Some("challenge:8f".into())));
        assert_eq!(param("?room=user:a%2540b", "room"), Ok(Some("user:a%40b".into())));
        assert_eq!(param("?bedroom=1&rooms=2", "room"), Ok(None));
        assert_eq!(
            (param("", "room"), param("?room", "room"), param("?room=", "room")),
            (Ok(None), Ok(Some(String::new())), Ok(Some(String::new())))
        );
    }

    /// LIM-05.
    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        let text = "GET /v1/poll?room=a&&histroy=5 HTTP/1.1\r\nHost: x\r\n\r\n";
        let Ok(Head::Complete { request, .. }) = parse_head(text.as_bytes()) else { panic!("{text}") };
        let refused = request.check_params(&["room", "history"]).unwrap_err();
        assert_eq!((refused.status, refused.refusal.message.as_str()), (400, "the query's `histroy` is not known: there is room, history"));
        request.check_params(&["room", "histroy"]).unwrap();
    }

    /// LIM-05.
    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for query in ["?room=a&room=b", "?room=%", "?room=%4", "?room=%4g", "?room=%+1", "?room=%ff"] {
            assert_eq!(param(query, "room"), Err(400), "{query}");
        }
    }
}
