//! Requests as the Worker reads them and answers as it gives them.

use serde::Serialize;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{Headers, Response, ResponseInit};

/// What a handler returns: an answer, or the exception that building one threw.
pub(crate) type HttpAnswer = Result<Response, JsValue>;

/// The headers of a request or an answer.
pub(crate) struct RequestHeaders(pub(crate) Headers);

impl RequestHeaders {
    /// All of them, names in lower case.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = vec![];
        for entry in self.0.entries().into_iter().flatten() {
            let entry: js_sys::Array = entry.unchecked_into();
            if let (Some(name), Some(value)) = (entry.get(0).as_string(), entry.get(1).as_string()) {
                pairs.push((name, value));
            }
        }
        pairs
    }
}

fn init(status: u16, headers: &[(&str, &str)]) -> Result<ResponseInit, JsValue> {
    let js_headers = Headers::new()?;
    for (name, value) in headers {
        js_headers.set(name, value)?;
    }
    let init = ResponseInit::new();
    init.set_status(status);
    init.set_headers(&js_headers);
    Ok(init)
}

/// An answer without a body.
pub(crate) fn empty(status: u16, headers: &[(&str, &str)]) -> HttpAnswer {
    Response::new_with_opt_str_and_init(None, &init(status, headers)?)
}

/// The same answer without its body, as HEAD has it.
pub(crate) fn without_body(answer: &Response) -> HttpAnswer {
    let init = ResponseInit::new();
    init.set_status(answer.status());
    init.set_headers(&answer.headers());
    Response::new_with_opt_str_and_init(None, &init)
}

/// An answer of text.
pub(crate) fn text(status: u16, content_type: &str, body: &str) -> HttpAnswer {
    text_with(status, body, &[("content-type", content_type), ("cache-control", "no-store")])
}

/// An answer of text with the headers that it has.
pub(crate) fn text_with(status: u16, body: &str, headers: &[(&str, &str)]) -> HttpAnswer {
    Response::new_with_opt_str_and_init(Some(body), &init(status, headers)?)
}

/// An answer of JSON text.
pub(crate) fn json_text(status: u16, body: &str, headers: &[(&str, &str)]) -> HttpAnswer {
    let mut all = vec![("content-type", "application/json"), ("cache-control", "no-store")];
    all.extend_from_slice(headers);
    Response::new_with_opt_str_and_init(Some(body), &init(status, &all)?)
}

/// An answer of JSON.
pub(crate) fn json(status: u16, body: &impl Serialize) -> HttpAnswer {
    match serde_json::to_string(body) {
        Ok(text) => json_text(status, &text, &[]),
        Err(error) => ApiProblem::new(500, "Internal error", "unserializable").detail(error.to_string()).answer(),
    }
}

/// An error as every caller sees it: `{"error", "code", "detail"?}`.
#[derive(Serialize)]
pub(crate) struct ApiProblem {
    #[serde(skip)]
    status: u16,
    error: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<serde_json::Value>,
    #[serde(skip)]
    header: Option<(&'static str, String)>,
}

impl ApiProblem {
    /// `error` for people, `code` for programs.
    pub(crate) fn new(status: u16, error: &'static str, code: &'static str) -> Self {
        Self { status, error, code, detail: None, header: None }
    }

    /// What exactly, and where.
    pub(crate) fn detail(mut self, detail: impl Into<serde_json::Value>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A header that belongs to the error, as `Allow` or `Retry-After`.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    /// The answer.
    pub(crate) fn answer(&self) -> HttpAnswer {
        let body = serde_json::to_string(self).unwrap_or_default();
        let header = self.header.as_ref().map(|(name, value)| (*name, value.as_str()));
        json_text(self.status, &body, header.as_slice())
    }
}
