//! What the trail says of letters that were stored.
//!
//! Promise: a letter of somebody who proved who they are has an entry of its own; of those that nobody vouches for a batch has
//! one entry a source and reason, because whoever can send requests could otherwise write as many entries, and nothing removes
//! them for a year.

use super::{Action, Draft};
use crate::messages::DeadLetter;

/// The entries of the letters of one batch, in their order. An entry that stands for several counts them and names the first.
pub fn letter_drafts<'a>(letters: impl IntoIterator<Item = &'a DeadLetter>) -> Vec<Draft> {
    // A batch has some fifty letters of a handful of reasons: looking through them is cheaper than any index.
    let mut drafts: Vec<(bool, Draft)> = vec![];
    for letter in letters {
        let draft = Draft {
            source: Some(letter.source.clone()).filter(|source| !source.is_empty()),
            status_code: letter.last_status,
            error: Some(letter.reason.clone()),
            correlation_id: Some(letter.id.clone()),
            ..Draft::new(Action::DlqRoute, "consumer")
        };
        let same = |(verified, known): &&mut (bool, Draft)| {
            !*verified && !letter.verified && known.source == draft.source && known.error == draft.error
        };
        match drafts.iter_mut().find(same) {
            Some((_, known)) => known.count = Some(known.count.unwrap_or(1).saturating_add(1)),
            None => drafts.push((letter.verified, draft)),
        }
    }
    drafts.into_iter().map(|(_, draft)| draft).collect()
}
