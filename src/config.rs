//! The `GATEWAY` variable and the secrets → one checked configuration an isolate.
//!
//! Promises:
//! - it is read and checked once: bindings do not change while an isolate lives;
//! - a broken configuration closes the gateway (503: senders repeat) and tells the operator every problem at once, never a secret;
//! - a broken or missing secret closes only its source.
//!
//! Out of scope: what is valid (`gateway_core::config`).

use crate::platform::log;
use gateway_core::config::{ConfigProblem, GatewayConfig, SecretRef, Source, header_value_problem};
use gateway_core::receive::delivery::SourcePolicy;
use genesys_webhook::doctor::SecretTexts;
use genesys_webhook::scheme::Scheme;
use genesys_webhook::secret::SigningSecret;
use genesys_webhook::signature::Verifier;
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use wasm_bindgen::JsValue;
use worker::Env;

pub(crate) struct Gateway {
    pub(crate) config: GatewayConfig,
    /// Of each source of `config`, in its order.
    secrets: Vec<SourceSecrets>,
    /// Where each source stands in that order.
    places: BTreeMap<String, usize>,
    /// Signs alerts; an error names the Worker secret that is missing or unusable. `None` where none are sent.
    pub(crate) alerts: Option<Result<Vec<SigningSecret>, ConfigProblem>>,
}

/// What the secrets of one source came to.
pub(crate) struct SourceSecrets {
    /// Verifies its deliveries; without any secret in it every delivery is answered 503.
    pub(crate) verifier: Verifier,
    /// What must not be kept of a header.
    pub(crate) texts: SecretTexts,
    /// Signs towards its destination; an error names the Worker secret that is missing or unusable.
    pub(crate) destination: Result<Vec<SigningSecret>, String>,
    /// The secret headers of its destination, name and value; an error names the Worker secret that is missing or unusable.
    pub(crate) headers: Result<Vec<(String, String)>, String>,
    /// Secrets that are missing or unusable, for the operator.
    pub(crate) problems: Vec<ConfigProblem>,
}

#[derive(Clone, Copy)]
pub(crate) struct Configured<'g> {
    pub(crate) source: &'g Source,
    pub(crate) secrets: &'g SourceSecrets,
}

impl<'g> Configured<'g> {
    pub(crate) fn policy(self) -> SourcePolicy<'g> {
        let Self { source, secrets } = self;
        SourcePolicy { source, verifier: &secrets.verifier, texts: &secrets.texts }
    }
}

thread_local! {
    /// Secrets of which it was told that they had white space around them: once an isolate.
    static TRIMMED: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    static GATEWAY: OnceCell<Result<Rc<Gateway>, Rc<Vec<ConfigProblem>>>> = const { OnceCell::new() };
}

/// The configuration of this isolate, or everything that is wrong with it.
pub(crate) fn gateway(env: &Env) -> Result<Rc<Gateway>, Rc<Vec<ConfigProblem>>> {
    GATEWAY.with(|cell| {
        cell.get_or_init(|| {
            let gateway = Gateway::read(env);
            for problem in gateway.as_ref().err().into_iter().flatten() {
                log::error("bad_configuration", &[("key", &problem.key), ("problem", &problem.problem)]);
            }
            gateway.map(Rc::new).map_err(Rc::new)
        })
        .clone()
    })
}

impl Gateway {
    fn read(env: &Env) -> Result<Self, Vec<ConfigProblem>> {
        let config = GatewayConfig::parse(&variable(env)?)?;
        let secrets = config.sources.iter().map(|source| SourceSecrets::read(env, source)).collect();
        let places = config.sources.iter().enumerate().map(|(at, source)| (source.name.clone(), at)).collect();
        let alerts = config.alerts.as_ref().map(|to| {
            let made = to.secrets.iter().map(|name| {
                standard_secret(env, name, "alerts").map_err(|problem| {
                    log::error("bad_secret", &[("secret", name), ("problem", &problem)]);
                    ConfigProblem { key: name.clone(), problem }
                })
            });
            made.collect()
        });
        Ok(Self { config, secrets, places, alerts })
    }

    pub(crate) fn source(&self, name: &str) -> Option<Configured<'_>> {
        self.source_at(self.place(name)?)
    }

    /// Where the source of a name stands.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    pub(crate) fn source_at(&self, place: usize) -> Option<Configured<'_>> {
        Some(Configured { source: self.config.sources.get(place)?, secrets: self.secrets.get(place)? })
    }

    pub(crate) fn policies(&self) -> impl Iterator<Item = SourcePolicy<'_>> {
        (0..self.config.sources.len()).filter_map(|place| Some(self.source_at(place)?.policy()))
    }

    /// Secrets that are missing or unusable, of all sources.
    pub(crate) fn secret_problems(&self) -> Vec<ConfigProblem> {
        let alerts = self.alerts.iter().filter_map(|secret| secret.as_ref().err());
        self.places
            .values()
            .filter_map(|at| self.secrets.get(*at))
            .flat_map(|source| &source.problems)
            .chain(alerts)
            .cloned()
            .collect()
    }
}

/// The variable's JSON text: a table of wrangler's configuration arrives as an object, a variable of the dashboard as text.
fn variable(env: &Env) -> Result<String, Vec<ConfigProblem>> {
    let problem = |problem: &str| vec![ConfigProblem { key: "GATEWAY".into(), problem: problem.into() }];
    let value = js_sys::Reflect::get(env.as_ref(), &JsValue::from_str("GATEWAY")).unwrap_or(JsValue::UNDEFINED);
    if value.is_undefined() || value.is_null() {
        return Err(problem("the variable is missing: describe the gateway in [vars.GATEWAY]"));
    }
    value
        .as_string()
        .or_else(|| js_sys::JSON::stringify(&value).ok().and_then(|text| text.as_string()))
        .ok_or_else(|| problem("expected a table"))
}

/// A Worker secret; `None` where it is not set or empty. White space and line ends around it come from how it was set, and are
/// no part of it.
pub(crate) fn secret(env: &Env, name: &str) -> Option<String> {
    let value = js_sys::Reflect::get(env.as_ref(), &JsValue::from_str(name)).ok()?.as_string()?;
    let secret = value.trim();
    if secret.len() < value.len() && TRIMMED.with(|told| told.borrow_mut().insert(name.to_owned())) {
        log::warn("secret_trimmed", &[("secret", name), ("problem", "white space around it was cut off")]);
    }
    (!secret.is_empty()).then(|| secret.to_owned())
}

/// Whether a rate limit is bound as `name`. The class of a binding has another name on every platform; its method has not.
fn is_limiter(env: &Env, name: &str) -> bool {
    let field = |object: &JsValue, name: &str| js_sys::Reflect::get(object, &JsValue::from_str(name)).ok();
    let limiter = field(env.as_ref(), name).filter(JsValue::is_object);
    limiter.and_then(|limiter| field(&limiter, "limit")).is_some_and(|method| method.is_function())
}

fn set_secret(env: &Env, name: &str) -> Result<String, String> {
    secret(env, name).ok_or_else(|| "the Worker secret is not set".into())
}

/// A secret that signs by Standard Webhooks.
fn standard_secret(env: &Env, name: &str, label: &str) -> Result<SigningSecret, String> {
    let text = set_secret(env, name)?;
    SigningSecret::new(&Scheme::standard_webhooks(), label, &text, None).map_err(|error| error.to_string())
}

/// What is wrong with the bindings of a source: logged here, kept for `/metrics`.
struct BindingProblems<'a> {
    source: &'a str,
    found: Vec<ConfigProblem>,
}

impl BindingProblems<'_> {
    /// The error names the binding.
    fn note<T>(&mut self, name: &str, made: Result<T, String>) -> Result<T, String> {
        made.map_err(|problem| {
            log::error("bad_binding", &[("source", self.source), ("binding", name), ("problem", &problem)]);
            let error = format!("{name}: {problem}");
            self.found.push(ConfigProblem { key: name.into(), problem });
            error
        })
    }
}

impl SourceSecrets {
    fn read(env: &Env, source: &Source) -> Self {
        let mut problems = BindingProblems { source: &source.name, found: vec![] };
        let mut secrets = vec![];
        for SecretRef { name, label, not_after_ms } in &source.secrets {
            let made = set_secret(env, name).and_then(|text| {
                SigningSecret::new(&source.scheme, label, &text, *not_after_ms).map_err(|error| error.to_string())
            });
            secrets.extend(problems.note(name, made));
        }
        if let Some(name) = &source.rate_limit {
            let bound = is_limiter(env, name).then_some(()).ok_or_else(|| "no rate-limit binding has this name".into());
            // The receiver passes over a limit that is not there.
            let _ = problems.note(name, bound);
        }
        let https = source.destination.https();
        let signing = https.into_iter().flat_map(|https| &https.secrets);
        let destination = signing.map(|name| problems.note(name, standard_secret(env, name, "destination"))).collect();
        let named = https.into_iter().flat_map(|https| &https.secret_headers);
        let headers = named.map(|(header, name)| {
            let value = set_secret(env, name).and_then(|value| match header_value_problem(&value) {
                None => Ok((header.clone(), value)),
                Some(problem) => Err(format!("the value {problem}")),
            });
            problems.note(name, value)
        });
        let headers = headers.collect();
        let verifier = Verifier::new(source.scheme.clone(), secrets);
        Self { texts: SecretTexts::of(&verifier), verifier, destination, headers, problems: problems.found }
    }
}
