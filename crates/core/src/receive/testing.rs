//! A source for the tests of receiving.

use super::delivery::SourcePolicy;
use crate::config::GatewayConfig;
use genesys_webhook::doctor::SecretTexts;
use genesys_webhook::secret::SigningSecret;
use genesys_webhook::signature::Verifier;

pub(crate) struct Fixture {
    config: GatewayConfig,
    verifier: Verifier,
    texts: SecretTexts,
}

impl Fixture {
    pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

    /// `source`: JSON of one source.
    pub(crate) fn new(source: &str) -> Self {
        let config = GatewayConfig::parse(&format!(r#"{{"sources":[{source}]}}"#)).unwrap();
        let scheme = config.sources[0].scheme.clone();
        let secret = SigningSecret::new(&scheme, "current", Self::SECRET, None).unwrap();
        let verifier = Verifier::new(scheme, vec![secret]);
        Self { texts: SecretTexts::of(&verifier), verifier, config }
    }

    pub(crate) fn policy(&self) -> SourcePolicy<'_> {
        SourcePolicy { source: &self.config.sources[0], verifier: &self.verifier, texts: &self.texts }
    }

    pub(crate) fn replace_verifier(&mut self, verifier: Verifier) {
        self.verifier = verifier;
    }
}
