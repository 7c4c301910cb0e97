//! Where the sender sends to: subscriptions that are enabled and ready, and loopback addresses only.

use crate::store::{Entity, SubscriptionStore, VendorApi};
use reqwest::Url;
use serde_json::Value;

/// A subscription as a delivery needs it.
#[derive(Clone, Debug)]
pub(super) struct DeliveryTarget {
    pub(super) id: String,
    pub(super) api: VendorApi,
    pub(super) url: Url,
    pub(super) secret: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) event_types: Vec<String>,
}

/// The address if it may be sent to: plain http to a loopback address or to `localhost` (which is not looked up).
pub(crate) fn loopback(address: &str) -> Option<Url> {
    let url: Url = address.parse().ok()?;
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_loopback = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    (url.scheme() == "http" && is_loopback).then_some(url)
}

fn target(entity: &Entity) -> Option<DeliveryTarget> {
    let headers = entity.fields.get("webhookHeaders").and_then(Value::as_object);
    let filters = entity.fields.get("eventFilters").and_then(Value::as_array);
    Some(DeliveryTarget {
        id: entity.id.clone(),
        api: entity.api,
        url: loopback(entity.address())?,
        secret: entity.secret().map(str::to_owned),
        headers: headers
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        event_types: filters
            .into_iter()
            .flatten()
            .filter_map(|filter| Some(filter.get("eventType")?.as_str()?.to_owned()))
            .collect(),
    })
}

/// The target of delivery `number`: those that can be delivered to take turns. `only` names one of them.
pub(super) fn choose(
    store: &SubscriptionStore,
    only: Option<&str>,
    number: u64,
    now_ms: u64,
) -> Option<DeliveryTarget> {
    let deliverable = || {
        store.all(now_ms).filter(|entity| {
            entity.delivers(now_ms) && only.is_none_or(|id| id == entity.id) && loopback(entity.address()).is_some()
        })
    };
    let turn = number.checked_rem(deliverable().count() as u64)?;
    deliverable().nth(usize::try_from(turn).ok()?).and_then(target)
}

#[cfg(test)]
mod tests {
    use super::loopback;

    #[test]
    fn only_plain_http_to_loopback_is_sent_to() {
        for address in
            ["http://127.0.0.1:8787/webhook/a", "http://localhost/", "http://[::1]:80/x", "http://127.9.9.9/"]
        {
            assert!(loopback(address).is_some(), "{address}");
        }
        for address in [
            "https://127.0.0.1/",
            "http://example.com/",
            "http://127.0.0.1.example.com/",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "http://169.254.169.254/",
            "http://localhost.example.com/",
            "http://user@example.com#@127.0.0.1/",
            "/relative",
            "",
        ] {
            assert!(loopback(address).is_none(), "{address}");
        }
    }
}
