//! The sums that must come out: whether every delivery that was sent is accounted for, at the sender, in the gateway and at
//! the destination.
//!
//! Pure: counts go in, lines come out. The counts of the two ends are the simulator's own, so that a gateway that counts
//! wrongly cannot confirm itself.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What the sender saw: one for every request that it made, repeats included, by the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SenderCounts {
    /// Requests that were made.
    pub(crate) sent: u64,
    /// Answered 2xx.
    pub(crate) accepted: u64,
    /// Answered 4xx: the gateway will not take this delivery.
    pub(crate) refused: u64,
    /// Answered 5xx or 429: the gateway asks for a repeat.
    pub(crate) unavailable: u64,
    /// No answer: a timeout or a broken connection. Whether the gateway has counted such a request is unknown.
    pub(crate) unanswered: u64,
}

/// The gateway's own counts, `accounting` in `GET /metrics`.
///
/// The two that count what is on its way are signed: the counters of a queue's two ends arrive in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct GatewayCounts {
    pub(crate) received: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) unavailable: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicate: u64,
    pub(crate) pending: i64,
    pub(crate) dead: u64,
    #[serde(skip)]
    pub(crate) refused_by_reason: BTreeMap<String, u64>,
    #[serde(skip)]
    pub(crate) dead_letters: u64,
}

/// What arrived at the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SinkCounts {
    /// Requests that were made to it.
    pub(crate) received: u64,
    /// Different deliveries that it has confirmed.
    pub(crate) distinct: u64,
    /// Requests whose signature did not hold.
    pub(crate) badly_signed: u64,
    /// Requests that it had no room to tell apart.
    pub(crate) untracked: u64,
}

/// One sum, and whether it comes out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccountLine {
    pub(crate) text: String,
    pub(crate) holds: bool,
}

impl AccountLine {
    fn sum(what: &str, left: u64, names: &str, parts: &[i128]) -> Self {
        let shown: Vec<String> = parts.iter().map(ToString::to_string).collect();
        let holds = i128::from(left) == parts.iter().sum::<i128>();
        Self { text: format!("{what}: {left} = {} ({names})", shown.join(" + ")), holds }
    }

    fn equal(what: &str, at_the_end: u64, in_the_gateway: u64, missing: u64) -> Self {
        let holds = in_the_gateway.abs_diff(at_the_end) <= missing;
        Self { text: format!("{what}: {at_the_end}, and the gateway counted {in_the_gateway}"), holds }
    }
}

/// What was refused was forged or broken, and stays refused when it is judged again; only what was given up may be delivered.
pub(crate) fn dry_replay(replay: &DryReplay, gateway: &GatewayCounts) -> AccountLine {
    let DryReplay { matched, replayed, still_refused } = replay;
    let holds = *matched > 0 && *replayed <= gateway.dead && still_refused + replayed == *matched;
    AccountLine { text: format!("a replay would refuse {still_refused} of {matched} dead letters again"), holds }
}

/// The audit trail has entries, and its chain holds.
pub(crate) fn audit(check: &AuditCheck) -> AccountLine {
    let AuditCheck { intact, checked } = *check;
    AccountLine { text: format!("audit trail: the chain of {checked} entries holds"), holds: intact && checked > 0 }
}

/// Every sum of the accounting. The run is in order if all of them hold.
///
/// A request without an answer may or may not have reached the gateway, so it widens the comparisons between the two by one.
pub(crate) fn lines(sender: &SenderCounts, gateway: &GatewayCounts, sink: &SinkCounts) -> Vec<AccountLine> {
    let unknown = sender.unanswered;
    vec![
        AccountLine::sum(
            "sender: sent",
            sender.sent,
            "accepted + refused + unavailable + unanswered",
            &[sender.accepted, sender.refused, sender.unavailable, sender.unanswered].map(i128::from),
        ),
        AccountLine::sum(
            "gateway: received",
            gateway.received,
            "accepted + refused + unavailable",
            &[gateway.accepted, gateway.refused, gateway.unavailable].map(i128::from),
        ),
        AccountLine::sum(
            "gateway: accepted",
            gateway.accepted,
            "delivered + duplicate + pending + dead",
            &[gateway.delivered.into(), gateway.duplicate.into(), gateway.pending.into(), gateway.dead.into()],
        ),
        AccountLine::equal("sender: accepted", sender.accepted, gateway.accepted, unknown),
        AccountLine::equal("sender: refused", sender.refused, gateway.refused, unknown),
        AccountLine::equal("sender: unavailable", sender.unavailable, gateway.unavailable, unknown),
        AccountLine::equal("sink: distinct deliveries", sink.distinct, gateway.delivered, sink.untracked),
        AccountLine {
            text: format!("sink: {} requests with a wrong signature", sink.badly_signed),
            holds: sink.badly_signed == 0,
        },
        AccountLine { text: format!("gateway: {} still on their way", gateway.pending), holds: gateway.pending == 0 },
        AccountLine { text: format!("sender: {} were sent", sender.sent), holds: sender.sent > 0 },
    ]
}

/// A dry run of a replay.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DryReplay {
    /// Letters that were looked at.
    pub(crate) matched: u64,
    /// Those that would be delivered.
    pub(crate) replayed: u64,
    /// Those that are refused still.
    pub(crate) still_refused: u64,
}

/// A walk along the audit trail.
#[derive(Debug, Deserialize)]
pub(crate) struct AuditCheck {
    pub(crate) intact: bool,
    pub(crate) checked: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order() -> (SenderCounts, GatewayCounts, SinkCounts) {
        let sender = SenderCounts { sent: 100, accepted: 80, refused: 15, unavailable: 5, unanswered: 0 };
        let gateway = GatewayCounts {
            received: 100,
            accepted: 80,
            refused: 15,
            unavailable: 5,
            delivered: 70,
            duplicate: 9,
            pending: 0,
            dead: 1,
            ..GatewayCounts::default()
        };
        (sender, gateway, SinkCounts { received: 74, distinct: 70, ..SinkCounts::default() })
    }

    fn broken(sender: &SenderCounts, gateway: &GatewayCounts, sink: &SinkCounts) -> Vec<String> {
        lines(sender, gateway, sink).into_iter().filter(|line| !line.holds).map(|line| line.text).collect()
    }

    #[test]
    fn counts_that_fit_together_hold() {
        let (sender, gateway, sink) = in_order();
        assert_eq!(broken(&sender, &gateway, &sink), Vec::<String>::new());
    }

    #[test]
    fn the_sums_are_shown_with_their_parts() {
        let (sender, gateway, sink) = in_order();
        let shown = lines(&sender, &gateway, &sink);
        assert_eq!(
            shown[0].text,
            "sender: sent: 100 = 80 + 15 + 5 + 0 (accepted + refused + unavailable + unanswered)"
        );
        assert_eq!(shown[2].text, "gateway: accepted: 80 = 70 + 9 + 0 + 1 (delivered + duplicate + pending + dead)");
    }

    #[test]
    fn a_single_count_that_is_off_by_one_is_found() {
        let changes: [fn(&mut SenderCounts, &mut GatewayCounts, &mut SinkCounts); 13] = [
            |sender, _, _| sender.sent += 1,
            |sender, _, _| sender.accepted += 1,
            |sender, _, _| sender.refused += 1,
            |sender, _, _| sender.unavailable += 1,
            |_, gateway, _| gateway.received += 1,
            |_, gateway, _| gateway.accepted += 1,
            |_, gateway, _| gateway.refused += 1,
            |_, gateway, _| gateway.unavailable += 1,
            |_, gateway, _| gateway.delivered += 1,
            |_, gateway, _| gateway.duplicate += 1,
            |_, gateway, _| gateway.dead += 1,
            |_, _, sink| sink.distinct -= 1,
            |_, _, sink| sink.badly_signed += 1,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let (mut sender, mut gateway, mut sink) = in_order();
            change(&mut sender, &mut gateway, &mut sink);
            assert!(!broken(&sender, &gateway, &sink).is_empty(), "change {index} was not found");
        }
    }

    #[test]
    fn a_delivery_that_the_gateway_accepted_and_lost_is_found() {
        let (sender, mut gateway, mut sink) = in_order();
        gateway.delivered -= 1;
        sink.distinct -= 1;
        assert_eq!(
            broken(&sender, &gateway, &sink),
            ["gateway: accepted: 80 = 69 + 9 + 0 + 1 (delivered + duplicate + pending + dead)"]
        );
    }

    #[test]
    fn what_is_still_on_its_way_is_not_in_order() {
        let (sender, mut gateway, mut sink) = in_order();
        gateway.delivered -= 1;
        gateway.pending += 1;
        sink.distinct -= 1;
        assert_eq!(broken(&sender, &gateway, &sink), ["gateway: 1 still on their way"]);
    }

    #[test]
    fn a_request_without_an_answer_may_or_may_not_have_been_counted_by_the_gateway() {
        let (mut sender, mut gateway, mut sink) = in_order();
        sender.sent += 1;
        sender.unanswered += 1;
        assert_eq!(broken(&sender, &gateway, &sink), Vec::<String>::new());
        gateway.received += 1;
        gateway.accepted += 1;
        gateway.delivered += 1;
        sink.distinct += 1;
        assert_eq!(broken(&sender, &gateway, &sink), Vec::<String>::new());
        gateway.received += 1;
        gateway.refused += 1;
        gateway.accepted += 1;
        assert!(!broken(&sender, &gateway, &sink).is_empty(), "one answer is missing, not two");
    }

    #[test]
    fn a_run_that_sent_nothing_proves_nothing() {
        assert_eq!(
            broken(&SenderCounts::default(), &GatewayCounts::default(), &SinkCounts::default()),
            ["sender: 0 were sent"]
        );
    }
}
