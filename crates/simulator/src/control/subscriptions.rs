//! The subscriptions as they are, and new ones as another client would make them.

use super::{ControlError, ControlResult, Given};
use crate::api::{create_integration, create_webhook};
use crate::clock::now_ms;
use crate::sender::loopback;
use crate::signature::sha256;
use crate::state::{Sim, SimulatorState};
use crate::store::{Entity, VendorApi};
use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A subscription as it is, whatever the API shows of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    pub id: String,
    pub api: VendorApi,
    pub name: String,
    pub address: String,
    /// Counts the writes; 1 after the creation.
    pub version: u64,
    /// Whether it is enabled and provisioned.
    pub delivers: bool,
    /// Whether the sender sends to its address: loopback only.
    pub loopback: bool,
    /// Whether it was deleted and is only still shown.
    pub deleted: bool,
    /// SHA-256 of the signing secret in hex, if there is one.
    pub secret_sha256: Option<String>,
    /// The fields that a caller may set, without secrets.
    pub fields: Map<String, Value>,
}

fn view(entity: &Entity, now_ms: u64) -> SubscriptionView {
    let mut fields = entity.fields.clone();
    if let Some(Value::Object(properties)) = fields.get_mut("customProperties") {
        properties.remove(crate::store::SECRET_PROPERTY);
    }
    SubscriptionView {
        id: entity.id.clone(),
        api: entity.api,
        name: entity.text("name").to_owned(),
        address: entity.address().to_owned(),
        version: entity.version,
        delivers: entity.delivers(now_ms),
        loopback: loopback(entity.address()).is_some(),
        deleted: entity.gone_at_ms.is_some(),
        secret_sha256: entity.secret().map(|secret| hex::encode(sha256(secret.as_bytes()))),
        fields,
    }
}

pub(crate) fn views(state: &SimulatorState) -> Vec<SubscriptionView> {
    let now_ms = now_ms();
    state.store.lock().all(now_ms).map(|entity| view(entity, now_ms)).collect()
}

pub(crate) fn create(state: &SimulatorState, api: VendorApi, body: Map<String, Value>) -> Result<String, String> {
    let created = match api {
        VendorApi::Webhooks => create_webhook(state, body),
        VendorApi::OpenMessaging => create_integration(state, body, false),
    };
    created.map(|entity| entity.id).map_err(|error| error.message)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateSubscription {
    api: VendorApi,
    body: Map<String, Value>,
}

/// `POST /control/subscriptions` `{"api": "webhooks" | "open-messaging", "body": {…}}`.
pub(super) async fn post(state: Sim, Given(wanted): Given<CreateSubscription>) -> ControlResult<Value> {
    let CreateSubscription { api, body } = wanted;
    let id = create(&state, api, body).map_err(ControlError::bad)?;
    Ok(Json(json!({ "id": id })))
}
