//! One call, with tokens, retries, pace and budget.

use crate::clock::{Clock, block_on};
use crate::vendor::{API, FakeVendor, InjectedFault, LOGIN};
use genesys_client::call::ApiCall;
use genesys_client::{Client, Error, OAuthTokens, RunBudget, Runtime as _, Secret};
use std::sync::Arc;

pub(crate) type TestTokens = OAuthTokens<FakeVendor, Arc<Clock>>;
pub(crate) type TestClient = Client<FakeVendor, Arc<Clock>, TestTokens>;

pub(crate) fn client(vendor: &FakeVendor) -> TestClient {
    let tokens = OAuthTokens::new(vendor.clone(), vendor.clock.clone(), LOGIN, "id", Secret::new("client-secret"));
    Client::new(vendor.clone(), vendor.clock.clone(), tokens, API)
}

fn get(client: &TestClient) -> Result<u16, Error> {
    block_on(client.call(&ApiCall::get("/api/v2/eventtypes", "eventtype:read"))).map(|answer| answer.status)
}

#[test]
fn a_401_leads_to_one_new_token_and_one_repetition() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    assert_eq!(get(&client).unwrap(), 200);
    vendor.state().faults.push_back(InjectedFault::TokenRevoked);
    assert_eq!(get(&client).unwrap(), 200);
    assert_eq!(vendor.state().token_requests, 2);
    assert_eq!(client.requests_sent(), 3);
}

#[test]
fn a_second_401_is_an_error_and_not_a_loop() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    vendor.state().faults.extend([
        InjectedFault::TokenRevoked,
        InjectedFault::TokenRevoked,
        InjectedFault::TokenRevoked,
    ]);
    let error = get(&client).unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(401), "unauthorized"));
    assert_eq!(vendor.state().token_requests, 2);
    assert_eq!(client.requests_sent(), 2);
}

#[test]
fn a_401_between_other_failures_still_costs_only_one_new_token() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    vendor.state().faults.extend([
        InjectedFault::ErrorBefore(503),
        InjectedFault::TokenRevoked,
        InjectedFault::NotJson,
        InjectedFault::ConnectionRefused,
    ]);
    assert_eq!(get(&client).unwrap(), 200);
    assert_eq!(vendor.state().token_requests, 2);
}

#[test]
fn retry_after_is_obeyed() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    vendor.state().faults.push_back(InjectedFault::LimitedBefore(45));
    let before = vendor.clock.now_ms();
    assert_eq!(get(&client).unwrap(), 200);
    assert!(vendor.clock.now_ms() - before >= 45_000);
}

#[test]
fn a_retry_after_that_is_too_long_is_given_up_at_once() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    vendor.state().faults.push_back(InjectedFault::LimitedBefore(181));
    let error = get(&client).unwrap_err();
    assert_eq!((error.code(), client.requests_sent()), ("rate_limited", 1));
}

#[test]
fn four_attempts_and_no_more() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    vendor.state().faults.extend([InjectedFault::ErrorBefore(503); 9]);
    let error = get(&client).unwrap_err();
    assert_eq!((error.status(), client.requests_sent()), (Some(503), 4));
    assert!(error.to_string().contains("ctx"), "the body's contextId is the correlation id: {error}");
}

#[test]
fn what_does_not_pass_is_not_repeated() {
    for status in [400, 403, 404, 501] {
        let vendor = FakeVendor::new();
        let client = client(&vendor);
        vendor.state().faults.push_back(InjectedFault::ErrorBefore(status));
        assert_eq!((get(&client).unwrap_err().status(), client.requests_sent()), (Some(status), 1));
    }
}

#[test]
fn nothing_is_sent_beyond_the_budget() {
    let vendor = FakeVendor::new();
    let limited = client(&vendor).with_budget(RunBudget { max_requests: 1, ..RunBudget::UNLIMITED });
    assert_eq!(get(&limited).unwrap(), 200);
    assert_eq!(get(&limited).unwrap_err().code(), "out_of_requests");
    let late = client(&vendor).with_budget(RunBudget { deadline_ms: vendor.clock.now_ms(), ..RunBudget::UNLIMITED });
    assert_eq!(get(&late).unwrap_err().code(), "out_of_time");
}

#[test]
fn a_wait_that_would_pass_the_deadline_is_not_begun_and_the_error_says_why() {
    let vendor = FakeVendor::new();
    let client =
        client(&vendor).with_budget(RunBudget { deadline_ms: vendor.clock.now_ms() + 10_000, ..RunBudget::UNLIMITED });
    vendor.state().faults.push_back(InjectedFault::LimitedBefore(20));
    assert_eq!(get(&client).unwrap_err().code(), "rate_limited");
    assert!(vendor.clock.now_ms() < crate::clock::START_MS + 10_000);
}

#[test]
fn the_rate_limit_headers_keep_a_long_run_below_the_limit() {
    let vendor = FakeVendor::new();
    vendor.state().allowed = 300;
    let client = client(&vendor);
    for _ in 0..1_000 {
        assert_eq!(get(&client).unwrap(), 200);
    }
    assert_eq!(vendor.state().refused_by_limit, 0);
    let minutes = (vendor.clock.now_ms() - crate::clock::START_MS) / 60_000;
    assert!((3..=5).contains(&minutes), "1,000 requests at 300 a minute took {minutes} minutes");
}

#[test]
fn all_pages_are_read() {
    let vendor = FakeVendor::new();
    vendor.state().event_types = (0..250).map(|number| format!("type:{number}")).collect();
    let client = client(&vendor);
    let types = block_on(client.event_types()).unwrap();
    assert_eq!((types.len(), client.requests_sent()), (250, 3));
    assert_eq!(types[249].name, "type:249");
}

#[test]
fn an_endless_list_ends_in_an_error() {
    let vendor = FakeVendor::new();
    vendor.state().page_size = 1;
    vendor.state().event_types = (0..201).map(|number| format!("type:{number}")).collect();
    let client = client(&vendor);
    assert_eq!(block_on(client.event_types()).unwrap_err().code(), "endless_list");
    assert_eq!(client.requests_sent(), 200);
}

#[tokio::test]
async fn the_futures_are_send_where_the_transports_are() {
    let vendor = FakeVendor::new();
    let tokens = Arc::new(OAuthTokens::new(vendor.clone(), vendor.clock.clone(), LOGIN, "id", Secret::new("s")));
    let client = Arc::new(Client::new(vendor.clone(), vendor.clock.clone(), tokens, API));
    let spawned = tokio::spawn(async move {
        let options = crate::reconcile::options();
        let mut state = genesys_client::reconcile::ReconcileState::default();
        let mut audit = Vec::new();
        genesys_client::reconcile::reconcile(
            &client,
            &[crate::reconcile::webhook("a")],
            &options,
            &mut state,
            &mut audit,
        )
        .await
    });
    assert_eq!(spawned.await.unwrap().applied, 1);
}
