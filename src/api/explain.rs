//! `POST /api/explain`: the signature doctor.

use super::{Call, Handled, bad_parameter, configured, json_body, not_found};
use crate::platform::clock;
use crate::platform::http::json;
use gateway_core::letters::BodyText;
use genesys_webhook::doctor;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A delivery as somebody recorded it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Recorded {
    source: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// Why a delivery does or does not verify.
pub(super) async fn explain(call: &Call<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let Recorded { source, headers, body, body_base64 } = json_body(call).await?;
    let bytes = match (body, body_base64) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(text)) => BodyText::BodyBase64(text).to_bytes(),
        _ => None,
    };
    let bytes = bytes.ok_or_else(|| bad_parameter("body", "either body or bodyBase64 (standard alphabet, padded)"))?;
    let source = gateway.source(&source).ok_or_else(|| not_found("Unknown source"))?;
    let headers: Vec<(String, String)> = headers.into_iter().collect();
    let explanation = doctor::explain(&source.secrets.verifier, headers.as_slice(), &bytes, clock::now_ms());
    Ok(json(200, &explanation))
}
