//! Requests as the Worker reads them and answers as it gives them.

use serde::Serialize;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{Headers, Response, ResponseInit};

/// What a handler returns: an answer, or the exception that building one threw.
pub(crate) type HttpAnswer = Result<Response, JsValue>;

/// All headers of an answer, names in lower case.
pub(crate) fn header_pairs(headers: &Headers) -> Vec<(String, String)> {
    let pairs = headers.entries().into_iter().filter_map(|entry| {
        let entry: js_sys::Array = entry.ok()?.unchecked_into();
        Some((entry.get(0).as_string()?, entry.get(1).as_string()?))
    });
    pairs.collect()
}

fn respond(status: u16, body: Option<&str>, headers: &[(&str, &str)]) -> HttpAnswer {
    let js_headers = Headers::new()?;
    for (name, value) in headers {
        js_headers.set(name, value)?;
    }
    respond_with(status, body, &js_headers)
}

fn respond_with(status: u16, body: Option<&str>, headers: &Headers) -> HttpAnswer {
    let init = ResponseInit::new();
    init.set_status(status);
    init.set_headers(headers);
    Response::new_with_opt_str_and_init(body, &init)
}

pub(crate) fn empty(status: u16) -> HttpAnswer {
    respond(status, None, &[])
}

/// The same answer without its body, as HEAD has it.
pub(crate) fn without_body(answer: &Response) -> HttpAnswer {
    respond_with(answer.status(), None, &answer.headers())
}

/// An answer of text, with further headers.
pub(crate) fn text(status: u16, content_type: &str, body: &str, headers: &[(&str, &str)]) -> HttpAnswer {
    let own = [("content-type", content_type), ("cache-control", "no-store")];
    respond(status, Some(body), &[&own, headers].concat())
}

/// An answer of JSON text, with further headers.
pub(crate) fn json_text(status: u16, body: &str, headers: &[(&str, &str)]) -> HttpAnswer {
    text(status, "application/json", body, headers)
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

    pub(crate) fn answer(&self) -> HttpAnswer {
        let body = serde_json::to_string(self).unwrap_or_default();
        let header = self.header.as_ref().map(|(name, value)| (*name, value.as_str()));
        json_text(self.status, &body, header.as_slice())
    }
}
