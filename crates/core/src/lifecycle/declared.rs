//! What the sources declare, as the vendor's client takes it.
//!
//! Promise: a source without its secret stops a run, because a subscription that seems undeclared might be pruned.
//! Out of scope: what the vendor has.

use super::calls::{LifecycleRefusal, Refused};
use crate::audit::{Action, Draft};
use crate::config::GatewayConfig;
use crate::metrics::RefusedRuns;
use genesys_client::reconcile::{AuditAction, AuditEvent};
use genesys_client::secret::Secret;
use genesys_client::subscription::{ApiKind, Desired, EventFilter};
use genesys_webhook::profile::Profile;

const fn kind_of(profile: Profile) -> Option<ApiKind> {
    match profile {
        Profile::Webhooks => Some(ApiKind::Webhooks),
        Profile::OpenMessaging => Some(ApiKind::OpenMessaging),
        Profile::StandardWebhooks | Profile::Custom => None,
    }
}

pub fn api_kind(config: &GatewayConfig, source: &str) -> Result<ApiKind, Refused> {
    let source = config.source(source).ok_or_else(|| LifecycleRefusal::UnknownSource.answered())?;
    kind_of(source.profile).ok_or_else(|| LifecycleRefusal::NoSubscriptionApi.answered())
}

/// What a source declares. `secret`: the value of a Worker secret.
pub fn desired(
    config: &GatewayConfig,
    source: &str,
    secret: impl Fn(&str) -> Option<String>,
) -> Result<Desired, Refused> {
    let found = config.source(source).ok_or_else(|| LifecycleRefusal::UnknownSource.answered())?;
    let declared = found.subscription.as_ref().ok_or_else(|| LifecycleRefusal::NoSubscription.with(&found.name))?;
    let current = found.secrets.first().map(|secret| secret.name.as_str()).unwrap_or_default();
    let signing = secret(current).ok_or_else(|| LifecycleRefusal::MissingSecret.with(&current))?;
    let event_filter = |name: &String| EventFilter { event_type: name.clone(), filter: declared.filter.clone() };
    Ok(Desired {
        source: found.name.clone(),
        api: api_kind(config, source)?,
        name: declared.name.clone(),
        address: address(config, source),
        enabled: declared.enabled,
        event_filters: declared.event_types.iter().map(event_filter).collect(),
        secret: Secret::new(signing),
        adopt: declared.adopt,
        prune: declared.prune,
    })
}

pub fn all_desired(config: &GatewayConfig, secret: impl Fn(&str) -> Option<String>) -> Result<Vec<Desired>, Refused> {
    let declaring = config.sources.iter().filter(|source| source.subscription.is_some());
    declaring.map(|source| desired(config, &source.name, &secret)).collect()
}

/// The APIs to list, and the address that a subscription has to have: of one source what delivers to it, otherwise everything
/// of the APIs that are in use.
pub fn listed(config: &GatewayConfig, source: Option<&str>) -> Result<(Vec<ApiKind>, Option<String>), Refused> {
    let is_used = |kind: &ApiKind| config.sources.iter().any(|source| kind_of(source.profile) == Some(*kind));
    Ok(match source {
        Some(name) => (vec![api_kind(config, name)?], Some(address(config, name))),
        None => (ApiKind::ALL.into_iter().filter(is_used).collect(), None),
    })
}

fn address(config: &GatewayConfig, source: &str) -> String {
    format!("{}/webhook/{source}", config.public_url.as_deref().unwrap_or_default())
}

/// What is remembered of a run that was refused: the last report is out of date from then on. `None`: nothing changes, because
/// another run is at work, no source declares a subscription, or the same refusal is remembered. `config`: `None` where it
/// cannot be read.
pub fn remembered_refusal(
    refusal: LifecycleRefusal,
    config: Option<&GatewayConfig>,
    known: Option<&RefusedRuns>,
    now_ms: u64,
) -> Option<RefusedRuns> {
    let declares = |config: &GatewayConfig| config.sources.iter().any(|source| source.subscription.is_some());
    let code = refusal.as_str();
    let is_news = refusal != LifecycleRefusal::AlreadyRunning
        && config.is_none_or(declares)
        && known.is_none_or(|known| known.code != code);
    is_news.then(|| RefusedRuns { since_ms: now_ms, code: code.into() })
}

pub fn vendor_draft(event: AuditEvent, actor: &str) -> Draft {
    let action = match event.action {
        AuditAction::Create => Action::Create,
        AuditAction::Update => Action::Update,
        AuditAction::Delete => Action::Delete,
        AuditAction::Validate => Action::Validate,
        AuditAction::Probe => Action::Probe,
    };
    Draft {
        source: event.source,
        webhook_id: event.webhook_id,
        target_url: event.target_url,
        status_code: event.status_code,
        error: event.error,
        correlation_id: event.correlation_id,
        ..Draft::new(action, actor)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn config() -> GatewayConfig {
        let config = serde_json::json!({
            "region": "mypurecloud.ie",
            "public_url": "https://hooks.example.com",
            "sources": [
                {"name": "contact-center", "profile": "webhooks", "secrets": ["NEW", "OLD"],
                 "subscription": {"name": "Calls", "event_types": ["call:created"]}},
                {"name": "archive", "profile": "webhooks", "secrets": ["NEW"]},
                {"name": "chat", "profile": "open-messaging", "secrets": ["CHAT"], "subscription": {"name": "Chat"}},
                {"name": "other", "profile": "standard-webhooks", "secrets": ["OTHER"]}
            ]
        });
        GatewayConfig::parse(&config.to_string()).unwrap()
    }

    fn secret(name: &str) -> Option<String> {
        (name != "CHAT").then(|| format!("value of {name}"))
    }

    pub(in super::super) fn desired_of(source: &str) -> Desired {
        desired(&config(), source, secret).unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    #[test]
    fn a_source_declares_its_address_and_signs_with_its_first_secret() {
        let desired = desired_of("contact-center");
        assert_eq!((desired.api, desired.name.as_str()), (ApiKind::Webhooks, "Calls"));
        assert_eq!(desired.address, "https://hooks.example.com/webhook/contact-center");
        assert_eq!(desired.event_filters, [EventFilter { event_type: "call:created".into(), filter: "true".into() }]);
        assert!(desired.secret == Secret::new("value of NEW"));
    }

    #[test]
    fn what_is_not_declared_or_has_no_secret_is_refused_by_name() {
        let config = config();
        for (source, refusal) in [
            ("nobody", LifecycleRefusal::UnknownSource),
            ("archive", LifecycleRefusal::NoSubscription),
            ("chat", LifecycleRefusal::MissingSecret),
        ] {
            let refused = desired(&config, source, secret).err().and_then(|refused| refused.0.refusal);
            assert_eq!(refused, Some(refusal), "{source}");
        }
        // One source without its secret stops the run.
        assert!(all_desired(&config, secret).is_err());
        assert_eq!(all_desired(&config, |name| Some(name.into())).unwrap_or_default().len(), 2);
        assert_eq!(api_kind(&config, "other").unwrap_err().0.refusal, Some(LifecycleRefusal::NoSubscriptionApi));
    }

    #[test]
    fn lists_show_the_apis_in_use_or_what_delivers_to_a_source() {
        let config = config();
        assert_eq!(listed(&config, None).unwrap(), (ApiKind::ALL.to_vec(), None));
        let address = "https://hooks.example.com/webhook/archive".to_owned();
        assert_eq!(listed(&config, Some("archive")).unwrap(), (vec![ApiKind::Webhooks], Some(address)));
        assert!(listed(&config, Some("other")).is_err());
    }

    #[test]
    fn a_refused_run_is_remembered_since_its_first_of_that_reason() {
        let (config, none) = (config(), GatewayConfig { sources: vec![], ..config() });
        let known = RefusedRuns { since_ms: 1, code: "missing_secret".into() };
        for (refusal, config, since_ms) in [
            (LifecycleRefusal::AlreadyRunning, Some(&config), None),
            (LifecycleRefusal::NoRegion, Some(&none), None),
            (LifecycleRefusal::MissingSecret, Some(&config), None),
            (LifecycleRefusal::NoRegion, Some(&config), Some(9)),
            (LifecycleRefusal::BadConfiguration, None, Some(9)),
        ] {
            let remembered = remembered_refusal(refusal, config, Some(&known), 9);
            assert_eq!(remembered.map(|runs| runs.since_ms), since_ms, "{refusal:?}");
        }
    }
}
