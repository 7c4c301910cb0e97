//! A running simulator with a client and a token, and short ways to say what tests say often.

use genesys_simulator::{DeliveryPolicy, DeliveryRecord, Handle, SendOutcome, Simulator, SimulatorConfig, VendorApi};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) const WEBHOOKS: &str = "/api/v2/webhooks/webhooks";
pub(crate) const OPEN: &str = "/api/v2/conversations/messaging/integrations/open";
pub(crate) const SECRET: &str = "a secret of the subscription";

pub(crate) struct TestSimulator {
    pub(crate) simulator: Handle,
    pub(crate) client: reqwest::Client,
    pub(crate) token: String,
}

/// Starts with a configuration changed by `change`. Retries come at once, and waiting for a hanging test is bounded.
pub(crate) async fn start_with(change: impl FnOnce(&mut SimulatorConfig)) -> TestSimulator {
    let mut config = SimulatorConfig::default();
    config.settings.policy = DeliveryPolicy { retry_pause_ms: 1, ..DeliveryPolicy::default() };
    config.settings.sizes.truncate(3);
    config.settings.create_completes_after_ms = 0;
    change(&mut config);
    let simulator = Simulator::start(config).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
    let mut running = TestSimulator { simulator, client, token: String::new() };
    running.token = running.new_token().await;
    running
}

pub(crate) async fn start() -> TestSimulator {
    start_with(|_| {}).await
}

/// An answer, read.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn read(response: Response) -> Reply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body)));
    Reply { status, headers, body }
}

impl TestSimulator {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.base_url())
    }

    pub(crate) fn sink_url(&self, name: &str) -> String {
        self.url(&format!("/sink/{name}"))
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), self.url(path))
    }

    /// A call of the API with the token.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let mut request = self.request(method, path).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn put(&self, path: &str, etag: &str, body: &Value) -> Reply {
        let request = self.request("PUT", path).bearer_auth(&self.token).header("If-Match", etag).json(body);
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn ask_for_token(&self, id: &str, secret: &str) -> Reply {
        let form = [("grant_type", "client_credentials")];
        read(self.request("POST", "/oauth/token").basic_auth(id, Some(secret)).form(&form).send().await.unwrap()).await
    }

    pub(crate) async fn new_token(&self) -> String {
        let answer = self.ask_for_token("simulator-client", "simulator-secret").await;
        answer.body["access_token"].as_str().unwrap().to_owned()
    }

    /// Subscribes the sink `name` to two event types and returns the subscription's id.
    pub(crate) fn subscribe(&self, name: &str) -> String {
        self.simulator.create_subscription(VendorApi::Webhooks, fields(&webhook(name, &self.sink_url(name)))).unwrap()
    }

    /// The bodies that were answered with 2xx.
    pub(crate) fn accepted_digests(&self) -> BTreeSet<[u8; 32]> {
        let accepted = |record: &DeliveryRecord| (record.outcome == SendOutcome::Accepted).then_some(record.digest);
        self.simulator.sender().records(accepted).into_iter().collect()
    }

    /// How many of them a sink has not accepted.
    pub(crate) fn missing(&self, sink: &str) -> usize {
        let sink = self.simulator.sink(sink).unwrap();
        let arrived = |digest: &&[u8; 32]| sink.arrival(digest).is_some_and(|arrival| arrival.accepted > 0);
        self.accepted_digests().iter().filter(|digest| !arrived(digest)).count()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.simulator.subscriptions().into_iter().map(|one| one.name).collect()
    }
}

pub(crate) fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(crate) fn webhook(name: &str, address: &str) -> Value {
    json!({
        "name": name,
        "address": address,
        "enabled": true,
        "eventFilters": [{ "eventType": "call:created", "filter": "true" }, { "eventType": "call:answered", "filter": "true" }],
        "customProperties": { "webhook.signature.secret": SECRET, "webhook.created.by": "tests" },
    })
}

pub(crate) fn integration(name: &str, address: &str) -> Value {
    json!({
        "name": name,
        "outboundNotificationWebhookUrl": address,
        "outboundNotificationWebhookSignatureSecretToken": SECRET,
        "webhookHeaders": { "X-Gateway-Owner": "tests" },
    })
}

/// Polls for what nothing announces.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    let patience = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), patience).await.expect("it never came true");
}
