//! A Genesys Cloud stand-in on loopback: OAuth, the event type catalogue, both subscription APIs, a sender that delivers signed events with
//! Genesys' delivery policy, faults that can be switched on, and a sink that plays the user's destination.
//!
//! Promises: it listens on loopback only and sends to loopback only, so that no load can reach anybody else; it shares no code with the
//! gateway, signatures included, so that it checks the gateway independently; what is random derives from the seed. README.md has the
//! table of the control calls. Out of scope: everything of Genesys Cloud that the gateway does not touch.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use genesys_simulator::{Config, Fault, FaultKind, Simulator};
//! let simulator = Simulator::start(Config::default()).await?;
//! println!("{}/api/v2/webhooks/webhooks", simulator.base_url());
//! simulator.faults().add(Fault::new(FaultKind::RateLimited).times(1))?;
//! simulator.shutdown().await;
//! # Ok(())
//! # }
//! ```

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
mod lock;
mod oauth;
mod random;
mod rate;
mod requests;
mod sender;
mod server;
mod shared;
mod signature;
mod sink;
mod store;

pub use config::{Config, Kind, MAX_BODY_BYTES, Mix, OauthClient, Policy, RateLimit, Settings, Size};
pub use control::check::Check;
pub use control::subscriptions::SubscriptionView;
pub use faults::{Fault, FaultKind, FaultState, Faults};
pub use oauth::{Oauth, OauthReport};
pub use requests::{RequestRecord, Requests};
pub use sender::{
    Burst, BurstReport, Custom, DeliveryRecord, Figures, Latency, Outcome, Report, Sender, SenderError, SenderState,
};
pub use sink::{Arrival, Behaviour, Received, Sink, SinkReport};
pub use store::Api;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use serde_json::{Map, Value};
use shared::Shared;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It only serves this machine.
    #[error("{0} is not a loopback address")]
    NotLoopback(IpAddr),
    /// A setting is wrong.
    #[error("{0}")]
    Settings(String),
    /// The port is taken, or the like.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// Why it cannot.
        source: std::io::Error,
    },
}

/// Starts simulators.
pub struct Simulator;

impl Simulator {
    /// Starts to listen and serves on tasks of the current tokio runtime until the handle is shut down or dropped.
    pub async fn start(config: Config) -> Result<Handle, StartError> {
        if !config.bind.is_loopback() {
            return Err(StartError::NotLoopback(config.bind));
        }
        if let Some(problem) = config.settings.problem() {
            return Err(StartError::Settings(problem));
        }
        let wanted = SocketAddr::new(config.bind, config.port);
        let listen = |source| StartError::Listen { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared::new(config, format!("http://{address}")));
        let router = Router::new()
            .merge(api::router(&shared))
            .merge(control::router())
            .route(
                "/sink/{name}",
                axum::routing::post(arrivals::receive).get(|| async { axum::http::StatusCode::NO_CONTENT }),
            )
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(shared.clone());
        let (ended, receiver) = watch::channel(false);
        let server = tokio::spawn(server::serve(listener, router, receiver));
        Ok(Handle { shared, address, ended, server })
    }
}

/// A running simulator. Dropped, it ends.
pub struct Handle {
    shared: Arc<Shared>,
    address: SocketAddr,
    ended: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Handle {
    /// `http://127.0.0.1:port`, of both the login and the API host; without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.shared.base_url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The sender.
    pub fn sender(&self) -> &Sender {
        &self.shared.sender
    }

    /// The faults.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Clients and tokens.
    pub fn oauth(&self) -> &Oauth {
        &self.shared.oauth
    }

    /// Figures of the token endpoint.
    pub fn oauth_report(&self) -> OauthReport {
        self.shared.oauth.report(clock::now_ms())
    }

    /// The log of API requests.
    pub fn requests(&self) -> &Requests {
        &self.shared.requests
    }

    /// The sink at `/sink/{name}`; `None` when there are a thousand others.
    pub fn sink(&self, name: &str) -> Option<Arc<Sink>> {
        self.shared.sinks.get(name)
    }

    /// The subscriptions as they are, whatever the API shows at this moment.
    pub fn subscriptions(&self) -> Vec<SubscriptionView> {
        control::subscriptions::views(&self.shared)
    }

    /// Creates a subscription as somebody else would, without token and limits. The error is the API's message.
    pub fn create_subscription(&self, api: Api, body: Map<String, Value>) -> Result<String, String> {
        control::subscriptions::create(&self.shared, api, body)
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings()
    }

    /// Replaces the settings; the error says which one is wrong.
    pub fn set_settings(&self, settings: Settings) -> Result<(), String> {
        self.shared.set_settings(settings)
    }

    /// Which accepted deliveries a sink has accepted, and which not.
    pub fn check(&self, sink: &str) -> Option<Check> {
        control::check::check(&self.shared, sink)
    }

    /// As at the start, but that ids and delivery numbers go on.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Stops to listen, drops every connection and what is in flight, and waits until the port is free.
    pub async fn shutdown(mut self) {
        self.end();
        // It cannot have panicked into anything worth reporting: its connections are tasks of their own.
        let _ = (&mut self.server).await;
    }

    fn end(&self) {
        self.ended.send_replace(true);
        self.shared.sender.reset();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
