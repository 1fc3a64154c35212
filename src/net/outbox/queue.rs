//! One lane of an outbox: first in, first out, where a newer state of a key takes the place of the queued one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::base::ids::KeyId;
use crate::wire::frame::{Kind, Tag};

use super::{Entry, PushOutcome};

/// Up to this many entries a key is found by looking at all of them; beyond, by an index.
const SCAN_MAX: usize = 16;

/// What an entry of the index takes: key, position, a byte of the table, and the places that are free.
const INDEX_ENTRY_BYTES: usize = 20;

type Index = HashMap<KeyId, u64, RandomState>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// Entries popped since the index was made; positions in the index count from its making.
    popped: u64,
    /// Where each key's state is, if there are more than [`SCAN_MAX`] entries.
    index: Option<Box<Index>>,
}

impl Queue {
    /// Queues or conflates. Returns also the bytes of the entry that was replaced, or those of this one if it was the older one.
    pub(super) fn push(&mut self, entry: Entry) -> (PushOutcome, usize) {
        if let Kind::State { key, rev, .. } = entry.frame.tag.kind
            && let Some(at) = self.find(key)
        {
            return (PushOutcome::Conflated, self.replace(at, &entry, rev));
        }
        self.append(entry);
        (PushOutcome::Queued, 0)
    }

    /// Conflates if that does not add bytes; how many it saves. `None`: there is nothing to replace.
    pub(super) fn replace_if_shorter(&mut self, entry: &Entry) -> Option<usize> {
        let Kind::State { key, rev, .. } = entry.frame.tag.kind else { return None };
        let at = self.find(key)?;
        let len = entry.frame.as_websocket().len();
        if len > self.entries[at].frame.as_websocket().len() {
            return None;
        }
        Some(self.replace(at, entry, rev) - len)
    }

    /// The place keeps its time: how long a key has waited does not start anew with each change of it.
    fn replace(&mut self, at: usize, entry: &Entry, rev: u64) -> usize {
        let old = &mut self.entries[at];
        if matches!(old.frame.tag.kind, Kind::State { rev: queued, .. } if queued > rev) {
            return entry.frame.as_websocket().len();
        }
        let before = old.frame.as_websocket().len();
        old.frame = Arc::clone(&entry.frame);
        old.live = entry.live;
        before
    }

    fn append(&mut self, entry: Entry) {
        if let (Some(index), Kind::State { key, .. }) = (&mut self.index, entry.frame.tag.kind) {
            index.insert(key, self.popped + self.entries.len() as u64);
        }
        self.entries.push_back(entry);
        if self.index.is_none() && self.entries.len() > SCAN_MAX {
            self.make_index();
        }
    }

    fn find(&self, wanted: KeyId) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&wanted).map(|position| (position - self.popped) as usize),
            None => self.entries.iter().position(|entry| matches!(entry.frame.tag.kind, Kind::State { key, .. } if key == wanted)),
        }
    }

    fn make_index(&mut self) {
        self.popped = 0;
        let mut index = Box::<Index>::default();
        for (at, entry) in self.entries.iter().enumerate() {
            if let Kind::State { key, .. } = entry.frame.tag.kind {
                index.insert(key, at as u64);
            }
        }
        self.index = Some(index);
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        if let Some(index) = &mut self.index {
            self.popped += 1;
            if let Kind::State { key, .. } = entry.frame.tag.kind {
                index.remove(&key);
            }
        }
        Some(entry)
    }

    /// Removes the entries that are not wanted; how many, and their bytes.
    pub(super) fn remove(&mut self, is_unwanted: impl Fn(&Tag) -> bool) -> (usize, usize) {
        let (before, mut bytes) = (self.entries.len(), 0);
        self.entries.retain(|entry| {
            let keep = !is_unwanted(&entry.frame.tag);
            bytes += if keep { 0 } else { entry.frame.as_websocket().len() };
            keep
        });
        let removed = before - self.entries.len();
        if removed > 0 && self.index.take().is_some() && self.entries.len() > SCAN_MAX {
            self.make_index();
        }
        (removed, bytes)
    }

    /// Removes everything; how many bytes that was.
    pub(super) fn clear(&mut self) -> usize {
        let bytes = self.entries.iter().map(|entry| entry.frame.as_websocket().len()).sum();
        *self = Queue::default();
        bytes
    }

    /// Gives memory back if it is empty and has more than `slots`.
    pub(super) fn shrink(&mut self, slots: usize) {
        if self.entries.is_empty() && (self.index.is_some() || self.entries.capacity() > slots) {
            *self = Queue::default();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// What its places take, and its index.
    pub(super) fn own_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.index.as_ref().map_or(0, |index| index.capacity() * INDEX_ENTRY_BYTES)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
