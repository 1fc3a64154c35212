//! The query of a request target: `name=value` pairs. Strict: a name that is not expected, or comes twice, is refused, so that a slip of the pen
//! does not list everybody where one was meant. Pure.

use crate::base::codes::{INVALID_FIELD, Refusal};

/// The parameters of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query of which these names are known.
    pub fn parse(text: &str, known: &[&str]) -> Result<Query, Refusal> {
        let mut pairs = Vec::<(String, String)>::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(Refusal::new(
                    INVALID_FIELD,
                    "the query is no UTF-8 in percent-encoding: write %XX with two hexadecimal digits",
                ));
            };
            if !known.contains(&name.as_str()) {
                return Err(unknown(&name, known));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(Refusal::new(INVALID_FIELD, format!("the query has `{name}` twice: give it once")));
            }
            pairs.push((name, value));
        }
        Ok(Query(pairs))
    }

    /// A parameter's value, if it is given and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::new(INVALID_FIELD, format!("the query lacks `{name}`: write ?{name}=…")))
    }
}

/// A parameter that there is not.
pub(super) fn unknown(name: &str, known: &[&str]) -> Refusal {
    let known = if known.is_empty() { "no parameter".to_owned() } else { known.join(", ") };
    Refusal::new(INVALID_FIELD, format!("the query's `{}` is not known: there is {known}", name.escape_debug()))
}

/// Percent-decoding (RFC 3986 section 2.1), with `+` for a blank as forms write it.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(digits[0])? * 16 + digit(digits[1])?) as u8
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::ident::encode_segment;

    const KNOWN: &[&str] = &["user", "room"];

    #[test]
    fn parameters_are_decoded_and_found() {
        let query = Query::parse("user=auth0%7C7&room=challenge%3a8f&", KNOWN).unwrap();
        assert_eq!((query.get("user"), query.required("room"), query.get("other")), (Some("auth0|7"), Ok("challenge:8f"), None));
        assert_eq!(Query::parse("user=a+b%2B", KNOWN).unwrap().get("user"), Some("a b+"));
        assert_eq!(Query::parse("", KNOWN), Ok(Query::default()));
        assert_eq!(Query::parse("user=&room", KNOWN).unwrap().get("user"), None, "empty is not given");
    }

    #[test]
    fn what_is_not_expected_is_refused() {
        for (text, says) in
            [("usr=a", "user, room"), ("user=a&user=b", "twice"), ("user=%4", "percent"), ("user=%zz", "percent"), ("user=%ff", "UTF-8")]
        {
            let refusal = Query::parse(text, KNOWN).unwrap_err();
            assert!(refusal.message.contains(says), "{text}: {}", refusal.message);
        }
        assert!(Query::parse("", KNOWN).unwrap().required("user").unwrap_err().message.contains("?user="));
    }

    proptest! {
        #[test]
        fn any_user_can_be_asked_for(user in "\\PC{1,20}") {
            let text = format!("user={}", encode_segment(&user));
            let query = Query::parse(&text, KNOWN).unwrap();
            prop_assert_eq!(query.get("user"), Some(&*user));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,40}") {
            Query::parse(&text, KNOWN).ok();
        }
    }
}
