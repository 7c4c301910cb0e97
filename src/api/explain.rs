//! `POST /api/explain`: the signature doctor.

use super::{Handled, ManagementCall, bad_parameter, configured, not_found};
use crate::platform::clock;
use crate::platform::http::json;
use gateway_core::dead_letters::BodyText;
use genesys_webhook::doctor;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// Read from a table or a list of pairs by hand: serde's own choice between two forms copies the whole input first.
struct RecordedHeaders(Vec<(String, String)>);

impl<'de> Deserialize<'de> for RecordedHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(String, String)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table of headers, or a list of pairs of name and value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = vec![];
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut pairs = vec![];
                while let Some(pair) = list.next_element()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_any(Pairs).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RecordedDelivery {
    source: String,
    /// Name → value, or a list of pairs where a header came several times.
    headers: RecordedHeaders,
    /// When it was received; now where it is left out. A dated signature is only fresh for some minutes.
    received_at_ms: Option<u64>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// Why a delivery does or does not verify.
pub(super) async fn explain(call: &ManagementCall<'_>, recorded: RecordedDelivery) -> Handled {
    let gateway = configured(call.env)?;
    let bytes = match (recorded.body, recorded.body_base64) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(text)) => BodyText::BodyBase64(text).to_bytes(),
        _ => None,
    };
    let bytes = bytes.ok_or_else(|| bad_parameter("body", "either body or bodyBase64 (standard alphabet, padded)"))?;
    let source = gateway.source(&recorded.source).ok_or_else(|| not_found("Unknown source"))?;
    let RecordedHeaders(headers) = recorded.headers;
    let now_ms = recorded.received_at_ms.unwrap_or_else(clock::now_ms);
    Ok(json(200, &doctor::explain(&source.secrets.verifier, headers.as_slice(), &bytes, now_ms)))
}
