//! What the lifecycle object tells of past runs: the last report, when a run succeeded last, and why runs are refused.
//!
//! Promise: a report that cannot be read is none. Out of scope: what follows from it (`crate::metrics`).

use crate::metrics::{ReconcileFigures, Reconciled, RefusedRuns};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LastRuns {
    report: Option<ReconcileFigures>,
    last_success_at_ms: Option<u64>,
    refused: Option<RefusedRuns>,
}

/// The body of the answer to [`LifecycleCall::Last`](super::LifecycleCall::Last), of JSON texts as they are stored.
pub fn last_runs_json(report: Option<&str>, last_success_at_ms: Option<&str>, refused: Option<&str>) -> String {
    let also = |key: &str, kept: Option<&str>| kept.map(|kept| format!(r#","{key}":{kept}"#)).unwrap_or_default();
    let (success, refused) = (also("lastSuccessAtMs", last_success_at_ms), also("refused", refused));
    format!(r#"{{"report":{}{success}{refused}}}"#, report.unwrap_or("null"))
}

pub fn read_last_runs(body: &str) -> Reconciled {
    let Ok(LastRuns { report, last_success_at_ms, refused }) = serde_json::from_str(body) else {
        return Reconciled::default();
    };
    Reconciled { last: report.map(|report| ReconcileFigures { last_success_at_ms, ..report }), refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_past_runs_comes_back() {
        let report = r#"{"started_at_ms":1,"duration_ms":2,"planned":0,"applied":0,"failed":0,"unchanged":0}"#;
        let json = last_runs_json(Some(report), Some("5"), Some(r#"{"sinceMs":7,"code":"no_region"}"#));
        assert_eq!(
            json,
            format!(r#"{{"report":{report},"lastSuccessAtMs":5,"refused":{{"sinceMs":7,"code":"no_region"}}}}"#)
        );
        let read = read_last_runs(&json);
        assert_eq!(read.refused, Some(RefusedRuns { since_ms: 7, code: "no_region".into() }));
        assert_eq!(read.last.map(|run| (run.started_at_ms, run.last_success_at_ms)), Some((1, Some(5))));
        assert_eq!(read_last_runs(&last_runs_json(None, None, None)), Reconciled::default());
        assert_eq!(read_last_runs(r#"{"report":{"planned":"x"}}"#), Reconciled::default());
    }
}
