//! `POST /api/explain`: the signature doctor.

use super::{Call, Handled, bad_parameter, configured, json_body, not_found};
use crate::platform::clock;
use crate::platform::http::json;
use gateway_core::letters::BodyText;
use genesys_webhook::doctor;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(untagged)]
enum Headers {
    Pairs(Vec<(String, String)>),
    Table(BTreeMap<String, String>),
}

/// A delivery as somebody recorded it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Recorded {
    source: String,
    /// Name → value, or a list of pairs where a header came several times.
    headers: Headers,
    /// When it was received; now where it is left out. A dated signature is only fresh for some minutes.
    received_at_ms: Option<u64>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// Why a delivery does or does not verify.
pub(super) async fn explain(call: &Call<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let Recorded { source, headers, received_at_ms, body, body_base64 } = json_body(call).await?;
    let bytes = match (body, body_base64) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(text)) => BodyText::BodyBase64(text).to_bytes(),
        _ => None,
    };
    let bytes = bytes.ok_or_else(|| bad_parameter("body", "either body or bodyBase64 (standard alphabet, padded)"))?;
    let source = gateway.source(&source).ok_or_else(|| not_found("Unknown source"))?;
    let headers: Vec<(String, String)> = match headers {
        Headers::Pairs(pairs) => pairs,
        Headers::Table(table) => table.into_iter().collect(),
    };
    let now_ms = received_at_ms.unwrap_or_else(clock::now_ms);
    let explanation = doctor::explain(&source.secrets.verifier, headers.as_slice(), &bytes, now_ms);
    Ok(json(200, &explanation))
}
