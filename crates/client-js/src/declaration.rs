//! Declared subscriptions, as JavaScript writes them.
//!
//! Promise: a wrong member is an error that names it. Out of scope: what the API can do, see
//! [`genesys_client::subscription`].

use crate::args::{NamedArgs, api_kind, elements, expected};
use crate::error::JsFailure;
use genesys_client::secret::Secret;
use genesys_client::subscription::{ApiKind, Desired, EventFilter};
use wasm_bindgen::JsValue;

/// Reads a declaration. `api` is its API, where it does not have to say so.
pub(crate) fn declared_subscription(value: JsValue, what: &str, api: Option<ApiKind>) -> Result<Desired, JsFailure> {
    let mut options = NamedArgs::new(value, what)?;
    let api = match (api, options.value("api")?) {
        (Some(api), None) => api,
        (wanted, Some(named)) => {
            let named = api_kind(&named, &format!("{what}.api"))?;
            if wanted.is_some_and(|wanted| wanted != named) {
                return Err(JsFailure::argument(format!("{what}.api: is not the API of these subscriptions")));
            }
            named
        }
        (None, None) => return Err(JsFailure::argument(format!("{what}.api: is required"))),
    };
    let name = options.required_text("name")?;
    let desired = Desired {
        source: options.text("source")?.unwrap_or_else(|| name.clone()),
        api,
        address: options.required_text("address")?,
        enabled: options.flag("enabled")?.unwrap_or(true),
        event_filters: match options.value("eventFilters")? {
            None => vec![],
            Some(filters) => event_filters(&filters, &format!("{what}.eventFilters"))?,
        },
        secret: Secret::new(options.required_text("secret")?),
        adopt: options.flag("adopt")?.unwrap_or(false),
        prune: options.flag("prune")?.unwrap_or(false),
        name,
    };
    options.finish()?;
    Ok(desired)
}

fn event_filters(value: &JsValue, what: &str) -> Result<Vec<EventFilter>, JsFailure> {
    elements(value, what)?
        .iter()
        .map(|filter| {
            if let Some(event_type) = filter.as_string() {
                return Ok(EventFilter { event_type, filter: "true".to_owned() });
            }
            if !filter.is_object() {
                return Err(expected(what, "names of event types, or objects with eventType and filter", &filter));
            }
            let mut options = NamedArgs::new(filter, what)?;
            let event_type = options.required_text("eventType")?;
            let filter = options.text("filter")?.unwrap_or_else(|| "true".to_owned());
            options.finish()?;
            Ok(EventFilter { event_type, filter })
        })
        .collect()
}
