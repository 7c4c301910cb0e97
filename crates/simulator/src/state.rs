//! What all parts of one simulator share.

use crate::config::{SimulatorConfig, SimulatorSettings};
use crate::faults::Faults;
use crate::oauth::Oauth;
use crate::rate::RateWindow;
use crate::requests::Requests;
use crate::sender::Sender;
use crate::sink::Sinks;
use crate::store::SubscriptionStore;
use axum::extract::State;
use fastrand::Rng;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) type Sim = State<Arc<SimulatorState>>;

pub(crate) struct SimulatorState {
    pub(crate) base_url: String,
    pub(crate) seed: u64,
    pub(crate) event_types: Vec<String>,
    pub(crate) oauth: Oauth,
    pub(crate) faults: Faults,
    pub(crate) requests: Requests,
    pub(crate) store: Arc<Mutex<SubscriptionStore>>,
    pub(crate) sinks: Sinks,
    pub(crate) sender: Arc<Sender>,
    pub(crate) windows: Mutex<HashMap<String, RateWindow>>,
    settings: Arc<Mutex<Arc<SimulatorSettings>>>,
    initial_settings: SimulatorSettings,
    ids: Mutex<Rng>,
}

impl SimulatorState {
    pub(crate) fn new(config: SimulatorConfig, base_url: String) -> Self {
        let store = Arc::new(Mutex::new(SubscriptionStore::default()));
        let settings = Arc::new(Mutex::new(Arc::new(config.settings.clone())));
        Self {
            base_url,
            seed: config.seed,
            event_types: crate::catalogue::catalogue(&config.extra_event_types),
            oauth: Oauth::new(config.clients),
            faults: Faults::default(),
            requests: Requests::default(),
            sinks: Sinks::new(config.seed, config.max_sink_entries),
            sender: Arc::new(Sender::new(config.seed, config.max_records, store.clone(), settings.clone())),
            store,
            windows: Mutex::default(),
            settings,
            initial_settings: config.settings,
            ids: Mutex::new(Rng::with_seed(config.seed)),
        }
    }

    pub(crate) fn settings(&self) -> Arc<SimulatorSettings> {
        self.settings.lock().clone()
    }

    /// Replaces the settings; the error says which one is wrong.
    pub(crate) fn set_settings(&self, settings: SimulatorSettings) -> Result<(), String> {
        settings.check()?;
        *self.settings.lock() = Arc::new(settings);
        Ok(())
    }

    pub(crate) fn uuid(&self) -> String {
        crate::seed::uuid(&mut self.ids.lock())
    }

    /// Forgets what was sent, drops what is in flight, and configures everything as at the start. Ids and delivery numbers go on, so
    /// that nothing sent afterwards looks like a repeat.
    pub(crate) fn reset(&self) {
        *self.settings.lock() = Arc::new(self.initial_settings.clone());
        self.faults.clear();
        self.oauth.reset();
        self.windows.lock().clear();
        self.store.lock().clear();
        self.requests.reset();
        self.sinks.reset();
        self.sender.reset();
    }
}
