//! What a simulator is started with ([`SimulatorConfig`]) and what can be changed while it runs ([`SimulatorSettings`]).
//!
//! Promise: every default is the vendor's figure where there is one.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SimulatorConfig {
    /// The address to listen on. Anything but loopback is refused.
    pub bind: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// What every random choice derives from.
    pub seed: u64,
    pub clients: Vec<OauthClient>,
    pub extra_event_types: Vec<String>,
    /// How many deliveries' outcomes are kept; later ones are counted only.
    pub max_records: usize,
    /// How many bodies (by digest) a sink remembers; later ones are counted only.
    pub max_sink_entries: usize,
    /// What can be changed later by `PATCH /control/settings`.
    pub settings: SimulatorSettings,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            seed: 1,
            clients: vec![OauthClient::default()],
            extra_event_types: Vec::new(),
            max_records: 200_000,
            max_sink_entries: 200_000,
            settings: SimulatorSettings::default(),
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OauthClient {
    pub id: String,
    pub secret: String,
    /// Scopes and permissions, for example `webhook:write` or `messaging:integration:add`; all of them when absent.
    #[serde(default)]
    pub permissions: Option<Vec<String>>,
}

impl Default for OauthClient {
    fn default() -> Self {
        Self { id: "simulator-client".to_owned(), secret: "simulator-secret".to_owned(), permissions: None }
    }
}

impl std::fmt::Debug for OauthClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OauthClient")
            .field("id", &self.id)
            .field("permissions", &self.permissions)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SimulatorSettings {
    /// Lifetime of a new token in seconds. Genesys: 300 to 172,800, by default 86,400.
    pub token_lifetime_s: u64,
    /// Token requests a minute and client before the token endpoint's own form of a rate limit (400).
    pub token_requests_per_minute: u64,
    pub rate_limit: RateLimit,
    /// How long a created webhook stays invisible, and a deleted one visible, in milliseconds.
    pub webhooks_lag_ms: u64,
    /// The same for Open Messaging integrations.
    pub open_messaging_lag_ms: u64,
    /// From the create of an integration until its `createStatus` goes from `Initiated` to `Completed`, in milliseconds.
    pub create_completes_after_ms: u64,
    /// Whether `customProperties["webhook.signature.secret"]` is given back; otherwise it reads as asterisks.
    pub webhook_secret_readable: bool,
    /// Whether browsers may call `/api` and `/oauth` from any origin.
    pub cors: bool,
    pub policy: DeliveryPolicy,
    /// How many requests of the sender may wait for their answers at once. A change applies from the next reset.
    pub max_in_flight: usize,
    /// How many deliveries may be unfinished at once, those that wait for a retry included. A change applies from the next reset.
    pub max_pending: usize,
    /// What is sent: the weight of each kind.
    pub mix: BTreeMap<DeliveryKind, u32>,
    pub sizes: Vec<BodySize>,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            token_lifetime_s: 86_400,
            token_requests_per_minute: 300,
            rate_limit: RateLimit::default(),
            webhooks_lag_ms: 0,
            open_messaging_lag_ms: 0,
            create_completes_after_ms: 100,
            webhook_secret_readable: true,
            cors: false,
            policy: DeliveryPolicy::default(),
            max_in_flight: 64,
            max_pending: 10_000,
            mix: BTreeMap::from([
                (DeliveryKind::Valid, 90),
                (DeliveryKind::Tampered, 2),
                (DeliveryKind::Unsigned, 2),
                (DeliveryKind::MalformedJson, 2),
                (DeliveryKind::MissingEvents, 2),
                (DeliveryKind::Duplicate, 2),
            ]),
            sizes: [(1_024, 60), (4_096, 25), (16_384, 10), (65_536, 4), (200_000, 1)]
                .map(|(bytes, weight)| BodySize { bytes, weight })
                .to_vec(),
        }
    }
}

impl SimulatorSettings {
    /// The error says which setting is wrong.
    pub fn check(&self) -> Result<(), String> {
        let problems = [
            (self.mix.values().all(|weight| *weight == 0), "mix: at least one weight must be above 0"),
            (self.sizes.iter().all(|size| size.weight == 0), "sizes: at least one weight must be above 0"),
            (self.sizes.iter().any(|size| size.bytes > MAX_BODY_BYTES), "sizes: at most 16 MiB"),
            (self.rate_limit.window_ms == 0, "rateLimit.windowMs: must be above 0"),
            (self.max_in_flight == 0 || self.max_pending == 0, "maxInFlight, maxPending: must be above 0"),
        ];
        problems.into_iter().find(|(is_wrong, _)| *is_wrong).map_or(Ok(()), |(_, problem)| Err(problem.to_owned()))
    }
}

/// The largest body that the sender makes and that the sink takes.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// The limit of API requests. Genesys: 300 a minute for each client-credentials token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RateLimit {
    /// Requests allowed in a window, by token.
    pub requests: u64,
    pub window_ms: u64,
    /// Whether answers carry `inin-ratelimit-count|allowed|reset`.
    pub headers: bool,
    /// Whether `Retry-After` is an HTTP date instead of seconds.
    pub http_date: bool,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { requests: 300, window_ms: 60_000, headers: true, http_date: false }
    }
}

/// Genesys' delivery policy: an answer within 10 s; up to 5 retries on timeout, 429 or 5xx only, 5 s apart.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeliveryPolicy {
    pub timeout_ms: u64,
    pub retries: u32,
    /// The pause before each repetition.
    pub retry_pause_ms: u64,
}

impl Default for DeliveryPolicy {
    fn default() -> Self {
        Self { timeout_ms: 10_000, retries: 5, retry_pause_ms: 5_000 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// Genuine: signed, well formed.
    Valid,
    /// Changed after it was signed, or signed with another secret.
    Tampered,
    Unsigned,
    MalformedJson,
    /// Correctly signed JSON without what its profile demands: the `events` array; for Open Messaging, an object.
    MissingEvents,
    /// The same bytes as an earlier valid delivery that was accepted.
    Duplicate,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BodySize {
    /// The length that a body is filled up to. The smallest realistic event is a little under 1 KB and is sent whole.
    pub bytes: usize,
    pub weight: u32,
}
