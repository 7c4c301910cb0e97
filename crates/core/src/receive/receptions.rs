//! The requests that an isolate is receiving, by number.
//!
//! Promise: adding, finding and removing cost the same however many there are. Out of scope: what becomes of them
//! (`super::Receiver`).

use super::body_budget::BodyPermit;
use super::steps::ReceiveOutcome;
use genesys_webhook::refusal::Refusal;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Reception {
    /// Place of its source in the configuration.
    pub(super) source: usize,
    /// As `RequestHead` reads it.
    pub(super) head: String,
    pub(super) delivery_id: String,
    pub(super) received_at_ms: u64,
    pub(super) permit: BodyPermit,
    /// Size of its body, once it was read.
    pub(super) size_bytes: u64,
    /// What is known of the size of a body that is not read.
    pub(super) omitted_bytes: u64,
    pub(super) limit_bytes: u64,
    /// Why it cannot be verified, while the rate limiter is asked.
    pub(super) refused: Option<Refusal>,
    /// What it comes to once its message was sent.
    pub(super) outcome: Option<ReceiveOutcome>,
}

/// Receptions by number. Numbers grow with time, so the oldest are in front.
#[derive(Debug, Default)]
pub(super) struct Receptions {
    /// `None`: settled.
    list: VecDeque<Option<Reception>>,
    first_id: u32,
}

impl Receptions {
    pub(super) fn push(&mut self, reception: Reception) -> u32 {
        let behind = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push_back(Some(reception));
        self.first_id.wrapping_add(behind)
    }

    fn place(&self, id: u32) -> Option<usize> {
        usize::try_from(id.wrapping_sub(self.first_id)).ok()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Reception> {
        self.list.get(self.place(id)?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Reception> {
        let place = self.place(id)?;
        self.list.get_mut(place)?.as_mut()
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Reception> {
        let place = self.place(id)?;
        let removed = self.list.get_mut(place)?.take();
        while self.list.front().is_some_and(Option::is_none) {
            self.list.pop_front();
            self.first_id = self.first_id.wrapping_add(1);
        }
        removed
    }

    /// The oldest, where it began at `until_ms` or before.
    pub(super) fn remove_oldest(&mut self, until_ms: u64) -> Option<Reception> {
        let oldest = self.list.front()?.as_ref()?;
        if oldest.received_at_ms <= until_ms { self.remove(self.first_id) } else { None }
    }

    /// How many places there are, those of settled requests between others included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}
