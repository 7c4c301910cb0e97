//! Profiles: the names under which a source chooses its signature scheme, envelope and subscription API.
//!
//! Promise: one closed list with stable names. Out of scope: what a profile means, see [`crate::scheme`].

use serde::{Deserialize, Serialize};

/// Preset of signature scheme, envelope and subscription API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Profile {
    /// Webhook subscriptions: `X-Genesys-Signature` in hexadecimal over the raw body, an `events` array.
    Webhooks,
    /// Open Messaging integrations: `X-Hub-Signature-256: sha256=` and base64, one object a delivery.
    OpenMessaging,
    /// Standard Webhooks (<https://www.standardwebhooks.com>): `id.timestamp.body`, several signatures.
    StandardWebhooks,
    Custom,
}

impl Profile {
    pub const ALL: [Self; 4] = [Self::Webhooks, Self::OpenMessaging, Self::StandardWebhooks, Self::Custom];

    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }
}
