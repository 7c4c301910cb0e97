//! Structured logs: one line of JSON per event that matters.
//!
//! Promise: no secrets and no bodies; callers pass codes, names, identifiers and error texts that contain neither.

use serde_json::{Map, Value};

fn line(level: &str, event: &str, fields: &[(&str, &str)]) -> String {
    let mut map = Map::new();
    map.insert("level".into(), level.into());
    map.insert("event".into(), event.into());
    for (name, value) in fields {
        map.insert((*name).into(), (*value).into());
    }
    Value::Object(map).to_string()
}

/// Something that an operator has to look at.
pub(crate) fn error(event: &str, fields: &[(&str, &str)]) {
    worker::console_error!("{}", line("error", event, fields));
}

/// Something that repairs itself, and that explains a delay or a refusal.
pub(crate) fn warn(event: &str, fields: &[(&str, &str)]) {
    worker::console_warn!("{}", line("warn", event, fields));
}

/// Something that happens seldom and changes something.
pub(crate) fn info(event: &str, fields: &[(&str, &str)]) {
    worker::console_log!("{}", line("info", event, fields));
}
