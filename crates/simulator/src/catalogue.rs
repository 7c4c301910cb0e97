//! The event types that there are. Out of scope: showing them (`api`).

const SUBJECTS: &str =
    "call callback chat cobrowse conversation email evaluation message participant queue user voicemail";

/// What can happen. Together with the subjects more than one page of 100.
const HAPPENINGS: &str =
    "created answered connected disconnected held resumed transferred updated routed escalated wrapup ended";

/// Every event type: `call:created`, `call:answered`, …, then the configured ones.
pub(crate) fn catalogue(extra: &[String]) -> Vec<String> {
    let of = |subject: &'static str| HAPPENINGS.split(' ').map(move |happening| format!("{subject}:{happening}"));
    let known = SUBJECTS.split(' ').flat_map(of);
    let mut names: Vec<String> = known.collect();
    for name in extra {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
