//! What a state says to those who have the one before: what has changed, as a merge patch (RFC 7396).

use crate::wire::frame::{Frame, Kind};
use crate::wire::merge_patch;

use super::encode::{self, EventText};
use super::room::Sent;

/// A patch longer than this share of the state is not worth it.
const PATCH_PERCENT_MAX: usize = 70;

/// Adds the delta form to the frame of `text`, on the state that was sent before. Without one where a patch cannot say what has changed, or
/// not in so much fewer bytes.
pub(super) fn add(frame: Frame, text: &EventText<'_>, sent: Option<&Sent>, patch: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Frame {
    let Some((base, from, to)) = states(text, sent) else { return frame };
    patch.clear();
    if !merge_patch::diff(from, to, to.len() * PATCH_PERCENT_MAX / 100, patch) {
        return frame;
    }
    let Ok(patch) = std::str::from_utf8(patch) else { return frame };
    scratch.clear();
    encode::event(scratch, &EventText { base: Some(base), data: Some(patch), ..*text });
    // The delta of a short state may be the longer one, for it names its base.
    if scratch.len() < frame.as_text().len() { frame.with_delta(base, scratch) } else { frame }
}

/// The revision and the data of the state before, and the data now.
fn states<'a>(text: &EventText<'a>, sent: Option<&'a Sent>) -> Option<(u64, &'a str, &'a str)> {
    let sent = sent?;
    let Kind::State { rev, .. } = sent.frame.tag.kind else { return None };
    Some((rev, std::str::from_utf8(sent.data()?).ok()?, text.data?))
}
