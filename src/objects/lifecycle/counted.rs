//! The way to the vendor's API, counted.
//!
//! Promise: every request is counted by API and status class, those without an answer too; nothing is changed on the way.

use crate::platform::fetch::WorkerRuntime;
use crate::receive::counting;
use gateway_core::lifecycle::{status_class, vendor_api};
use gateway_core::metrics::counters::{Metric, labels};
use genesys_client::transport::{HttpRequest, HttpResponse, Transport, TransportError};

/// The transport that the lifecycle object gives the vendor's client.
#[derive(Clone, Copy)]
pub(super) struct Counted;

impl Transport for Counted {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let api = vendor_api(&request.url);
        let answered = WorkerRuntime.send(request).await;
        let status = status_class(answered.as_ref().ok().map(|answer| answer.status));
        counting::add(Metric::VendorRequest, "", &labels(api, status), 1);
        answered
    }
}
