//! The addresses that the vendor's webhooks come from (`GET /api/v2/ipranges`).
//!
//! Promise: each network once, sorted, in the form that an allow-list takes. Out of scope: updating an allow-list, which
//! belongs into configuration. The vendor announces changes.

use crate::auth::TokenSource;
use crate::client::Client;
use crate::error::Error;
use crate::json;
use crate::pagination::PageStyle;
use crate::transport::{Runtime, Transport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Services whose addresses webhooks come from: Open Messaging itself, and Web Services data actions.
const SENDING_SERVICES: [&str; 2] = ["open-messaging", "data-actions"];

/// Directions of traffic from the vendor to others.
const OUTWARD: [&str; 2] = ["outbound", "both"];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IpRange {
    /// The network, as `203.0.113.0/24`.
    pub cidr: String,
    pub service: String,
    /// The AWS region that it belongs to.
    pub region: String,
}

impl<T: Transport, R: Runtime, A: TokenSource> Client<T, R, A> {
    pub async fn webhook_ip_ranges(&self) -> Result<Vec<IpRange>, Error> {
        let entities = self.list(PageStyle::NextUri, "/api/v2/ipranges", "no permission").await?;
        let sends = |entity: &&json::Object| {
            let is_one_of = |name, known: &[&str]| json::text(entity, name).is_some_and(|value| known.contains(&value));
            is_one_of("service", &SENDING_SERVICES) && is_one_of("direction", &OUTWARD)
        };
        let ranges: BTreeSet<_> = entities
            .iter()
            .filter(sends)
            .map(|entity| IpRange {
                cidr: json::owned(entity, "cidr"),
                service: json::owned(entity, "service"),
                region: json::owned(entity, "region"),
            })
            .collect();
        Ok(ranges.into_iter().collect())
    }
}
