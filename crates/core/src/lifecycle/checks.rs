//! What is refused before the vendor is asked to change something, and how its own errors are passed on.
//!
//! Promise: a management call creates only what a run would create: the name is free, the event types exist, the address
//! answers. Out of scope: asking (the `LIFECYCLE` object).

use super::calls::{LifecycleRefusal, Refused};
use crate::config::GatewayConfig;
use genesys_client::error::{Error, ErrorFault};
use genesys_client::event_types::Catalogue;
use genesys_client::probe::Probe;
use genesys_client::subscription::Desired;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnknownEventType<'a> {
    event_type: &'a str,
    near: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VendorDetail {
    message: String,
    fault: ErrorFault,
    status: Option<u16>,
    correlation_id: Option<String>,
}

/// Refuses a name that a subscription has. `found`: name and identifier of each.
pub fn is_free<'a>(name: &str, mut found: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Refused> {
    match found.find(|(other, _)| *other == name) {
        Some((_, id)) => Err(LifecycleRefusal::Exists.with(&id)),
        None => Ok(()),
    }
}

/// Refuses event types that the catalogue does not have, with those of similar names.
pub fn has_known_events(desired: &Desired, catalogue: &Catalogue) -> Result<(), Refused> {
    let wanted = desired.event_filters.iter().map(|wanted| wanted.event_type.as_str());
    let unknown: Vec<UnknownEventType<'_>> = wanted
        .filter(|event_type| !catalogue.contains(event_type))
        .map(|event_type| UnknownEventType { event_type, near: catalogue.near(event_type) })
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(LifecycleRefusal::UnknownEventType.with(&unknown)) }
}

/// Refuses an address that does not answer.
pub fn answers(probe: &Probe) -> Result<(), Refused> {
    if probe.reachable { Ok(()) } else { Err(LifecycleRefusal::UnreachableAddress.with(probe)) }
}

/// Refuses a subscription whose name another source declares: it would be made a second one of `source`.
pub fn is_of_source(config: &GatewayConfig, source: &str, name: &str) -> Result<(), Refused> {
    let declaring =
        config.sources.iter().filter(|source| source.subscription.as_ref().is_some_and(|own| own.name == name));
    let names: Vec<&str> = declaring.map(|source| source.name.as_str()).collect();
    match names.first() {
        Some(other) if !names.contains(&source) => Err(LifecycleRefusal::OtherSource.with(other)),
        _ => Ok(()),
    }
}

impl From<Error> for Refused {
    /// The vendor's error as the management API shows it: what the caller can act on keeps its status, the rest is a bad gateway.
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Address(_) | Error::Invalid { .. } => 400,
            Error::NotOurs { .. } => 409,
            _ => error.status().filter(|status| matches!(status, 404 | 409 | 410 | 412 | 429)).unwrap_or(502),
        };
        let detail = VendorDetail {
            message: error.to_string(),
            fault: error.fault(),
            status: error.status(),
            correlation_id: error.correlation_id().map(Into::into),
        };
        LifecycleRefusal::Vendor.answer(status, error.code(), Some(detail))
    }
}

#[cfg(test)]
mod tests {
    use super::super::declared::tests::{config, desired_of};
    use super::*;
    use genesys_client::event_types::EventType;

    #[test]
    fn what_a_run_would_not_create_is_refused_with_what_is_wrong() {
        let (config, desired) = (config(), desired_of("contact-center"));
        let catalogue = |name: &str| {
            Catalogue::new(&[EventType { id: name.into(), name: name.into(), description: String::new() }])
        };
        let probe = |reachable| Probe { reachable, status: Some(502), ..Probe::default() };
        let found = [("a", "1"), ("b", "2")];
        for (checked, expected) in [
            (is_free("c", found.into_iter()), None),
            (is_free("b", found.into_iter()), Some((LifecycleRefusal::Exists, r#""detail":"2""#))),
            (has_known_events(&desired, &catalogue("call:created")), None),
            (
                has_known_events(&desired, &catalogue("call:creates")),
                Some((LifecycleRefusal::UnknownEventType, r#"[{"eventType":"call:created","near":["call:creates"]}]"#)),
            ),
            (answers(&probe(true)), None),
            (answers(&probe(false)), Some((LifecycleRefusal::UnreachableAddress, r#""status":502"#))),
            (is_of_source(&config, "contact-center", "Calls"), None),
            (is_of_source(&config, "contact-center", "of no source"), None),
            (is_of_source(&config, "archive", "Calls"), Some((LifecycleRefusal::OtherSource, r#""contact-center""#))),
        ] {
            let refused = checked.err().map(|Refused(answered)| (answered.refusal.unwrap(), answered.body));
            match (refused, expected) {
                (None, None) => {}
                (Some((refusal, body)), Some((expected, detail))) => {
                    assert_eq!((refusal, body.contains(detail)), (expected, true), "{body}");
                }
                (refused, expected) => panic!("{refused:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn what_the_caller_can_act_on_keeps_its_status() {
        let address = genesys_client::address::check("ftp://example.com", false).unwrap_err();
        let Refused(answered) = Error::Address(address).into();
        assert_eq!((answered.status, answered.refusal), (400, Some(LifecycleRefusal::Vendor)));
        assert!(
            answered.body.starts_with(r#"{"error":"The vendor's API refused or failed","code":""#),
            "{}",
            answered.body
        );
    }
}
