//! The simulated Genesys Cloud as the demo uses it: the sender, the subscriptions, and the sink that plays the destination.
//!
//! Translates the simulator's figures into those that the demo compares. Out of scope: faults; the demo shows a healthy vendor
//! (the simulator's own program and the tests on workerd switch them on).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use genesys_simulator::{Handle, OauthClient, Simulator, SimulatorConfig};

use crate::accounting::{SenderCounts, SinkCounts};
use crate::config::DemoSource;
use crate::view::AnswerTimes;

const SINK: &str = "demo";

/// Different deliveries that the sink can tell apart: more than a day at the default rate.
const SINK_ENTRIES: usize = 2_000_000;

/// A running simulator; dropping it ends it.
pub(crate) struct Simulation(Handle);

impl Simulation {
    /// Starts the simulator on a free port, with the client and the destination's secret that the gateway gets.
    ///
    /// # Errors
    /// It cannot listen.
    pub(crate) async fn start(secrets: &BTreeMap<String, String>, sources: &[DemoSource]) -> Result<Self> {
        let secret = |name: &str| secrets.get(name).cloned().unwrap_or_default();
        let client =
            OauthClient { id: secret("GENESYS_CLIENT_ID"), secret: secret("GENESYS_CLIENT_SECRET"), permissions: None };
        let config =
            SimulatorConfig { clients: vec![client], max_sink_entries: SINK_ENTRIES, ..SimulatorConfig::default() };
        let handle = Simulator::start(config).await.context("the simulated Genesys Cloud does not start")?;

        // All sources share the sink, so it can check signatures only where they share the secret as well.
        let signing: BTreeSet<&String> =
            sources.iter().filter_map(|source| source.destination_secret.as_ref()).collect();
        if let (1, Some(name)) = (signing.len(), signing.first()) {
            handle.sink(SINK).context("the simulator has no sink")?.set_secret(Some(secret(name)));
        }
        Ok(Self(handle))
    }

    /// Of the OAuth server and of the API.
    pub(crate) fn base_url(&self) -> String {
        self.0.base_url().to_owned()
    }

    /// Of the destination.
    pub(crate) fn sink_url(&self) -> String {
        format!("{}/sink/{SINK}", self.0.base_url())
    }

    /// The names of the subscriptions that deliver.
    pub(crate) fn delivering(&self) -> Vec<String> {
        let subscriptions = self.0.subscriptions().into_iter();
        subscriptions.filter(|one| one.delivers && one.loopback && !one.deleted).map(|one| one.name).collect()
    }

    /// Every subscription in a line.
    pub(crate) fn subscriptions(&self) -> Vec<String> {
        let subscriptions = self.0.subscriptions().into_iter().filter(|one| !one.deleted);
        subscriptions
            .map(|one| {
                let state = if one.delivers { "delivers" } else { "does not deliver" };
                format!("{} (version {}): {state} to {}", one.name, one.version, one.address)
            })
            .collect()
    }

    /// Starts to send.
    ///
    /// # Errors
    /// The rate is none.
    pub(crate) fn send(&self, rate_per_s: f64) -> Result<()> {
        self.0.sender().start(rate_per_s).context("the sender does not start")
    }

    /// Stops sending and waits for what is in flight, repeats included.
    pub(crate) async fn stop_sending(&self) {
        self.0.sender().stop().await;
    }

    /// What the sender has sent, and how it was answered.
    pub(crate) fn sender(&self) -> SenderCounts {
        let figures = self.0.sender().state().report.total;
        let mut sender = SenderCounts {
            sent: figures.attempts,
            unanswered: figures.timeouts + figures.connection_errors,
            ..SenderCounts::default()
        };
        for (status, answers) in figures.answers {
            *match status {
                200..=299 => &mut sender.accepted,
                429 | 500..=599 => &mut sender.unavailable,
                _ => &mut sender.refused,
            } += answers;
        }
        sender
    }

    /// How long the sender waited for its answers.
    pub(crate) fn latency(&self) -> AnswerTimes {
        let latency = self.0.sender().state().report.total.latency_ms;
        AnswerTimes { p50_ms: latency.p50, p99_ms: latency.p99 }
    }

    /// What arrived at the destination.
    pub(crate) fn sink(&self) -> SinkCounts {
        let report = self.0.sink(SINK).map(|sink| sink.report()).unwrap_or_default();
        SinkCounts {
            received: report.received,
            distinct: report.accepted_digests,
            badly_signed: report.bad_signatures,
            untracked: report.untracked,
        }
    }

    /// Ends it and waits until its port is free.
    pub(crate) async fn end(self) {
        self.0.shutdown().await;
    }
}
