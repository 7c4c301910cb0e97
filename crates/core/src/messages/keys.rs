//! Keys of bodies in the bucket.
//!
//! Promise: a key says when and whose, and a repeated try has the same key. Out of scope: segments of the audit log
//! (`crate::audit`).

use crate::time::date_path;

/// Where a body is kept that fits into no message.
pub fn payload_key(source: &str, delivery_id: &str, received_at_ms: u64) -> String {
    format!("payloads/{}/{source}/{delivery_id}", date_path(received_at_ms))
}

/// Where a delivery is archived.
pub fn archive_key(source: &str, delivery_id: &str, received_at_ms: u64) -> String {
    format!("deliveries/{source}/{}/{delivery_id}.json", date_path(received_at_ms))
}
