//! Faults that can be switched on: what goes wrong, where, and how often.
//!
//! A fault applies to requests of `/api` and `/oauth` whose method and path match. Faults are tried in the order in which they were added;
//! of those that end a request, one applies.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429 with `Retry-After`; on the token endpoint, 400 in the vendor's form.
    RateLimited,
    /// A 5xx (or the given status) with the vendor's error body.
    Error,
    /// An answer that is not JSON: a proxy's page, or `body`; 502 unless `status` says otherwise.
    NotJson,
    /// The connection is cut instead of an answer.
    Cut,
    /// The answer is late by `delayMs`. With `applied`, the wait comes after the write.
    Slow,
    TokenRevoked,
    /// Another writer modifies the object just before this PUT, PATCH or DELETE is carried out. `status` chooses how the mismatch is answered.
    ConcurrentWriter,
    /// An integration created now ends with `createStatus` `Error`.
    CreateFails,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// Only requests with this method (upper case); any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only paths that start so, for example `/oauth/token`; `/api/` when absent.
    #[serde(default = "api_path")]
    pub path: String,
    /// How often; without it, until it is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Whether the request is carried out all the same, and only its answer lost or replaced. Requests that fail by themselves are answered
    /// as they are and not counted. For `rate_limited`, `error`, `not_json`, `cut` and `slow`.
    #[serde(default)]
    pub applied: bool,
    /// The status to answer, 400 to 599.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// For `slow`, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// For `rate_limited`, in seconds.
    #[serde(default = "one")]
    pub retry_after_s: u64,
    /// For `rate_limited`: `Retry-After` as an HTTP date.
    #[serde(default)]
    pub http_date: bool,
    /// For `not_json`: what is answered instead of a proxy's page; may be empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

fn api_path() -> String {
    "/api/".to_owned()
}

fn one() -> u64 {
    1
}

impl Fault {
    /// A fault of this kind on every request to `/api/`, until it is cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            method: None,
            path: api_path(),
            times: None,
            applied: false,
            status: None,
            delay_ms: 0,
            retry_after_s: one(),
            http_date: false,
            body: None,
        }
    }

    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    #[must_use]
    pub fn on(self, method: &str, path: &str) -> Self {
        Self { method: Some(method.to_owned()), path: path.to_owned(), ..self }
    }

    #[must_use]
    pub fn applied(self) -> Self {
        Self { applied: true, ..self }
    }

    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    fn check(&self) -> Result<(), &'static str> {
        let may_apply = self.ends() || self.kind == FaultKind::Slow;
        match self.status {
            _ if self.applied && !may_apply => Err("applied: only for rate_limited, error, not_json, cut and slow"),
            None | Some(400 | 409 | 412) => Ok(()),
            Some(_) if self.kind == FaultKind::ConcurrentWriter => Err("status: a version mismatch is 412, 409 or 400"),
            Some(400..=599) => Ok(()),
            Some(_) => Err("status: expected 400 to 599"),
        }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        let written = matches!(method, "PUT" | "PATCH" | "DELETE");
        self.times != Some(0)
            && path.starts_with(&self.path)
            && self.method.as_ref().is_none_or(|wanted| wanted == method)
            && (self.kind != FaultKind::ConcurrentWriter || written)
            && (self.kind != FaultKind::CreateFails || method == "POST")
    }

    fn ends(&self) -> bool {
        matches!(self.kind, FaultKind::RateLimited | FaultKind::Error | FaultKind::NotJson | FaultKind::Cut)
    }
}

/// A fault as it stands: with its id and how often it has applied.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultState {
    /// Names it in the log of requests.
    pub id: u64,
    pub applied_count: u64,
    /// The fault; `times` counts down.
    pub fault: Fault,
}

#[derive(Debug, Default)]
pub struct Faults(Mutex<FaultTable>);

#[derive(Debug, Default)]
struct FaultTable {
    last_id: u64,
    list: Vec<FaultState>,
}

impl Faults {
    /// Switches a fault on and returns its id; the error says which field is wrong.
    pub fn add(&self, fault: Fault) -> Result<u64, &'static str> {
        fault.check()?;
        let mut table = self.0.lock();
        table.last_id += 1;
        let id = table.last_id;
        table.list.push(FaultState { id, applied_count: 0, fault });
        Ok(id)
    }

    pub fn clear(&self) {
        self.0.lock().list.clear();
    }

    /// All faults with their counts, those that are used up included.
    pub fn list(&self) -> Vec<FaultState> {
        self.0.lock().list.clone()
    }

    pub(crate) fn take(&self, method: &str, path: &str) -> Vec<(u64, Fault)> {
        let mut table = self.0.lock();
        let mut taken: Vec<(u64, Fault)> = Vec::new();
        for state in &mut table.list {
            let ended = taken.iter().any(|(_, fault)| fault.ends());
            if !state.fault.matches(method, path) || (ended && state.fault.ends()) {
                continue;
            }
            state.fault.times = state.fault.times.map(|times| times.saturating_sub(1));
            state.applied_count += 1;
            taken.push((state.id, state.fault.clone()));
        }
        taken
    }

    /// Takes the count back of a fault that found nothing to spoil.
    pub(crate) fn give_back(&self, id: u64) {
        if let Some(state) = self.0.lock().list.iter_mut().find(|state| state.id == id) {
            state.applied_count = state.applied_count.saturating_sub(1);
            state.fault.times = state.fault.times.map(|times| times.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultKind, Faults};

    #[test]
    fn a_fault_applies_as_often_as_told_where_it_was_told() {
        let faults = Faults::default();
        faults.add(Fault::new(FaultKind::Error).times(2).on("POST", "/api/v2/webhooks")).unwrap();
        assert!(faults.take("GET", "/api/v2/webhooks/webhooks").is_empty());
        assert!(faults.take("POST", "/oauth/token").is_empty());
        assert_eq!(faults.take("POST", "/api/v2/webhooks/webhooks").len(), 1);
        faults.give_back(1);
        for expected in [1, 1, 0] {
            assert_eq!(faults.take("POST", "/api/v2/webhooks/webhooks").len(), expected);
        }
        assert_eq!(faults.list()[0].applied_count, 2);
    }

    #[test]
    fn of_the_faults_that_end_a_request_one_applies_and_the_other_keeps_its_count() {
        let faults = Faults::default();
        for kind in [FaultKind::Slow, FaultKind::Cut, FaultKind::Error] {
            faults.add(Fault::new(kind).times(1)).unwrap();
        }
        let kinds = |taken: Vec<(u64, Fault)>| taken.into_iter().map(|(_, fault)| fault.kind).collect::<Vec<_>>();
        assert_eq!(kinds(faults.take("GET", "/api/v2/x")), [FaultKind::Slow, FaultKind::Cut]);
        assert_eq!(kinds(faults.take("GET", "/api/v2/x")), [FaultKind::Error]);
    }

    #[test]
    fn impossible_faults_are_refused() {
        let faults = Faults::default();
        assert!(faults.add(Fault::new(FaultKind::Error).status(200)).is_err());
        assert!(faults.add(Fault::new(FaultKind::TokenRevoked).applied()).is_err());
        assert!(faults.add(Fault::new(FaultKind::ConcurrentWriter).status(500)).is_err());
    }
}
