//! Histories of requests whose calls come in any order.

use super::*;
use proptest::prelude::*;

/// What a driver may do with one of its requests.
#[derive(Clone, Debug)]
enum DriverCall {
    Open { is_signed: bool, is_outside: bool, declared_bytes: Option<u64> },
    Grow(u8, u64),
    Arrive(u8),
    Limit(u8, bool),
    Sent(u8),
    Fail(u8),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<DriverCall>> {
    let step = prop_oneof![
        (any::<bool>(), any::<bool>(), proptest::option::of(0u64..6_000_000)).prop_map(
            |(is_signed, is_outside, declared_bytes)| DriverCall::Open { is_signed, is_outside, declared_bytes }
        ),
        (any::<u8>(), 0u64..6_000_000).prop_map(|(at, bytes)| DriverCall::Grow(at, bytes)),
        any::<u8>().prop_map(DriverCall::Arrive),
        (any::<u8>(), any::<bool>()).prop_map(|(at, is_within)| DriverCall::Limit(at, is_within)),
        any::<u8>().prop_map(DriverCall::Sent),
        any::<u8>().prop_map(DriverCall::Fail),
        (0u64..LEASE_MS).prop_map(DriverCall::Wait),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    /// Whatever order the driver's calls come in: each request is counted at most once, none is accepted that is not genuine
    /// and from an allowed address, and what is over holds nothing.
    #[test]
    fn every_history_adds_up(steps in steps()) {
        let mut driver = Driver::new(r#","rate_limit":"LIMIT","allow_networks":["203.0.113.0/24"]"#);
        // Number, whether it is genuine and allowed.
        let mut opened: Vec<(u32, bool)> = vec![];
        let mut counted: Vec<u32> = vec![];
        for step in steps {
            let at = |at: u8, opened: &[(u32, bool)]| opened.get(usize::from(at) % opened.len().max(1)).copied();
            let (id, next, settled) = match step {
                DriverCall::Open { is_signed, is_outside, declared_bytes } => {
                    let address = if is_outside { "198.51.100.1" } else { "203.0.113.7" };
                    let more = [("cf-connecting-ip", address)];
                    let next = driver.open(if is_signed { signed(BODY, &more) } else { head(&more) }, declared_bytes);
                    let id = match &next {
                        NextStep::Read { id, .. } | NextStep::AskRateLimit { id, .. } => *id,
                        NextStep::Send(outgoing) => outgoing.id,
                        NextStep::Answer { .. } => unreachable!("nothing is known of it yet"),
                    };
                    opened.push((id, is_signed && !is_outside));
                    (id, Some(next), None)
                }
                DriverCall::Grow(n, bytes) => {
                    if let Some((id, _)) = at(n, &opened) {
                        driver.receiver.grow(id, bytes);
                    }
                    continue;
                }
                DriverCall::Arrive(n) => match at(n, &opened) {
                    Some((id, _)) => (id, Some(driver.arrive(id, BODY)), None),
                    None => continue,
                },
                DriverCall::Limit(n, is_within) => match at(n, &opened) {
                    Some((id, _)) => {
                        let policy = driver.fixture.policy();
                        let next = driver.receiver.rate_limited(id, policy, Some(READ), is_within);
                        (id, Some(next), None)
                    }
                    None => continue,
                },
                DriverCall::Sent(n) => match at(n, &opened) {
                    Some((id, _)) => (id, None, driver.receiver.sent(id, driver.now_ms)),
                    None => continue,
                },
                DriverCall::Fail(n) => match at(n, &opened) {
                    Some((id, _)) => (id, None, driver.receiver.failed(id, ReceiveFailure::QueueFailed, driver.now_ms).1),
                    None => continue,
                },
                DriverCall::Wait(ms) => {
                    driver.now_ms += ms;
                    continue;
                }
            };
            let is_genuine = opened.iter().any(|(known, is_genuine)| *known == id && *is_genuine);
            if let Some(NextStep::Send(outgoing)) = &next {
                prop_assert_eq!(outgoing.queue == Queue::Deliveries, outgoing.answer.status == 200);
                prop_assert!(outgoing.queue == Queue::DeadLetters || is_genuine);
            }
            let settled = settled.or(match next {
                Some(NextStep::Answer { settled, .. }) => settled,
                _ => None,
            });
            if let Some(settled) = settled {
                prop_assert!(!counted.contains(&id), "counted twice");
                let is_accepted = matches!(settled.outcome, ReceiveOutcome::Accepted { .. });
                prop_assert!(is_genuine || !is_accepted);
                counted.push(id);
            }
        }
        driver.now_ms += LEASE_MS;
        driver.receiver.forget_vanished(driver.now_ms);
        prop_assert_eq!(driver.receiver.held_bytes(), 0);
        prop_assert_eq!(driver.receiver.len(), 0);
    }
}
