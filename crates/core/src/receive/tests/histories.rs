//! Histories of requests whose calls come in any order.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum DriverCall {
    Open { is_signed: bool, is_outside: bool, declared_bytes: Option<u64> },
    Of(u8, RequestCall),
    Wait(u64),
}

/// What a driver may do with a request that is open.
#[derive(Clone, Debug)]
enum RequestCall {
    Grow(u64),
    Arrive,
    Limit(bool),
    Sent,
    Fail,
}

fn steps() -> impl Strategy<Value = Vec<DriverCall>> {
    let of_request = prop_oneof![
        (0u64..6_000_000).prop_map(RequestCall::Grow),
        Just(RequestCall::Arrive),
        any::<bool>().prop_map(RequestCall::Limit),
        Just(RequestCall::Sent),
        Just(RequestCall::Fail),
    ];
    let step = prop_oneof![
        1 => (any::<bool>(), any::<bool>(), proptest::option::of(0u64..6_000_000)).prop_map(
            |(is_signed, is_outside, declared_bytes)| DriverCall::Open { is_signed, is_outside, declared_bytes }
        ),
        5 => (any::<u8>(), of_request).prop_map(|(at, call)| DriverCall::Of(at, call)),
        1 => (0u64..LEASE_MS).prop_map(DriverCall::Wait),
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
                DriverCall::Of(at, call) => {
                    let Some((id, _)) = opened.get(usize::from(at) % opened.len().max(1)).copied() else { continue };
                    let (receiver, policy, now_ms) = (&mut driver.receiver, driver.fixture.policy(), driver.now_ms);
                    match call {
                        RequestCall::Grow(bytes) => {
                            receiver.grow(id, bytes);
                            continue;
                        }
                        RequestCall::Arrive => (id, Some(receiver.arrived(id, policy, READ)), None),
                        RequestCall::Limit(is_within) => {
                            (id, Some(receiver.rate_limited(id, policy, Some(READ), is_within)), None)
                        }
                        RequestCall::Sent => (id, None, receiver.sent(id, now_ms)),
                        RequestCall::Fail => (id, None, receiver.failed(id, ReceiveFailure::QueueFailed, now_ms).1),
                    }
                }
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
