//! When an operator is told, and when not again.
//!
//! Promises:
//! - one outage is one alert and one recovery, however often its condition flickers: a condition has to hold for some
//!   evaluations before it is raised, and to be gone for some before it is cleared;
//! - what is not known, because an object did not answer, changes nothing;
//! - a notice keeps its identifier until it was delivered, so that a receiver recognises a second arrival;
//! - notices leave in the order in which they arose.
//!
//! Out of scope: measuring (`Conditions`), sending.

use crate::audit::{Action, Draft};
use serde::{Deserialize, Serialize};

/// Dead letters above which an alert is raised, where the configuration says nothing.
pub const DEFAULT_DEAD_LETTERS_OVER: u64 = 100;

/// Percent of what a Durable Object may store from which an alert is raised.
pub const STORAGE_ALERT_PERCENT: u64 = 80;

/// Evaluations (one every five minutes) for which a condition must be gone before its alert is cleared.
const CLEAR_AFTER: u32 = 3;

/// Least time between two evaluations that count, in milliseconds: three calls of an operator in a row are no quarter of an
/// hour. Shorter than the cron's five minutes, which are not exact.
const LEAST_STEP_MS: u64 = 240_000;

/// Notices that wait for a destination that does not answer. Beyond it the oldest raise is dropped with its recovery: an
/// outage that is over is what a late reader misses least.
const MAX_WAITING: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AlertKind {
    DeadLetters,
    CircuitOpen,
    Silence,
    Subscription,
    QuarantineBudget,
    /// A Durable Object is about to be full.
    Storage,
}

impl AlertKind {
    /// The name that is stored, sent and printed.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Evaluations for which the condition must hold. A reconciliation that fails once is mostly a vendor's hiccup that the
    /// next one repairs; the others have their own patience or are levels that do not flicker.
    const fn raise_after(self) -> u32 {
        match self {
            Self::Subscription => 2,
            Self::DeadLetters | Self::CircuitOpen | Self::Silence | Self::QuarantineBudget | Self::Storage => 1,
        }
    }
}

/// What holds at an evaluation. `None`: it could not be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    pub dead_letters: Option<u64>,
    /// Refused deliveries that were not kept, since the beginning of counting.
    pub not_quarantined: Option<u64>,
    /// Destinations whose circuit is open, by source.
    pub open_circuits: Option<Vec<String>>,
    pub silent: Option<Vec<String>>,
    /// Sources whose subscription could not be repaired.
    pub unrepaired: Option<Vec<String>>,
    /// How full the fullest Durable Object is, in percent.
    pub storage_percent: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub dead_letters_over: u64,
    /// After so long an alert that is still raised is told again; never where there is none. In milliseconds.
    pub repeat_after_ms: Option<u64>,
    /// Whether there is an alert destination: otherwise no notice waits.
    pub told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AlertEvent {
    Raised,
    Repeated,
    Recovered,
}

impl AlertEvent {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Identifier: the same at every attempt to deliver it.
    pub id: String,
    pub event: AlertEvent,
    pub kind: AlertKind,
    /// The source that it concerns, where it concerns one.
    pub subject: Option<String>,
    pub since_ms: u64,
    pub at_ms: u64,
    /// The figure that raised it, where it is one.
    pub value: Option<u64>,
}

#[derive(Serialize)]
struct Payload<'a> {
    r#type: String,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    kind: AlertKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    gateway: &'a str,
    summary: String,
}

impl Notice {
    /// The body that is sent: type, time and data, as Standard Webhooks advise. `gateway`: the address under which this
    /// gateway is known.
    pub fn payload(&self, gateway: &str) -> String {
        let data = Data {
            kind: self.kind,
            source: self.subject.as_deref(),
            since: crate::time::rfc3339(self.since_ms),
            value: self.value,
            gateway,
            summary: self.summary(),
        };
        let payload = Payload {
            r#type: format!("alert.{}", self.event.as_str()),
            timestamp: crate::time::rfc3339(self.at_ms),
            data,
        };
        // Strings and numbers only: serializing them cannot fail.
        serde_json::to_string(&payload).unwrap_or_default()
    }

    pub fn draft(&self) -> Draft {
        Draft {
            source: self.subject.clone(),
            error: Some(format!("{} {}", self.kind.as_str(), self.event.as_str())),
            correlation_id: Some(self.id.clone()),
            ..Draft::new(Action::Alert, "monitor")
        }
    }

    fn summary(&self) -> String {
        let source = self.subject.as_deref().unwrap_or_default();
        let what = match self.kind {
            AlertKind::DeadLetters => format!("{} dead letters are waiting", self.value.unwrap_or(0)),
            AlertKind::CircuitOpen => format!("the destination of {source} is failing, its deliveries wait"),
            AlertKind::Silence => format!("{source} has stopped delivering"),
            AlertKind::Subscription => {
                format!("the subscription of {source} is not as declared and could not be repaired")
            }
            AlertKind::QuarantineBudget => "refused deliveries are not kept: their quarantine budget is used up".into(),
            AlertKind::Storage => {
                format!("a Durable Object is {} % full: storageBytes in /metrics says which", self.value.unwrap_or(0))
            }
        };
        if self.event == AlertEvent::Recovered { format!("over: {what}") } else { what }
    }
}

/// One condition over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tracked {
    kind: AlertKind,
    subject: Option<String>,
    /// Evaluations in a row that spoke against the present state.
    against: u32,
    /// When the last of them was counted.
    counted_ms: Option<u64>,
    /// When it was raised; `None` while it is not.
    raised_ms: Option<u64>,
    told_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenAlert {
    pub kind: AlertKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub since_ms: u64,
}

/// Everything that is remembered of alerts from one evaluation to the next. Stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    tracked: Vec<Tracked>,
    waiting: Vec<Notice>,
    not_quarantined: Option<u64>,
}

impl Alerts {
    /// Takes in what holds at `now_ms`; answers the notices that arose. They also wait to be sent, where there is an alert destination.
    pub fn evaluate(&mut self, now_ms: u64, conditions: &Conditions, rules: Rules) -> Vec<Notice> {
        let mut notices = vec![];
        let letters = conditions.dead_letters;
        let over = letters.map(|n| one(n > rules.dead_letters_over));
        self.judge(AlertKind::DeadLetters, over, now_ms, rules, letters, &mut notices);
        let grown = conditions.not_quarantined.map(|n| {
            let before = self.not_quarantined.replace(n).unwrap_or(n);
            n.saturating_sub(before)
        });
        self.judge(AlertKind::QuarantineBudget, grown.map(|n| one(n > 0)), now_ms, rules, grown, &mut notices);
        let percent = conditions.storage_percent;
        let full = percent.map(|n| one(n >= STORAGE_ALERT_PERCENT));
        self.judge(AlertKind::Storage, full, now_ms, rules, percent, &mut notices);
        for (kind, subjects) in [
            (AlertKind::CircuitOpen, &conditions.open_circuits),
            (AlertKind::Silence, &conditions.silent),
            (AlertKind::Subscription, &conditions.unrepaired),
        ] {
            let holding = subjects.as_ref().map(|subjects| subjects.iter().cloned().map(Some).collect::<Vec<_>>());
            self.judge(kind, holding, now_ms, rules, None, &mut notices);
        }
        if rules.told {
            self.waiting.extend(notices.iter().cloned());
            self.bound();
        } else {
            self.waiting.clear();
        }
        notices
    }

    fn judge(
        &mut self,
        kind: AlertKind,
        holding: Option<Vec<Option<String>>>,
        now_ms: u64,
        rules: Rules,
        value: Option<u64>,
        notices: &mut Vec<Notice>,
    ) {
        let Some(holding) = holding else { return };
        for subject in &holding {
            if !self.tracked.iter().any(|tracked| (tracked.kind, &tracked.subject) == (kind, subject)) {
                let subject = subject.clone();
                self.tracked.push(Tracked { kind, subject, against: 0, counted_ms: None, raised_ms: None, told_ms: 0 });
            }
        }
        self.tracked.retain_mut(|tracked| {
            if tracked.kind != kind {
                return true;
            }
            let holds = holding.contains(&tracked.subject);
            let event = tracked.step(holds, now_ms, rules.repeat_after_ms);
            notices.extend(event.map(|event| tracked.notice(event, now_ms, value)));
            event != Some(AlertEvent::Recovered) && (holds || tracked.raised_ms.is_some())
        });
    }

    fn bound(&mut self) {
        while self.waiting.len() > MAX_WAITING {
            let first = self.waiting.remove(0);
            self.waiting.retain(|notice| {
                (notice.kind, &notice.subject, notice.since_ms) != (first.kind, &first.subject, first.since_ms)
            });
        }
    }

    pub fn next(&self) -> Option<&Notice> {
        self.waiting.first()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A notice was taken: a 2xx answered it.
    pub fn delivered(&mut self, id: &str) {
        self.waiting.retain(|notice| notice.id != id);
    }

    pub fn open(&self) -> Vec<OpenAlert> {
        let open = |tracked: &Tracked| {
            Some(OpenAlert { kind: tracked.kind, source: tracked.subject.clone(), since_ms: tracked.raised_ms? })
        };
        self.tracked.iter().filter_map(open).collect()
    }
}

fn one(holds: bool) -> Vec<Option<String>> {
    if holds { vec![None] } else { vec![] }
}

fn key(kind: AlertKind, subject: Option<&str>) -> String {
    subject.map_or_else(|| kind.as_str().into(), |subject| format!("{}.{subject}", kind.as_str()))
}

impl Tracked {
    /// One evaluation: what is to be told of it.
    fn step(&mut self, holds: bool, now_ms: u64, repeat_after_ms: Option<u64>) -> Option<AlertEvent> {
        let Some(_) = self.raised_ms else {
            if !holds {
                return None;
            }
            self.count(now_ms);
            if self.against < self.kind.raise_after() {
                return None;
            }
            (self.against, self.counted_ms) = (0, None);
            (self.raised_ms, self.told_ms) = (Some(now_ms), now_ms);
            return Some(AlertEvent::Raised);
        };
        if !holds {
            self.count(now_ms);
            return (self.against >= CLEAR_AFTER).then_some(AlertEvent::Recovered);
        }
        (self.against, self.counted_ms) = (0, None);
        let due = repeat_after_ms.is_some_and(|ms| now_ms.saturating_sub(self.told_ms) >= ms);
        if due {
            self.told_ms = now_ms;
        }
        due.then_some(AlertEvent::Repeated)
    }

    /// Counts an evaluation that speaks against the present state.
    fn count(&mut self, now_ms: u64) {
        if self.counted_ms.is_none_or(|ms| now_ms.saturating_sub(ms) >= LEAST_STEP_MS) {
            self.against = self.against.saturating_add(1);
            self.counted_ms = Some(now_ms);
        }
    }

    fn notice(&self, event: AlertEvent, now_ms: u64, value: Option<u64>) -> Notice {
        let since_ms = self.raised_ms.unwrap_or(now_ms);
        let (kind, subject) = (self.kind, self.subject.clone());
        let key = key(kind, subject.as_deref());
        // A repetition is a message of its own; raise and recovery happen once.
        let nth = if event == AlertEvent::Repeated { format!("-{now_ms}") } else { String::new() };
        let id = format!("alert-{since_ms}-{key}-{}{nth}", event.as_str());
        Notice { id, event, kind, subject, since_ms, at_ms: now_ms, value }
    }
}

#[cfg(test)]
mod tests;
