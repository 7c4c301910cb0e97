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

/// An event type that the catalogue does not have.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnknownEventType<'a> {
    event_type: &'a str,
    near: Vec<String>,
}

/// What the vendor said, as the management API shows it.
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

    fn refusal(checked: Result<(), Refused>) -> Option<(LifecycleRefusal, String)> {
        checked.err().map(|Refused(answered)| (answered.refusal.unwrap(), answered.body))
    }

    #[test]
    fn a_name_that_is_taken_is_refused_with_its_identifier() {
        let found = [("a", "1"), ("b", "2")];
        assert_eq!(refusal(is_free("c", found.into_iter())), None);
        let (refused, body) = refusal(is_free("b", found.into_iter())).unwrap();
        assert_eq!((refused, body.contains(r#""detail":"2""#)), (LifecycleRefusal::Exists, true), "{body}");
    }

    #[test]
    fn unknown_event_types_are_refused_with_similar_ones() {
        let known = |name: &str| EventType { id: name.into(), name: name.into(), description: String::new() };
        let desired = desired_of("contact-center");
        assert_eq!(refusal(has_known_events(&desired, &Catalogue::new(&[known("call:created")]))), None);
        let (refused, body) = refusal(has_known_events(&desired, &Catalogue::new(&[known("call:creates")]))).unwrap();
        assert_eq!(refused, LifecycleRefusal::UnknownEventType);
        assert!(body.contains(r#"[{"eventType":"call:created","near":["call:creates"]}]"#), "{body}");
    }

    #[test]
    fn an_address_that_does_not_answer_is_refused_with_what_was_found() {
        let probe = |reachable| Probe { reachable, status: Some(502), ..Probe::default() };
        assert_eq!(refusal(answers(&probe(true))), None);
        let (refused, body) = refusal(answers(&probe(false))).unwrap();
        assert_eq!((refused, body.contains(r#""status":502"#)), (LifecycleRefusal::UnreachableAddress, true), "{body}");
    }

    #[test]
    fn a_subscription_of_another_source_is_not_taken() {
        let config = config();
        for (source, name, refused) in [
            ("contact-center", "Calls", None),
            ("contact-center", "of nobody", None),
            ("archive", "Calls", Some(LifecycleRefusal::OtherSource)),
        ] {
            let found = refusal(is_of_source(&config, source, name)).map(|(refusal, _)| refusal);
            assert_eq!(found, refused, "{source} {name}");
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
