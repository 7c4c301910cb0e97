//! What all parts of one simulator share.

use crate::config::{Config, Settings};
use crate::faults::Faults;
use crate::lock::lock;
use crate::oauth::Oauth;
use crate::random::Rng;
use crate::rate::Window;
use crate::requests::Requests;
use crate::sender::Sender;
use crate::sink::Sinks;
use crate::store::Store;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The state behind every handler.
pub(crate) struct Shared {
    pub(crate) base_url: String,
    pub(crate) seed: u64,
    pub(crate) event_types: Vec<String>,
    pub(crate) oauth: Oauth,
    pub(crate) faults: Faults,
    pub(crate) requests: Requests,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) sinks: Sinks,
    pub(crate) sender: Sender,
    pub(crate) windows: Mutex<HashMap<String, Window>>,
    settings: Arc<Mutex<Arc<Settings>>>,
    initial_settings: Settings,
    ids: Mutex<Rng>,
}

impl Shared {
    pub(crate) fn new(config: Config, base_url: String) -> Self {
        let store = Arc::new(Mutex::new(Store::default()));
        let settings = Arc::new(Mutex::new(Arc::new(config.settings.clone())));
        Self {
            base_url,
            seed: config.seed,
            event_types: crate::catalogue::catalogue(&config.extra_event_types),
            oauth: Oauth::new(config.clients),
            faults: Faults::new(config.seed),
            requests: Requests::default(),
            sinks: Sinks::new(config.seed, config.max_sink_entries),
            sender: Sender::new(config.seed, config.max_records, store.clone(), settings.clone()),
            store,
            windows: Mutex::default(),
            settings,
            initial_settings: config.settings,
            ids: Mutex::new(Rng::new(config.seed)),
        }
    }

    /// The settings as they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        lock(&self.settings).clone()
    }

    /// Replaces the settings; the error says which one is wrong.
    pub(crate) fn set_settings(&self, settings: Settings) -> Result<(), String> {
        if let Some(problem) = settings.problem() {
            return Err(problem);
        }
        *lock(&self.settings) = Arc::new(settings);
        Ok(())
    }

    /// The next id.
    pub(crate) fn uuid(&self) -> String {
        lock(&self.ids).uuid()
    }

    /// Back to the start: what was sent is forgotten, what is in flight is dropped, everything is as it was configured. Ids and delivery
    /// numbers go on, so that nothing sent afterwards looks like a repeat.
    pub(crate) fn reset(&self) {
        *lock(&self.settings) = Arc::new(self.initial_settings.clone());
        self.faults.clear();
        self.oauth.reset();
        lock(&self.windows).clear();
        lock(&self.store).clear();
        self.requests.reset();
        self.sinks.reset();
        self.sender.reset();
    }
}
