//! Whole runs, by what is done, what is left alone, and what the report says.

use crate::calls::client;
use crate::clock::block_on;
use crate::vendor::{FakeVendor, INTEGRATIONS, InjectedFault, WEBHOOKS};
use genesys_client::reconcile::{
    AuditAction, AuditEvent, ItemOutcome, PlanAction, ReconcileOptions, ReconcileReport, ReconcileState, reconcile,
};
use genesys_client::subscription::{ApiKind, Desired, EventFilter, Marks};
use genesys_client::{ErrorFault, RunBudget, Secret};
use serde_json::json;

pub(crate) const OWNER: &str = "genesys-webhook-gateway https://hooks.example.com";

pub(crate) fn options() -> ReconcileOptions {
    let marks = Marks { owner: OWNER.to_owned(), fingerprint_key: Secret::new("key") };
    ReconcileOptions { marks, prune: Vec::new(), allow_private: false, probe: true, dry_run: false }
}

pub(crate) fn webhook(name: &str) -> Desired {
    Desired {
        source: name.to_owned(),
        api: ApiKind::Webhooks,
        name: name.to_owned(),
        address: format!("https://hooks.example.com/webhook/{name}"),
        enabled: true,
        event_filters: ["call:created", "call:answered"]
            .map(|event_type| EventFilter { event_type: event_type.into(), filter: "true".into() })
            .to_vec(),
        secret: Secret::new(format!("secret-of-{name}-0123456789")),
        adopt: false,
        prune: false,
    }
}

pub(crate) fn integration(name: &str) -> Desired {
    Desired { api: ApiKind::OpenMessaging, event_filters: Vec::new(), ..webhook(name) }
}

fn run_with(
    vendor: &FakeVendor,
    desired: &[Desired],
    options: &ReconcileOptions,
    state: &mut ReconcileState,
    budget: RunBudget,
) -> (ReconcileReport, Vec<AuditEvent>) {
    let mut audit = Vec::new();
    let report = block_on(reconcile(&client(vendor).with_budget(budget), desired, options, state, &mut audit));
    let text = format!("{} {}", serde_json::to_string(&report).unwrap(), serde_json::to_string(&audit).unwrap());
    for wanted in desired {
        assert!(!text.contains(wanted.secret.expose()), "a secret is shown: {text}");
    }
    let outcomes = report.applied + report.failed + report.unchanged + report.pending + report.skipped + report.kept;
    assert!(
        report.dry_run || usize::try_from(outcomes).unwrap() == report.items.len(),
        "every item has one outcome: {text}"
    );
    (report, audit)
}

fn run(vendor: &FakeVendor, desired: &[Desired], options: &ReconcileOptions) -> (ReconcileReport, Vec<AuditEvent>) {
    run_with(vendor, desired, options, &mut ReconcileState::default(), RunBudget::UNLIMITED)
}

fn actions(audit: &[AuditEvent]) -> Vec<AuditAction> {
    audit.iter().map(|event| event.action).collect()
}

#[test]
fn the_first_run_creates_and_the_second_does_nothing() {
    let vendor = FakeVendor::new();
    let desired = [webhook("a"), integration("b")];
    let (report, audit) = run(&vendor, &desired, &options());
    assert_eq!((report.planned, report.applied, report.failed), (2, 2, 0), "{report:?}");
    assert_eq!(actions(&audit), [AuditAction::Validate, AuditAction::Probe, AuditAction::Create].repeat(2));
    assert_eq!((audit[2].status_code, audit[2].webhook_id.as_deref()), (Some(201), Some("id-0001")));
    assert!(audit[2].correlation_id.is_some() && audit[2].error.is_none());
    let writes = vendor.writes();
    let (again, audit) = run(&vendor, &desired, &options());
    assert_eq!((again.planned, again.unchanged, again.requests), (0, 2, 2), "{again:?}");
    assert_eq!((vendor.writes(), audit.len()), (writes, 0));
}

#[test]
fn a_dry_run_changes_nothing_and_tells_everything() {
    let vendor = FakeVendor::new();
    vendor.put(WEBHOOKS, json!({"name": "b", "address": "https://old.example.com", "eventFilters": [], "customProperties": {"webhook.created.by": OWNER}}));
    let dry = ReconcileOptions { dry_run: true, ..options() };
    let mut wrong = webhook("c");
    wrong.event_filters[0].event_type = "call:craeted".into();
    let (report, audit) = run(&vendor, &[webhook("a"), webhook("b"), wrong], &dry);
    assert_eq!((report.planned, report.applied, report.failed, vendor.writes(), audit.len()), (3, 0, 1, 0, 0));
    assert_eq!(
        report.items.iter().map(|item| (item.action, item.outcome)).collect::<Vec<_>>(),
        [
            (PlanAction::Create, ItemOutcome::Planned),
            (PlanAction::Update, ItemOutcome::Planned),
            (PlanAction::Create, ItemOutcome::Failed),
        ]
    );
    let fields: Vec<&str> = report.items[1].diff.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["address", "event_filters", "secret"]);
}

#[test]
fn the_report_format_is_unchanged() {
    let vendor = FakeVendor::new();
    vendor.put(WEBHOOKS, json!({
        "name": "a", "address": "https://old.example.com", "eventFilters": [{"eventType": "call:created", "filter": "true"}, {"eventType": "call:answered"}],
        "customProperties": {"webhook.created.by": OWNER, "webhook.signature.secret": "an old secret"},
    }));
    let mut unknown = webhook("b");
    unknown.event_filters = vec![EventFilter { event_type: "call:craeted".into(), filter: "true".into() }];
    let (report, audit) = run(&vendor, &[webhook("a"), unknown], &options());
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"version":1,"started_at_ms":1767225600000,"duration_ms":120,"dry_run":false,"planned":2,"applied":1,"failed":1,"unchanged":0,"pending":0,"skipped":0,"kept":0,"requests":5,"items":["#,
            r#"{"source":"a","api":"webhooks","name":"a","action":"update","webhookId":"id-0001","diff":["#,
            r#"{"field":"address","from":"https://old.example.com","to":"https://hooks.example.com/webhook/a"},{"field":"secret","to":"changed"}],"#,
            r#""outcome":"applied","correlationId":"corr-6","attempts":3},"#,
            r#"{"source":"b","api":"webhooks","name":"b","action":"create","diff":[{"field":"name","to":"b"},{"field":"address","to":"https://hooks.example.com/webhook/b"},"#,
            r#"{"field":"enabled","to":true},{"field":"event_filters","to":[{"eventType":"call:craeted","filter":"true"}]},"#,
            r#"{"field":"owner","to":"genesys-webhook-gateway https://hooks.example.com"},{"field":"secret","to":"set"}],"outcome":"failed","#,
            r#""error":{"code":"unknown_event_type","message":"unknown event type \"call:craeted\"; did you mean call:created?","fault":"configuration"},"attempts":0}]}"#,
        )
    );
    assert_eq!(serde_json::from_str::<ReconcileReport>(&json).unwrap(), report);
    assert_eq!(actions(&audit), [AuditAction::Probe, AuditAction::Update, AuditAction::Validate]);
}

#[test]
fn an_unknown_event_type_fails_only_its_subscription() {
    let vendor = FakeVendor::new();
    let mut wrong = webhook("a");
    wrong.event_filters[0].event_type = "call:craeted".into();
    let (report, _) = run(&vendor, &[wrong, webhook("b")], &options());
    assert_eq!((report.applied, report.failed), (1, 1));
    let error = report.items[0].error.as_ref().unwrap();
    assert_eq!(error.code, "unknown_event_type");
    assert!(error.message.contains("did you mean call:created"), "{}", error.message);
}

#[test]
fn what_is_not_owned_is_left_alone_unless_adopted() {
    let vendor = FakeVendor::new();
    let theirs = json!({"name": "a", "address": "https://theirs.example.com", "extra": 1, "customProperties": {"webhook.created.by": "terraform", "theirs": "x"}});
    vendor.put(WEBHOOKS, theirs);
    let (report, _) = run(&vendor, &[webhook("a")], &options());
    assert_eq!((report.failed, vendor.writes()), (1, 0));
    assert_eq!(
        (report.items[0].action, report.items[0].error.as_ref().unwrap().code.as_str()),
        (PlanAction::Conflict, "not_owned")
    );
    assert!(report.items[0].error.as_ref().unwrap().message.contains("terraform"));
    let adopting = Desired { adopt: true, ..webhook("a") };
    let (report, _) = run(&vendor, std::slice::from_ref(&adopting), &options());
    assert_eq!((report.applied, report.items[0].action), (1, PlanAction::Adopt), "{report:?}");
    let fields = &vendor.named(WEBHOOKS, "a")[0].fields;
    assert_eq!((&fields["extra"], &fields["customProperties"]["theirs"]), (&json!(1), &json!("x")));
    assert_eq!(run(&vendor, &[adopting], &options()).0.unchanged, 1);
}

#[test]
fn duplicates_are_reported_and_not_guessed_at() {
    let vendor = FakeVendor::new();
    for owner in [OWNER, "terraform"] {
        vendor.put(
            WEBHOOKS,
            json!({"name": "a", "address": "https://x.example.com", "customProperties": {"webhook.created.by": owner}}),
        );
    }
    let mut all = options();
    all.prune = vec![ApiKind::Webhooks];
    let (report, _) = run(&vendor, &[webhook("a")], &all);
    assert_eq!((report.failed, report.items.len(), vendor.writes()), (1, 1, 0));
    let error = report.items[0].error.as_ref().unwrap();
    assert_eq!(error.code, "duplicate_name");
    assert!(error.message.contains("id-0001 (ours), id-0002"), "{}", error.message);
}

#[test]
fn a_name_that_is_declared_twice_is_an_error_of_both() {
    let vendor = FakeVendor::new();
    let (report, _) = run(&vendor, &[webhook("a"), webhook("a"), integration("a")], &options());
    assert_eq!((report.failed, report.applied), (2, 1));
    assert!(report.items[..2].iter().all(|item| item.error.as_ref().unwrap().code == "declared_twice"));
}

#[test]
fn orphans_are_kept_and_shown_until_prune_is_on() {
    let vendor = FakeVendor::new();
    let owned = |name: &str, address: &str| json!({"name": name, "address": address, "customProperties": {"webhook.created.by": OWNER}});
    vendor.put(WEBHOOKS, owned("old name of a", "https://hooks.example.com/webhook/a"));
    vendor.put(WEBHOOKS, owned("gone", "https://hooks.example.com/webhook/gone"));
    vendor.put(WEBHOOKS, json!({"name": "theirs", "address": "https://hooks.example.com/webhook/a"}));
    let (report, _) = run(&vendor, &[webhook("a")], &options());
    assert_eq!((report.applied, report.kept), (1, 2));
    let pruning = Desired { prune: true, ..webhook("a") };
    let (report, audit) = run(&vendor, &[pruning], &options());
    assert_eq!(
        (report.applied, report.kept, report.unchanged),
        (1, 1, 1),
        "only what points to its address: {report:?}"
    );
    assert_eq!(actions(&audit), [AuditAction::Delete]);
    let (report, _) = run(&vendor, &[], &ReconcileOptions { prune: vec![ApiKind::Webhooks], ..options() });
    assert_eq!((report.applied, report.items.len()), (2, 2));
    assert_eq!(vendor.named(WEBHOOKS, "theirs").len(), 1);
}

#[test]
fn a_list_that_cannot_be_read_creates_and_deletes_nothing() {
    let vendor = FakeVendor::new();
    vendor.state().faults.push_back(InjectedFault::ErrorBefore(403));
    let (report, _) = run(
        &vendor,
        &[webhook("a"), integration("b")],
        &ReconcileOptions { prune: ApiKind::ALL.to_vec(), ..options() },
    );
    assert_eq!((report.failed, report.applied), (1, 1), "the other API is not concerned");
    let error = report.items[0].error.as_ref().unwrap();
    assert_eq!(
        (report.items[0].action, error.code.as_str(), error.fault),
        (PlanAction::Undecided, "missing_permission", ErrorFault::Configuration)
    );
    assert!(error.message.contains("webhook:read"), "{}", error.message);
    assert!(vendor.named(WEBHOOKS, "a").is_empty());
}

#[test]
fn an_address_that_does_not_answer_gets_no_subscription() {
    let vendor = FakeVendor::new();
    vendor.state().dead_addresses = true;
    let (report, audit) = run(&vendor, &[webhook("a")], &options());
    assert_eq!((report.failed, vendor.state().creates.len()), (1, 0));
    assert_eq!(report.items[0].error.as_ref().unwrap().code, "unreachable_address");
    assert_eq!(audit.last().unwrap().error.as_deref(), Some("no connection"));
}

#[test]
fn an_address_that_must_not_be_called_is_refused_before_anything_is_sent_to_it() {
    let vendor = FakeVendor::new();
    let mut inside = webhook("a");
    inside.address = "https://169.254.169.254/latest".into();
    let (report, _) = run(&vendor, &[inside], &options());
    assert_eq!(report.items[0].error.as_ref().unwrap().code, "address_refused");
    assert!(vendor.state().log.iter().all(|line| !line.contains("169.254")));
}

#[test]
fn what_an_api_cannot_do_is_said_before_it_is_asked() {
    let vendor = FakeVendor::new();
    let mut with_events = integration("a");
    with_events.event_filters = webhook("a").event_filters;
    let short = Desired { secret: Secret::new("only fifteen ch"), ..integration("b") };
    let port = Desired { address: "https://hooks.example.com:8443/webhook/c".into(), ..integration("c") };
    let disabled = Desired { enabled: false, ..integration("d") };
    let no_events = Desired { event_filters: Vec::new(), ..webhook("e") };
    let (report, _) = run(&vendor, &[with_events, short, port, disabled, no_events], &options());
    assert_eq!((report.failed, vendor.writes()), (5, 0));
    assert!(report.items.iter().all(|item| item.error.as_ref().unwrap().code == "invalid"));
}

#[test]
fn what_the_budget_does_not_reach_is_skipped_and_done_by_the_next_runs() {
    let vendor = FakeVendor::new();
    let desired: Vec<Desired> = (0..20).map(|number| webhook(&format!("w{number:02}"))).collect();
    let mut state = ReconcileState::default();
    let mut runs = 0;
    loop {
        let (report, _) =
            run_with(&vendor, &desired, &options(), &mut state, RunBudget { max_requests: 12, ..RunBudget::UNLIMITED });
        assert!(report.requests <= 12);
        runs += 1;
        if report.unchanged == 20 {
            break;
        }
        assert!(report.applied > 0 && report.failed == 0 && runs < 20, "{report:?}");
        assert!(
            report.items.iter().filter(|item| item.outcome == ItemOutcome::Skipped).all(|item| item
                .error
                .as_ref()
                .unwrap()
                .code
                == "out_of_requests")
        );
    }
    assert_eq!(vendor.state().creates.len(), 20);
}

#[test]
fn a_rate_limit_that_lasts_ends_the_run_instead_of_failing_everything() {
    let vendor = FakeVendor::new();
    let desired: Vec<Desired> = (0..10).map(|number| webhook(&format!("w{number}"))).collect();
    // The list and the catalogue, then a write that is refused for too long to wait, and the look after it.
    vendor.state().faults.extend([InjectedFault::None, InjectedFault::None, InjectedFault::LimitedBefore(500)]);
    let (report, _) = run(&vendor, &desired, &options());
    assert_eq!((report.failed, report.skipped, report.applied), (1, 9, 0), "{report:?}");
    assert_eq!(report.items[9].error.as_ref().unwrap().code, "rate_limited");
    assert_eq!(run(&vendor, &desired, &options()).0.applied, 10);
}

#[test]
fn two_hundred_creates_stay_below_the_rate_limit() {
    let vendor = FakeVendor::new();
    vendor.state().allowed = 300;
    let desired: Vec<Desired> = (0..200).map(|number| webhook(&format!("w{number:03}"))).collect();
    let (report, _) = run(&vendor, &desired, &options());
    assert_eq!((report.applied, vendor.state().refused_by_limit), (200, 0));
    // A list, a catalogue, and a probe and a create each.
    assert_eq!(report.requests, 402);
    let (again, _) = run(&vendor, &desired, &options());
    assert_eq!((again.unchanged, again.requests), (200, 2), "two pages");
}

#[test]
fn a_create_in_progress_is_neither_repeated_nor_called_done() {
    let vendor = FakeVendor::new();
    vendor.state().lag_ms = 200_000;
    let desired = [integration("a")];
    let mut state = ReconcileState::default();
    let deadline_ms = genesys_client::Runtime::now_ms(&*vendor.clock) + 20_000;
    let (first, _) =
        run_with(&vendor, &desired, &options(), &mut state, RunBudget { deadline_ms, ..RunBudget::UNLIMITED });
    assert_eq!(first.pending, 1, "{first:?}");
    let (second, _) = run_with(&vendor, &desired, &options(), &mut state, RunBudget::UNLIMITED);
    assert_eq!((second.pending, second.items[0].webhook_id.as_deref()), (1, Some("id-0001")));
    vendor.clock.advance(200_000);
    let (third, _) = run_with(&vendor, &desired, &options(), &mut state, RunBudget::UNLIMITED);
    assert_eq!((third.unchanged, vendor.state().creates.len()), (1, 1));
}

#[test]
fn a_create_with_unknown_outcome_is_looked_for_until_the_lag_is_over() {
    for (fault, creates) in [(InjectedFault::LostAfter, 1), (InjectedFault::LostBefore, 1)] {
        let vendor = FakeVendor::new();
        vendor.state().lag_ms = 200_000;
        vendor.state().faults.extend([InjectedFault::None, fault]);
        let desired = [integration("a")];
        let mut state = ReconcileState::default();
        let (first, _) = run_with(&vendor, &desired, &options(), &mut state, RunBudget::UNLIMITED);
        assert_eq!(first.items[0].error.as_ref().unwrap().code, "outcome_unknown");
        let (second, _) = run_with(&vendor, &desired, &options(), &mut state, RunBudget::UNLIMITED);
        assert_eq!(second.pending, 1, "{second:?}");
        vendor.clock.advance(300_000);
        let (third, _) = run_with(&vendor, &desired, &options(), &mut state, RunBudget::UNLIMITED);
        assert_eq!((third.failed, vendor.state().creates.len()), (0, creates), "{fault:?} {third:?}");
    }
}

#[test]
fn a_create_that_the_vendor_failed_to_complete_is_made_anew() {
    let vendor = FakeVendor::new();
    vendor.state().lag_ms = 5_000;
    vendor.state().failing_creates = 1;
    let desired = [integration("a")];
    let mut state = ReconcileState::default();
    let (first, _) = run_with(&vendor, &desired, &options(), &mut state, RunBudget::UNLIMITED);
    assert_eq!(first.items[0].error.as_ref().unwrap().code, "create_failed", "{first:?}");
    vendor.clock.advance(300_000);
    let (second, _) = run_with(&vendor, &desired, &options(), &mut state, RunBudget::UNLIMITED);
    assert_eq!((second.applied, vendor.state().deletes.len()), (1, 1), "{second:?}");
    assert_eq!(vendor.named(INTEGRATIONS, "a").len(), 1);
    assert_eq!(run_with(&vendor, &desired, &options(), &mut state, RunBudget::UNLIMITED).0.unchanged, 1);
}

#[test]
fn what_was_just_deleted_and_is_still_listed_is_not_deleted_again() {
    let vendor = FakeVendor::new();
    vendor.state().delete_lag_ms = 100_000;
    let mut state = ReconcileState::default();
    run_with(&vendor, &[integration("a")], &options(), &mut state, RunBudget::UNLIMITED);
    let pruning = ReconcileOptions { prune: vec![ApiKind::OpenMessaging], ..options() };
    assert_eq!(run_with(&vendor, &[], &pruning, &mut state, RunBudget::UNLIMITED).0.applied, 1);
    assert!(run_with(&vendor, &[], &pruning, &mut state, RunBudget::UNLIMITED).0.items.is_empty());
    // Declared again while the old one, which does not count, is still listed.
    let (again, _) = run_with(&vendor, &[integration("a")], &pruning, &mut state, RunBudget::UNLIMITED);
    assert_eq!((again.applied, vendor.named(INTEGRATIONS, "a").len()), (1, 1), "{again:?}");
}
