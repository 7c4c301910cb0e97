//! The `GATEWAY` variable, checked as a whole.
//!
//! Promises: either a [`GatewayConfig`] in which everything fits together, or every problem at once, each naming its key.
//! Secrets are not here: only the names of the Worker secrets that hold them. Out of scope: reading the variable.

mod alerts;
mod binding;
mod destination;
mod reader;
mod source;
#[cfg(test)]
mod tests;

pub use alerts::AlertDestination;
pub use destination::{DestinationConfig, HttpsDestination, header_value_problem};
pub use reader::ConfigProblem;
pub use source::{DeclaredSubscription, SecretRef, Source};

use crate::dead_letters::retention::{DEFAULT_AUDIT_DAYS, DEFAULT_DEDUPE_DAYS, DEFAULT_LETTER_DAYS, Retention};
use genesys_client::address;
use genesys_client::region::Endpoints;
use reader::Table;
use serde_json::Value;
use std::cell::RefCell;

/// The most sources that one gateway serves. Each may name several secrets, and a Worker has at most 128 variables and
/// secrets; the configuration itself has to fit into one variable of 5 KB (Workers, limits).
pub const MAX_SOURCES: usize = 1_000;

pub const DEFAULT_OWNER: &str = "genesys-webhook-gateway";

#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where the vendor's organisation lives; `None` where no source has a subscription.
    pub endpoints: Option<Endpoints>,
    /// Where the vendor reaches this gateway, without a slash at the end; `None` where no source has a subscription.
    pub public_url: Option<String>,
    /// Local development: `http` and private addresses are allowed.
    pub allow_private_addresses: bool,
    /// The mark by which the gateway knows its own subscriptions; two gateways of one organisation need different ones.
    pub owner: String,
    pub retention: Retention,
    pub alerts: Option<AlertDestination>,
    pub sources: Vec<Source>,
}

impl GatewayConfig {
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// Reads and checks the JSON text of the variable.
    ///
    /// Errors: every problem that was found.
    pub fn parse(json: &str) -> Result<Self, Vec<ConfigProblem>> {
        let value: Value = match serde_json::from_str(json) {
            Ok(value) => value,
            Err(error) => {
                // Only the place: the text around it might hold anything.
                let problem = format!("is not JSON (line {}, column {})", error.line(), error.column());
                return Err(vec![ConfigProblem { key: "GATEWAY".into(), problem }]);
            }
        };
        let problems = RefCell::default();
        let config = Self::read(&value, &problems);
        match (config, problems.into_inner()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(problems),
        }
    }

    fn read(value: &Value, problems: &reader::Problems) -> Option<Self> {
        let table = Table::new("", value, problems)?;
        let allow_private_addresses = table.flag("allow_private_addresses", false);
        let endpoints = read_endpoints(&table, allow_private_addresses);
        let public_url = table.text("public_url").map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = &public_url
            && let Err(refusal) = address::check(url, allow_private_addresses)
        {
            table.problem("public_url", refusal.to_string());
        }
        let owner = table.text("owner").unwrap_or(DEFAULT_OWNER).to_owned();
        let retention = Retention {
            letter_days: table.number("dead_letter_days", 1, 365).unwrap_or(DEFAULT_LETTER_DAYS),
            dedupe_days: table.number("dedupe_days", 1, 90).unwrap_or(DEFAULT_DEDUPE_DAYS),
            audit_days: table.number("audit_days", 1, 3_650).unwrap_or(DEFAULT_AUDIT_DAYS),
        };
        let alerts = table.section("alerts", |table| alerts::read(table, allow_private_addresses)).flatten();
        let mut sources: Vec<Source> = vec![];
        match table.list("sources") {
            None => table.problem("sources", "is missing: name at least one source"),
            Some([]) => table.problem("sources", "is empty: name at least one source"),
            Some(list) => {
                if list.len() > MAX_SOURCES {
                    table.problem("sources", format!("has {} sources, at most {MAX_SOURCES} are served", list.len()));
                }
                for (index, value) in list.iter().enumerate().take(MAX_SOURCES) {
                    let key = format!("sources[{index}]");
                    let source = table.nested(&key, value, |table| source::read(table, allow_private_addresses));
                    let Some(source) = source.flatten() else { continue };
                    if sources.iter().any(|other| other.name == source.name) {
                        table.problem(
                            &format!("{key}.name"),
                            format!("{:?} is the name of another source", source.name),
                        );
                    }
                    sources.push(source);
                }
            }
        }
        if sources.iter().any(|source| source.subscription.is_some()) {
            let gave_endpoints = ["region", "login_url", "api_url"].iter().any(|key| table.value(key).is_some());
            if endpoints.is_none() && !gave_endpoints {
                table.problem("region", "is missing: a source has a subscription");
            }
            if public_url.is_none() && table.value("public_url").is_none() {
                table.problem("public_url", "is missing: a source has a subscription, which needs an address");
            }
        }
        table.finish();
        Some(Self { endpoints, public_url, allow_private_addresses, owner, retention, alerts, sources })
    }
}

fn read_endpoints(table: &Table<'_>, allow_private: bool) -> Option<Endpoints> {
    let region = table.text("region");
    let (login_url, api_url) = (table.text("login_url"), table.text("api_url"));
    let endpoints = match (region, login_url, api_url) {
        (None, None, None) => return None,
        (Some(region), None, None) => Endpoints::for_region(region).map_err(|error| ("region", error.to_string())),
        (None, Some(login_url), Some(api_url)) => {
            Endpoints::explicit(login_url, api_url, allow_private).map_err(|error| ("api_url", error.to_string()))
        }
        (Some(_), _, _) => Err(("region", "give either region or login_url and api_url".into())),
        (None, Some(_), None) => Err(("api_url", "is missing: login_url needs it".into())),
        (None, None, Some(_)) => Err(("login_url", "is missing: api_url needs it".into())),
    };
    endpoints.map_err(|(key, problem)| table.problem(key, problem)).ok()
}
