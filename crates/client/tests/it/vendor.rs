//! A Genesys Cloud in memory: tokens, catalogue, both subscription APIs, and faults that can be lined up.
//!
//! It does what the vendor's documentation says, with ETag and 412, asynchronous creates, lists that lag, and a 429 that
//! still applied the write.

use crate::clock::Clock;
use genesys_client::transport::Method;
use genesys_client::{HttpRequest, HttpResponse, Runtime as _, Transport, TransportError};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) const LOGIN: &str = "https://login.example.com";
pub(crate) const API: &str = "https://api.example.com";
pub(crate) const WEBHOOKS: &str = "/api/v2/webhooks/webhooks";
pub(crate) const INTEGRATIONS: &str = "/api/v2/conversations/messaging/integrations/open";

/// What happens to one API request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InjectedFault {
    None,
    ConnectionRefused,
    LostBefore,
    LostAfter,
    ErrorBefore(u16),
    ErrorAfter(u16),
    LimitedBefore(u64),
    LimitedAfter(u64),
    TokenRevoked,
    OtherWriter,
    NotJson,
}

#[derive(Clone, Debug)]
pub(crate) struct Thing {
    pub(crate) fields: Map<String, Value>,
    pub(crate) version: u64,
    /// Visible to reads and lists from this time on.
    pub(crate) visible_at_ms: u64,
    /// `createStatus` changes from Initiated to its end then.
    pub(crate) completes_at_ms: u64,
    pub(crate) create_fails: bool,
    pub(crate) deleted_at_ms: Option<u64>,
}

#[derive(Default)]
pub(crate) struct VendorState {
    pub(crate) webhooks: BTreeMap<String, Thing>,
    pub(crate) integrations: BTreeMap<String, Thing>,
    pub(crate) event_types: Vec<String>,
    pub(crate) faults: VecDeque<InjectedFault>,
    pub(crate) log: Vec<String>,
    /// Names of creates that were carried out, in order.
    pub(crate) creates: Vec<String>,
    /// Ids of deletes that were carried out, in order.
    pub(crate) deletes: Vec<String>,
    pub(crate) token_requests: u32,
    pub(crate) valid_token: String,
    pub(crate) lag_ms: u64,
    pub(crate) delete_lag_ms: u64,
    pub(crate) failing_creates: u32,
    pub(crate) next_id: u64,
    pub(crate) page_size: usize,
    /// Requests allowed per minute; 0: no limit and no headers.
    pub(crate) allowed: u64,
    pub(crate) window: (u64, u64),
    pub(crate) refused_by_limit: u32,
    pub(crate) dead_addresses: bool,
    /// The webhook API gives secrets back as asterisks.
    pub(crate) hides_secrets: bool,
    pub(crate) requires_if_match: bool,
}

#[derive(Clone)]
pub(crate) struct FakeVendor {
    pub(crate) clock: Arc<Clock>,
    state: Arc<Mutex<VendorState>>,
}

impl FakeVendor {
    pub(crate) fn new() -> Self {
        let state = VendorState {
            event_types: ["call:created", "call:answered", "call:ended", "chat:created"].map(str::to_owned).to_vec(),
            page_size: 100,
            requires_if_match: true,
            ..VendorState::default()
        };
        Self { clock: Arc::new(Clock::new()), state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, VendorState> {
        self.state.lock().unwrap()
    }

    /// Adds an object as another program would have.
    pub(crate) fn put(&self, path: &str, fields: Value) -> String {
        let mut state = self.state();
        state.next_id += 1;
        let id = format!("id-{:04}", state.next_id);
        let Value::Object(mut fields) = fields else { panic!("an object") };
        fields.insert("id".into(), id.clone().into());
        let thing = Thing {
            fields,
            version: 1,
            visible_at_ms: 0,
            completes_at_ms: 0,
            create_fails: false,
            deleted_at_ms: None,
        };
        state.things(path).insert(id.clone(), thing);
        id
    }

    /// What is there under a name, not counting what is deleted.
    pub(crate) fn named(&self, path: &str, name: &str) -> Vec<Thing> {
        let mut state = self.state();
        state
            .things(path)
            .values()
            .filter(|thing| thing.fields["name"] == name && thing.deleted_at_ms.is_none())
            .cloned()
            .collect()
    }

    pub(crate) fn writes(&self) -> usize {
        self.state()
            .log
            .iter()
            .filter(|line| !line.starts_with("GET") && !line.starts_with("HEAD") && !line.contains("/oauth/"))
            .count()
    }

    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        state.log.push(format!("{} {}", request.method.as_str(), request.url));
        let header = |name: &str| request.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        if request.url.starts_with(LOGIN) {
            state.token_requests += 1;
            state.valid_token = format!("token-{}", state.token_requests);
            return Ok(respond(
                200,
                &json!({"access_token": state.valid_token, "token_type": "bearer", "expires_in": 86_400}),
            ));
        }
        let Some(path) = request.url.strip_prefix(API).map(str::to_owned) else {
            return if state.dead_addresses {
                Err(TransportError::connect("no connection"))
            } else {
                Ok(respond(204, &Value::Null))
            };
        };
        let fault = state.faults.pop_front().unwrap_or(InjectedFault::None);
        match fault {
            InjectedFault::ConnectionRefused => return Err(TransportError::connect("no connection")),
            InjectedFault::LostBefore => return Err(TransportError::timeout("no answer")),
            InjectedFault::ErrorBefore(status) => {
                return Ok(respond(status, &json!({"message": "failed", "contextId": "ctx"})));
            }
            InjectedFault::NotJson => {
                return Ok(HttpResponse {
                    status: 502,
                    headers: Vec::new(),
                    body: b"<html>bad gateway</html>".to_vec(),
                });
            }
            InjectedFault::LimitedBefore(seconds) => return Ok(limited(seconds)),
            InjectedFault::TokenRevoked => state.valid_token = "revoked".into(),
            InjectedFault::OtherWriter => state.other_writer(&path),
            InjectedFault::None
            | InjectedFault::LostAfter
            | InjectedFault::ErrorAfter(_)
            | InjectedFault::LimitedAfter(_) => {}
        }
        if header("authorization") != Some(format!("Bearer {}", state.valid_token)) {
            return Ok(respond(401, &json!({"message": "no", "code": "bad.credentials"})));
        }
        if state.allowed > 0 {
            let window = now_ms / 60_000;
            state.window = if state.window.0 == window { (window, state.window.1 + 1) } else { (window, 1) };
            if state.window.1 > state.allowed {
                state.refused_by_limit += 1;
                return Ok(limited(60 - now_ms % 60_000 / 1_000));
            }
        }
        let mut response =
            state.handle(request.method.clone(), &path, request.body.as_deref(), header("if-match").as_deref(), now_ms);
        match fault {
            InjectedFault::LostAfter => return Err(TransportError::other("connection reset")),
            InjectedFault::ErrorAfter(status) => response = respond(status, &json!({"message": "failed after"})),
            InjectedFault::LimitedAfter(seconds) => response = limited(seconds),
            _ => {}
        }
        response.headers.push(("ININ-Correlation-Id".into(), format!("corr-{}", state.log.len())));
        if state.allowed > 0 {
            for (name, value) in
                [("count", state.window.1), ("allowed", state.allowed), ("reset", 60 - now_ms % 60_000 / 1_000)]
            {
                response.headers.push((format!("inin-ratelimit-{name}"), value.to_string()));
            }
        }
        Ok(response)
    }
}

impl Transport for FakeVendor {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.clock.advance(20);
        self.answer(&request)
    }
}

fn respond(status: u16, body: &Value) -> HttpResponse {
    HttpResponse { status, headers: Vec::new(), body: serde_json::to_vec(body).unwrap() }
}

fn limited(seconds: u64) -> HttpResponse {
    let mut response = respond(429, &json!({"message": "Rate limit exceeded", "code": "too.many.requests"}));
    response.headers.push(("Retry-After".into(), seconds.to_string()));
    response
}

impl VendorState {
    fn things(&mut self, path: &str) -> &mut BTreeMap<String, Thing> {
        if path.starts_with(WEBHOOKS) { &mut self.webhooks } else { &mut self.integrations }
    }

    fn other_writer(&mut self, path: &str) {
        let id = path.rsplit('/').next().unwrap_or_default().to_owned();
        if let Some(thing) = self.things(path).get_mut(&id) {
            thing.version += 1;
            thing.fields.insert("touchedBy".into(), "another writer".into());
        }
    }

    fn handle(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
        if_match: Option<&str>,
        now_ms: u64,
    ) -> HttpResponse {
        let (route, query) = path.split_once('?').unwrap_or((path, ""));
        let page = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("page=").or(pair.strip_prefix("pageNumber=")))
            .map_or(1, |page| page.parse().unwrap());
        let body: Map<String, Value> = body.map(|body| serde_json::from_slice(body).unwrap()).unwrap_or_default();
        if route == "/api/v2/eventtypes" {
            let all =
                self.event_types.iter().map(|name| json!({"id": name, "name": name, "description": "…"})).collect();
            return self.page(all, page);
        }
        let webhooks = route.starts_with(WEBHOOKS);
        let collection = if webhooks { WEBHOOKS } else { INTEGRATIONS };
        let id = route.strip_prefix(collection).unwrap().trim_start_matches('/').to_owned();
        match (method, id.as_str()) {
            (Method::GET, "") => {
                let delete_lag_ms = self.delete_lag_ms;
                let hides = self.hides_secrets;
                let all = self
                    .things(collection)
                    .values()
                    .filter(|thing| {
                        thing.visible_at_ms <= now_ms
                            && thing.deleted_at_ms.is_none_or(|at| !webhooks && now_ms < at + delete_lag_ms)
                    })
                    .map(|thing| show(thing, webhooks, hides, now_ms))
                    .collect();
                self.page(all, page)
            }
            (Method::POST, "") => self.create(webhooks, body, now_ms),
            (Method::GET, id) => {
                let hides = self.hides_secrets;
                match self
                    .things(collection)
                    .get(id)
                    .filter(|thing| thing.visible_at_ms <= now_ms && thing.deleted_at_ms.is_none())
                {
                    Some(thing) => {
                        let mut response = respond(200, &show(thing, webhooks, hides, now_ms));
                        if webhooks {
                            response.headers.push(("ETag".into(), format!("\"{}\"", thing.version)));
                        }
                        response
                    }
                    None => respond(404, &json!({"message": "not found", "code": "not.found"})),
                }
            }
            (Method::PUT | Method::PATCH, id) => self.write(webhooks, id, body, if_match),
            (Method::DELETE, id) => {
                match self.things(collection).get_mut(id).filter(|thing| thing.deleted_at_ms.is_none()) {
                    Some(thing) => {
                        thing.deleted_at_ms = Some(now_ms);
                        self.deletes.push(id.to_owned());
                        respond(204, &Value::Null)
                    }
                    None => respond(404, &json!({"message": "not found"})),
                }
            }
            _ => respond(405, &Value::Null),
        }
    }

    fn create(&mut self, webhooks: bool, mut fields: Map<String, Value>, now_ms: u64) -> HttpResponse {
        self.next_id += 1;
        let id = format!("id-{:04}", self.next_id);
        fields.insert("id".into(), id.clone().into());
        self.creates.push(fields["name"].as_str().unwrap().to_owned());
        let lag_ms = if webhooks { 0 } else { self.lag_ms };
        let create_fails = !webhooks && self.failing_creates > 0;
        self.failing_creates = self.failing_creates.saturating_sub(u32::from(!webhooks));
        let thing = Thing {
            fields,
            version: 1,
            visible_at_ms: now_ms + lag_ms,
            completes_at_ms: now_ms + lag_ms,
            create_fails,
            deleted_at_ms: None,
        };
        let answer = respond(if webhooks { 201 } else { 202 }, &show(&thing, webhooks, self.hides_secrets, now_ms));
        let path = if webhooks { WEBHOOKS } else { INTEGRATIONS };
        self.things(path).insert(id, thing);
        answer
    }

    fn write(&mut self, webhooks: bool, id: &str, body: Map<String, Value>, if_match: Option<&str>) -> HttpResponse {
        let requires = self.requires_if_match;
        let path = if webhooks { WEBHOOKS } else { INTEGRATIONS };
        let Some(thing) = self.things(path).get_mut(id).filter(|thing| thing.deleted_at_ms.is_none()) else {
            return respond(404, &json!({"message": "not found"}));
        };
        if webhooks && requires && if_match != Some(format!("\"{}\"", thing.version).as_str()) {
            return respond(412, &json!({"message": "precondition failed"}));
        }
        thing.version += 1;
        if webhooks {
            thing.fields = body;
        } else {
            thing.fields.extend(body);
        }
        respond(200, &Value::Object(thing.fields.clone()))
    }

    fn page(&self, all: Vec<Value>, page: usize) -> HttpResponse {
        let pages = all.len().div_ceil(self.page_size);
        let total = all.len();
        let entities: Vec<Value> = all.into_iter().skip((page - 1) * self.page_size).take(self.page_size).collect();
        respond(
            200,
            &json!({"entities": entities, "pageCount": pages, "totalPageCount": pages, "total": total, "pageNumber": page}),
        )
    }
}

fn show(thing: &Thing, webhooks: bool, hides: bool, now_ms: u64) -> Value {
    let mut fields = thing.fields.clone();
    if webhooks {
        if hides
            && let Some(secret) =
                fields.get_mut("customProperties").and_then(|properties| properties.get_mut("webhook.signature.secret"))
        {
            *secret = "********".into();
        }
    } else {
        fields.remove("outboundNotificationWebhookSignatureSecretToken");
        let status = match (now_ms < thing.completes_at_ms, thing.create_fails) {
            (true, _) => "Initiated",
            (false, true) => "Error",
            (false, false) => "Completed",
        };
        fields.insert("createStatus".into(), status.into());
        if status == "Error" {
            fields.insert("createError".into(), json!({"message": "the platform refused"}));
        }
    }
    Value::Object(fields)
}
