//! Names of Worker secrets and bindings, and addresses, wherever they stand in the configuration.
//!
//! Promise: what is no name is never quoted, because it may be the secret itself. Out of scope: whether something is bound.

use super::reader::Table;
use genesys_client::address;
use serde_json::Value;

/// What is said where the name of a Worker secret is not one; the text that stood there might be the secret itself.
pub(super) const NOT_A_BINDING: &str =
    "expected the name of a Worker secret (letters, digits and _, not beginning with a digit)";

/// Most secrets that sign one request: a rotation has two.
const MAX_SIGNING_SECRETS: usize = 4;

pub(super) fn is_binding(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The key `url`, an address that may be asked.
pub(super) fn url(table: &Table<'_>, allow_private: bool) -> Option<String> {
    let url = table.required_text("url")?;
    if let Err(refusal) = address::check(url, allow_private) {
        table.problem("url", refusal.to_string());
    }
    Some(url.to_owned())
}

/// A key that names a Worker secret, or several: while one is replaced by another both sign.
pub(super) fn bindings(table: &Table<'_>, key: &'static str) -> Vec<String> {
    let names = match table.value(key) {
        None => return vec![],
        Some(Value::Array(_)) => table.texts(key),
        Some(_) => table.text(key).map(ToOwned::to_owned).into_iter().collect(),
    };
    if names.len() > MAX_SIGNING_SECRETS {
        table.problem(key, format!("names more than {MAX_SIGNING_SECRETS} secrets"));
    }
    if names.iter().any(|name| !is_binding(name)) {
        table.problem(key, NOT_A_BINDING);
    }
    names
}
