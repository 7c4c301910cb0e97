//! Structured logs: one line of JSON per event that matters.
//!
//! Promise: no secrets and no bodies; callers pass codes, names, identifiers and error texts that contain neither.

use serde::Serializer as _;

fn line(level: &str, event: &str, fields: &[(&str, &str)]) -> String {
    let head = [("level", level), ("event", event)];
    let mut line = vec![];
    // Texts written into memory: nothing of it can fail.
    let _ = serde_json::Serializer::new(&mut line).collect_map(head.iter().chain(fields).copied());
    String::from_utf8(line).unwrap_or_default()
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
