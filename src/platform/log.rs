//! Structured logs: one line of JSON per event that matters.
//!
//! Promises: no secrets and no bodies; callers pass codes, names, identifiers and error texts that contain neither (what another
//! side answered may quote both). `delivery` is the identifier that the sender and the destination were told, `correlation` the
//! one under which the vendor's support finds a request. A field without a value is left out.

use serde::Serializer as _;

/// The longest correlation identifier that is logged: the vendor's have 36 characters, a sender's may be anything.
const MAX_CORRELATION_BYTES: usize = 128;

/// The correlation identifier among the kept headers of a delivery.
pub(crate) fn correlation<N: AsRef<str>, V: AsRef<str>>(headers: &[(N, V)]) -> &str {
    let found =
        headers.iter().find(|(name, _)| name.as_ref() == "inin-correlation-id").map(|(_, value)| value.as_ref());
    found.filter(|value| value.len() <= MAX_CORRELATION_BYTES).unwrap_or_default()
}

fn line(level: &str, event: &str, fields: &[(&str, &str)]) -> String {
    let head = [("level", level), ("event", event)];
    let mut line = vec![];
    // Texts written into memory: nothing of it can fail.
    let fields = head.iter().chain(fields).filter(|(_, value)| !value.is_empty());
    let _ = serde_json::Serializer::new(&mut line).collect_map(fields.copied());
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
