//! The client against a vendor that answers anything: it ends, it sends its token nowhere else, and it gives nothing away.
//!
//! Input: what is called in the first line, then the answers (`crate::vendor`).

use crate::split_once;
use crate::vendor::{TOKEN, Vendor, block_on};
use genesys_client::reconcile::{ReconcileOptions, ReconcileState, reconcile};
use genesys_client::subscription::{ApiKind, Desired, EventFilter, Marks, Subscriptions};
use genesys_client::{Client, Error, OAuthTokens, RunBudget, Secret, TokenSource as _};

const API: &str = "https://api.example.com";
const ADDRESS: &str = "https://hooks.example.com/webhook/a";
/// The signing secret, and the OAuth client's.
const SECRET: &str = "SECRET-eeeeffff00001111";
const MAX_REQUESTS: u32 = 60;
/// An error is kept in reports of hundreds of items.
const MAX_ERROR_CHARS: usize = 1_800;
/// So much of a secret is too much of it.
const TELLING_CHARS: usize = 12;

/// Judges one input; `false` where it says nothing.
pub fn run(input: &[u8]) -> bool {
    let (line, answers) = split_once(input, b"\n");
    let vendor = &Vendor::read(answers);
    let budget = RunBudget { deadline_ms: u64::MAX, max_requests: MAX_REQUESTS };
    let client = Client::new(vendor, vendor, vendor, API).with_budget(budget);
    let marks = Marks { owner: "gateway".to_owned(), fingerprint_key: Secret::new("a key of fingerprints") };
    let shown: Said = match line {
        b"event_types" => said(&[TOKEN], block_on(client.event_types())),
        b"topics" => said(&[TOKEN], block_on(client.topics())),
        b"ip_ranges" => said(&[TOKEN], block_on(client.webhook_ip_ranges())),
        b"token" => {
            said(&[SECRET], block_on(OAuthTokens::new(vendor, vendor, API, "id", Secret::new(SECRET)).token(None)))
        }
        b"webhooks" => calls(&client, ApiKind::Webhooks, &marks),
        b"open_messaging" => calls(&client, ApiKind::OpenMessaging, &marks),
        b"reconcile" => reconciled(&client, marks),
        _ => return false,
    };
    let urls = vendor.urls.borrow();
    for url in urls.iter() {
        assert!(url.starts_with("https://api.example.com/") || url == ADDRESS, "{url} was called");
        let read = url::Url::parse(url).expect("what is called is a URL");
        assert!(matches!(read.host_str(), Some("api.example.com" | "hooks.example.com")), "{url} was called");
    }
    assert!(line == b"token" || client.requests_sent() <= MAX_REQUESTS);
    gives_nothing_away(&shown, answers);
    true
}

type FuzzClient<'v> = Client<&'v Vendor, &'v Vendor, &'v Vendor>;

/// Texts of errors, and the secrets of ours that the vendor had been sent when it caused them.
type Said = Vec<(String, &'static [&'static str])>;

fn said<T>(secrets: &'static [&'static str], result: Result<T, Error>) -> Said {
    let Err(error) = result else { return Vec::new() };
    let _ = (error.code(), error.fault(), error.status());
    if matches!(error, Error::NotOurs { .. }) {
        return Vec::new(); // It quotes a subscription's name, which is the vendor's to choose.
    }
    let (shown, debug) = (error.to_string(), format!("{error:?}"));
    let chars = shown.chars().count();
    assert!(chars <= MAX_ERROR_CHARS, "an error of {chars} characters");
    vec![(shown, secrets), (debug, secrets)]
}

fn desired(api: ApiKind) -> Desired {
    let filter = |name: &str| EventFilter { event_type: name.to_owned(), filter: "true".to_owned() };
    Desired {
        source: "a".to_owned(),
        api,
        name: "Hook".to_owned(),
        address: ADDRESS.to_owned(),
        enabled: true,
        event_filters: if api == ApiKind::Webhooks { vec![filter("call:created")] } else { Vec::new() },
        secret: Secret::new(SECRET),
        adopt: true,
        prune: true,
    }
}

/// Every call of one API, one after the other.
fn calls(client: &FuzzClient<'_>, api: ApiKind, marks: &Marks) -> Said {
    let subscriptions = Subscriptions::new(client, api.api(), marks);
    let desired = desired(api);
    let mut shown = said(&[TOKEN], block_on(subscriptions.list()));
    shown.extend(said(&[TOKEN], block_on(subscriptions.get("1"))));
    shown.extend(said(&[TOKEN, SECRET], block_on(subscriptions.create(&desired, &[]))));
    shown.extend(said(&[TOKEN, SECRET], block_on(subscriptions.update("1", &desired, None))));
    shown.extend(said(&[TOKEN], block_on(subscriptions.delete_owned("1"))));
    shown
}

fn reconciled(client: &FuzzClient<'_>, marks: Marks) -> Said {
    let options =
        ReconcileOptions { marks, prune: ApiKind::ALL.to_vec(), allow_private: false, probe: true, dry_run: false };
    let mut state = ReconcileState::default();
    let mut events = Vec::new();
    let desired = ApiKind::ALL.map(desired);
    let report = block_on(reconcile(client, &desired, &options, &mut state, &mut events));
    let sum = report.applied + report.failed + report.unchanged + report.pending + report.skipped + report.kept;
    assert_eq!(sum as usize, report.items.len(), "{report:?}");
    assert!(report.requests <= MAX_REQUESTS);
    // Names and addresses are the vendor's to choose; the texts of errors that quote none are ours.
    let messages = report.items.iter().filter_map(|item| item.error.as_ref()).map(|error| error.message.clone());
    let texts = messages.chain(events.into_iter().filter_map(|event| event.error));
    let texts = texts.filter(|text| !text.contains("instead of this gateway's"));
    texts.map(|text| (text, [TOKEN].as_slice())).collect()
}

/// No secret of ours comes back in an error, nor a telling part of it that the vendor did not say alone.
fn gives_nothing_away(shown: &Said, answers: &[u8]) {
    let answers = String::from_utf8_lossy(answers);
    for (text, secrets) in shown {
        for secret in *secrets {
            let part = &secret[..TELLING_CHARS];
            let said_alone = answers.replace(secret, "").contains(part);
            assert!(!text.contains(secret), "{text:?} shows a secret");
            assert!(said_alone || !text.contains(part), "{text:?} shows a part of a secret");
        }
    }
}
