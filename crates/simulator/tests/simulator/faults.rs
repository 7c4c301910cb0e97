//! What goes wrong on purpose goes wrong exactly so, and the write has happened or not as the fault says.

use crate::support::{OPEN, TestSimulator, WEBHOOKS, eventually, integration, start, webhook};
use genesys_simulator::{Fault, FaultKind};
use serde_json::{Value, json};
use std::time::Duration;

fn body() -> Value {
    webhook("one", "https://hooks.example.com/")
}

async fn create_under(fault: Fault) -> (TestSimulator, crate::support::Reply) {
    let running = start().await;
    running.simulator.faults().add(fault.times(1)).unwrap();
    let answer = running.call("POST", WEBHOOKS, Some(body())).await;
    (running, answer)
}

#[tokio::test]
async fn refusals_come_before_or_after_the_write() {
    for (kind, status, applied, expected) in [
        (FaultKind::RateLimited, None, false, 429),
        (FaultKind::RateLimited, None, true, 429),
        (FaultKind::Error, None, false, 500),
        (FaultKind::Error, Some(503), true, 503),
        (FaultKind::NotJson, None, false, 502),
        (FaultKind::NotJson, Some(504), true, 504),
    ] {
        let fault = Fault { status, applied, ..Fault::new(kind) };
        let (running, answer) = create_under(fault).await;
        assert_eq!(answer.status, expected, "{kind:?}");
        assert_eq!(running.names().len(), usize::from(applied), "{kind:?} applied: {applied}");
        assert_eq!(answer.body.is_string(), kind == FaultKind::NotJson);
        assert!(!answer.header("inin-correlation-id").is_empty());
        assert_eq!(answer.header("retry-after"), if kind == FaultKind::RateLimited { "1" } else { "" });
        assert_eq!(running.call("POST", WEBHOOKS, Some(body())).await.status, 201, "once was enough");
        assert_eq!(running.simulator.faults().list()[0].applied_count, 1);
    }
}

#[tokio::test]
async fn a_cut_connection_leaves_the_caller_in_doubt() {
    for applied in [false, true] {
        let running = start().await;
        let fault = Fault { applied, ..Fault::new(FaultKind::Cut) };
        running.simulator.faults().add(fault.times(1)).unwrap();
        let request = running.request("POST", WEBHOOKS).bearer_auth(&running.token).json(&body());
        let error = request.send().await.unwrap_err();
        assert!(error.is_request() && !error.is_timeout(), "{error:?}");
        assert_eq!(running.names().len(), usize::from(applied));
        assert_eq!(running.simulator.requests().latest.back().unwrap().status, 0);
        assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 200, "the next connection works");
    }
}

#[tokio::test]
async fn a_slow_answer_outlasts_the_callers_patience_before_or_after_the_write() {
    for applied in [false, true] {
        let running = start().await;
        let fault = Fault { applied, delay_ms: 600_000, ..Fault::new(FaultKind::Slow) };
        running.simulator.faults().add(fault.times(1)).unwrap();
        let request = running.request("POST", WEBHOOKS).bearer_auth(&running.token).json(&body());
        assert!(request.timeout(Duration::from_millis(500)).send().await.unwrap_err().is_timeout());
        assert_eq!(running.names().len(), usize::from(applied));
        eventually(|| {
            running.simulator.requests().latest.back().is_some_and(|last| last.method == "POST" && last.status == 0)
        })
        .await;
    }
    let (_, answer) = create_under(Fault { delay_ms: 1, ..Fault::new(FaultKind::Slow) }).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn a_fault_after_the_write_waits_for_a_write_that_succeeds() {
    let running = start().await;
    running.simulator.faults().add(Fault::new(FaultKind::Error).applied().times(1)).unwrap();
    assert_eq!(running.call("POST", WEBHOOKS, Some(json!({}))).await.status, 400);
    assert_eq!(running.call("POST", WEBHOOKS, Some(body())).await.status, 500);
}

#[tokio::test]
async fn a_revoked_token_is_no_token_any_more() {
    let (running, answer) = create_under(Fault::new(FaultKind::TokenRevoked)).await;
    assert_eq!(answer.status, 401);
    assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 401);
    let running = TestSimulator { token: running.new_token().await, ..running };
    assert_eq!(running.call("POST", WEBHOOKS, Some(body())).await.status, 201);
}

#[tokio::test]
async fn a_concurrent_writer_makes_the_etag_stale_and_what_he_wrote_is_there() {
    for (status, expected) in [(None, 412), (Some(409), 409), (Some(400), 400)] {
        let running = start().await;
        let created = running.call("POST", WEBHOOKS, Some(body())).await;
        let path = format!("{WEBHOOKS}/{}", created.id());
        let fault = Fault { status, ..Fault::new(FaultKind::ConcurrentWriter) };
        running.simulator.faults().add(fault.times(1)).unwrap();
        let etag = running.call("GET", &path, None).await.header("etag").to_owned();
        let stale = running.put(&path, &etag, &body()).await;
        assert_eq!(stale.status, expected);
        assert!(stale.body["message"].as_str().unwrap().contains("does not match the current version"));
        let fresh = running.call("GET", &path, None).await;
        assert_eq!(fresh.body["customProperties"]["changed.by.somebody.else"], "change 1");
        assert_eq!(running.put(&path, fresh.header("etag"), &fresh.body).await.status, 200);
    }
}

#[tokio::test]
async fn without_versions_the_other_writers_change_is_kept_beside_ours() {
    let running = start().await;
    let created = running.call("POST", OPEN, Some(integration("one", "https://hooks.example.com/"))).await;
    let path = format!("{OPEN}/{}", created.id());
    running.simulator.faults().add(Fault::new(FaultKind::ConcurrentWriter).times(1)).unwrap();
    let patched = running.call("PATCH", &path, Some(json!({ "name": "renamed" }))).await;
    assert_eq!((patched.status, &patched.body["name"]), (200, &json!("renamed")));
    assert!(patched.body["webhookHeaders"]["X-Changed-By-Somebody-Else"].is_string());
    running.simulator.faults().add(Fault::new(FaultKind::ConcurrentWriter).status(409).times(1)).unwrap();
    assert_eq!(running.call("PATCH", &path, Some(json!({ "name": "again" }))).await.status, 409);
}

#[tokio::test]
async fn a_create_can_fail_later() {
    let running = start().await;
    running.simulator.faults().add(Fault::new(FaultKind::CreateFails).times(1)).unwrap();
    let created = running.call("POST", OPEN, Some(integration("one", "https://hooks.example.com/"))).await;
    let shown = running.call("GET", &format!("{OPEN}/{}", created.id()), None).await;
    assert_eq!((&shown.body["createStatus"], shown.body["createError"].is_object()), (&json!("Error"), true));
}

#[tokio::test]
async fn retry_after_can_be_a_date_and_the_token_endpoint_has_its_own_form() {
    let (_, answer) = create_under(Fault { http_date: true, ..Fault::new(FaultKind::RateLimited) }).await;
    assert!(answer.header("retry-after").ends_with(" GMT"));

    let running = start().await;
    running.simulator.faults().add(Fault::new(FaultKind::RateLimited).times(1).on("POST", "/oauth/token")).unwrap();
    let limited = running.ask_for_token("simulator-client", "simulator-secret").await;
    assert_eq!((limited.status, &limited.body["error"]), (400, &json!("invalid_request")));
    assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 200, "only where it was told");
}
