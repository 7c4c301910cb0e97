//! A Genesys Cloud stand-in on loopback: OAuth, the event type catalogue, both subscription APIs, a sender that delivers signed events with
//! Genesys' delivery policy, faults that can be switched on, and a sink that plays the user's destination.
//!
//! Promises:
//! - it listens on loopback and sends to loopback only, so that no load reaches another machine;
//! - it shares no code with the gateway, signatures included, so that it checks the gateway independently;
//! - what is random derives from the seed.
//!
//! README.md has the table of the control calls. Out of scope: everything of Genesys Cloud that the gateway does not touch.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use genesys_simulator::{SimulatorConfig, Fault, FaultKind, Simulator};
//! let simulator = Simulator::start(SimulatorConfig::default()).await?;
//! println!("{}/api/v2/webhooks/webhooks", simulator.base_url());
//! simulator.faults().add(Fault::new(FaultKind::RateLimited).times(1))?;
//! simulator.shutdown().await;
//! # Ok(())
//! # }
//! ```

// A name that says everything needs no sentence.
#![allow(missing_docs)]

mod api;
mod arrivals;
mod catalogue;
mod clock;
mod config;
mod control;
mod error;
mod events;
mod faults;
mod gate;
mod oauth;
mod rate;
mod requests;
mod seed;
mod sender;
mod server;
mod signature;
mod sink;
mod state;
mod store;

pub use config::{
    BodySize, DeliveryKind, DeliveryPolicy, MAX_BODY_BYTES, OauthClient, RateLimit, SimulatorConfig, SimulatorSettings,
};
pub use control::subscriptions::SubscriptionView;
pub use faults::{Fault, FaultKind, FaultState, Faults};
pub use oauth::{Oauth, OauthReport};
pub use requests::{RequestLog, RequestRecord};
pub use sender::{
    Burst, BurstReport, DeliveryRecord, SendOutcome, Sender, SenderError, SenderFigures, SenderLatency, SenderReport,
    SenderState,
};
pub use sink::{Behaviour, Received, Sink, SinkArrival, SinkReport};
pub use store::VendorApi;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use serde_json::{Map, Value};
use state::SimulatorState;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0} is not a loopback address")]
    NotLoopback(IpAddr),
    #[error("{0}")]
    Setting(String),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

pub struct Simulator;

impl Simulator {
    /// Starts to listen and serves on tasks of the current tokio runtime until the handle is shut down or dropped.
    pub async fn start(config: SimulatorConfig) -> Result<Handle, StartError> {
        if !config.bind.is_loopback() {
            return Err(StartError::NotLoopback(config.bind));
        }
        config.settings.check().map_err(StartError::Setting)?;
        let wanted = SocketAddr::new(config.bind, config.port);
        let listen = |source| StartError::Listen { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let state = Arc::new(SimulatorState::new(config, format!("http://{address}")));
        let router = Router::new()
            .merge(api::router(&state))
            .merge(control::router())
            .route(
                "/sink/{name}",
                axum::routing::post(arrivals::receive).get(|| async { axum::http::StatusCode::NO_CONTENT }),
            )
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(state.clone());
        let (ended, receiver) = watch::channel(false);
        let server = tokio::spawn(server::serve(listener, router, receiver));
        Ok(Handle { state, address, ended, server })
    }
}

/// A running simulator. Dropped, it ends.
pub struct Handle {
    state: Arc<SimulatorState>,
    address: SocketAddr,
    ended: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Handle {
    /// `http://127.0.0.1:port`, of both the login and the API host; without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.state.base_url
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn sender(&self) -> &Arc<Sender> {
        &self.state.sender
    }

    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    pub fn oauth(&self) -> &Oauth {
        &self.state.oauth
    }

    pub fn oauth_report(&self) -> OauthReport {
        self.state.oauth.report(clock::now_ms())
    }

    pub fn requests(&self) -> RequestLog {
        self.state.requests.log()
    }

    /// The sink at `/sink/{name}`; `None` when there are a thousand others.
    pub fn sink(&self, name: &str) -> Option<Arc<Sink>> {
        self.state.sinks.get(name)
    }

    /// The subscriptions as they are, whatever the API shows at this moment.
    pub fn subscriptions(&self) -> Vec<SubscriptionView> {
        control::subscriptions::views(&self.state)
    }

    /// Creates a subscription as another client would, without token and limits. The error is the API's message.
    pub fn create_subscription(&self, api: VendorApi, body: Map<String, Value>) -> Result<String, String> {
        control::subscriptions::create(&self.state, api, body)
    }

    pub fn settings(&self) -> Arc<SimulatorSettings> {
        self.state.settings()
    }

    /// Replaces the settings; the error says which one is wrong.
    pub fn set_settings(&self, settings: SimulatorSettings) -> Result<(), String> {
        self.state.set_settings(settings)
    }

    /// As at the start, but that ids and delivery numbers go on.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Stops to listen, drops every connection and what is in flight, and waits until the port is free.
    pub async fn shutdown(mut self) {
        self.end();
        // It cannot have panicked into anything worth reporting: its connections are tasks of their own.
        let _ = (&mut self.server).await;
    }

    fn end(&self) {
        self.ended.send_replace(true);
        self.state.sender.reset();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
