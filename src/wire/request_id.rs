//! The `id` of a command or a publish, echoed in exactly one answer.

use std::fmt;

/// An `id` as its sender wrote it: the raw JSON text of an integer or a string, at most
/// [`REQUEST_ID_BYTES_MAX`](crate::base::limits::REQUEST_ID_BYTES_MAX) bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Wraps raw JSON text that the caller has checked to be an integer or a string within the size limit.
    pub(super) fn from_raw(raw: &str) -> RequestId {
        RequestId(raw.into())
    }

    /// The raw JSON text, quotes included where it is a string.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl From<u64> for RequestId {
    fn from(number: u64) -> RequestId {
        RequestId(number.to_string().into())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
