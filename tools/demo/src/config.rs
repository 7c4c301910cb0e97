//! The configuration that the demo runs the gateway with: the real `wrangler.toml`, turned towards the simulator.
//!
//! Written to a folder that git ignores and that only its owner can read, with secrets that are drawn anew for every run.
//! What stays is everything that shapes the gateway (queues, objects, sources, event types); what changes is where it reaches
//! Genesys Cloud and the destinations. Out of scope: the defaults of the gateway itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use toml::{Table, Value};

use crate::project;

/// Length of a secret: that of the hash that it keys (SHA-256).
const SECRET_BYTES: usize = 32;

/// What the gateway has to reach, and how it is reached itself. Addresses, without a slash at the end.
#[derive(Debug)]
pub(crate) struct DemoAddresses {
    /// The gateway, as the sender reaches it.
    pub(crate) gateway: String,
    /// The vendor: its OAuth server and its API.
    pub(crate) vendor: String,
    /// The destination of every source.
    pub(crate) sink: String,
}

/// What the gateway and the simulator have to agree on.
#[derive(Debug)]
pub(crate) struct DemoFiles {
    /// The configuration file for wrangler.
    pub(crate) config_path: PathBuf,
    /// By the names of the Worker's secrets.
    pub(crate) secrets: BTreeMap<String, String>,
    /// The sources, as `wrangler.toml` names them.
    pub(crate) sources: Vec<DemoSource>,
}

/// One source of the gateway.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DemoSource {
    /// The name of the secret that requests to the destination are signed with.
    pub(crate) destination_secret: Option<String>,
    /// The name of the subscription that its deliveries come from.
    pub(crate) subscription: Option<String>,
}

/// Draws secrets for the sources of the real configuration `wrangler_toml`.
///
/// # Errors
/// The configuration is not what the gateway expects, or the system has no randomness.
pub(crate) fn draw_secrets(wrangler_toml: &str) -> Result<(BTreeMap<String, String>, Vec<DemoSource>)> {
    let config: Table = wrangler_toml.parse().context("wrangler.toml is not valid TOML")?;
    let mut secrets = BTreeMap::new();
    for name in ["ADMIN_TOKEN", "GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET"] {
        secrets.insert(name.to_owned(), random_hex()?);
    }
    let mut sources = Vec::new();
    for source in sources_of(&config)? {
        let keyed_by_base64 = source.get("profile").and_then(Value::as_str) == Some("standard-webhooks");
        let named = source.get("secrets").and_then(Value::as_array).into_iter().flatten().filter_map(secret_name);
        for secret in named {
            secrets.insert(secret, if keyed_by_base64 { random_base64()? } else { random_hex()? });
        }
        let destination_secret =
            source.get("destination").and_then(|value| value.get("secret")).and_then(Value::as_str).map(str::to_owned);
        if let Some(secret) = &destination_secret {
            secrets.insert(secret.clone(), random_base64()?);
        }
        let subscription =
            source.get("subscription").and_then(|value| value.get("name")).and_then(Value::as_str).map(str::to_owned);
        sources.push(DemoSource { destination_secret, subscription });
    }
    Ok((secrets, sources))
}

/// The real configuration with the simulator's addresses in it, for the copy of the build that stands next to it.
///
/// # Errors
/// The configuration is not what the gateway expects.
pub(crate) fn derive(wrangler_toml: &str, around: &DemoAddresses) -> Result<String> {
    let mut config: Table = wrangler_toml.parse().context("wrangler.toml is not valid TOML")?;
    config.remove("build");
    config.insert("main".to_owned(), project::MODULE.into());
    for source in sources_of_mut(&mut config)? {
        if let Some(destination) = source.get_mut("destination").and_then(Value::as_table_mut) {
            destination.insert("url".to_owned(), around.sink.as_str().into());
        }
    }
    let gateway = gateway_mut(&mut config)?;
    gateway.remove("region");
    gateway.insert("login_url".to_owned(), around.vendor.as_str().into());
    gateway.insert("api_url".to_owned(), around.vendor.as_str().into());
    gateway.insert("public_url".to_owned(), around.gateway.as_str().into());
    // Everything here is on loopback and without TLS.
    gateway.insert("allow_private_addresses".to_owned(), true.into());
    toml::to_string(&config).context("the derived configuration cannot be written as TOML")
}

/// Writes `wrangler.toml`, `.dev.vars` and a copy of the build in `build_dir` into `folder`, which is made anew: no state of an
/// earlier run remains, and no later build reaches into this one (wrangler would load it and lose what is in the local queues).
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write(
    folder: &Path,
    build_dir: &Path,
    derived: &str,
    secrets: BTreeMap<String, String>,
    sources: Vec<DemoSource>,
) -> Result<DemoFiles> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let config_path = folder.join("wrangler.toml");
    write_private(&config_path, derived)?;
    let lines: Vec<String> = secrets.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    write_private(&folder.join(".dev.vars"), &lines.join("\n"))?;
    for name in [project::MODULE, project::WASM] {
        fs::copy(build_dir.join(name), folder.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(DemoFiles { config_path, secrets, sources })
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    Ok(())
}

fn gateway_mut(config: &mut Table) -> Result<&mut Table> {
    let gateway = config.get_mut("vars").and_then(|vars| vars.get_mut("GATEWAY")).and_then(Value::as_table_mut);
    gateway.context("wrangler.toml has no [vars.GATEWAY]")
}

fn sources_of_mut(config: &mut Table) -> Result<impl Iterator<Item = &mut Table>> {
    let sources = gateway_mut(config)?.get_mut("sources").and_then(Value::as_array_mut);
    Ok(sources.context("[vars.GATEWAY] has no sources")?.iter_mut().filter_map(Value::as_table_mut))
}

fn sources_of(config: &Table) -> Result<impl Iterator<Item = &Table>> {
    let sources = config.get("vars").and_then(|vars| vars.get("GATEWAY")).and_then(|gateway| gateway.get("sources"));
    Ok(sources.and_then(Value::as_array).context("[vars.GATEWAY] has no sources")?.iter().filter_map(Value::as_table))
}

/// A secret is named by itself or in a table with its label and expiry.
fn secret_name(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("name").and_then(Value::as_str)).map(str::to_owned)
}

fn random_bytes() -> Result<[u8; SECRET_BYTES]> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system has no randomness: {error}"))?;
    Ok(bytes)
}

fn random_hex() -> Result<String> {
    Ok(hex::encode(random_bytes()?))
}

/// As Standard Webhooks writes its keys.
fn random_base64() -> Result<String> {
    Ok(format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(random_bytes()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real() -> String {
        fs::read_to_string(project::root().join("wrangler.toml")).expect("the configuration is committed")
    }

    fn around() -> DemoAddresses {
        DemoAddresses {
            gateway: "http://127.0.0.1:1".to_owned(),
            vendor: "http://127.0.0.1:2".to_owned(),
            sink: "http://127.0.0.1:2/sink/demo".to_owned(),
        }
    }

    #[test]
    fn the_derived_configuration_reaches_nothing_but_the_given_addresses() {
        let derived = derive(&real(), &around()).expect("it can be derived");
        let outside: Vec<&str> =
            derived.lines().filter(|line| line.contains("://") && !line.contains("://127.0.0.1:")).collect();
        assert_eq!(outside, Vec::<&str>::new());
        assert!(!derived.contains("[build]") && !derived.contains("region"), "{derived}");
        assert!(derived.contains("main = \"index.js\""), "{derived}");
    }

    #[test]
    fn the_derived_configuration_keeps_queues_objects_and_sources() {
        let (real, derived): (Table, Table) = (
            real().parse().expect("TOML"),
            derive(&real(), &around()).expect("it can be derived").parse().expect("TOML"),
        );
        for key in ["name", "compatibility_date", "queues", "durable_objects", "migrations", "r2_buckets", "triggers"] {
            assert_eq!(real.get(key), derived.get(key), "{key}");
        }
        let names = |config: &Table| -> Vec<Value> {
            sources_of(config).expect("sources").filter_map(|source| source.get("name").cloned()).collect()
        };
        assert_eq!(names(&real), names(&derived));
    }

    #[test]
    fn every_secret_that_a_source_names_is_drawn_in_the_form_of_its_scheme() {
        let config = r#"
            [[vars.GATEWAY.sources]]
            name = "one"
            profile = "webhooks"
            secrets = ["NEW", { name = "OLD", label = "previous" }]
            subscription = { name = "Production" }
            destination = { url = "https://app.example.com", secret = "HANDOVER" }
            [[vars.GATEWAY.sources]]
            name = "two"
            profile = "standard-webhooks"
            secrets = ["STANDARD"]
        "#;
        let (secrets, sources) = draw_secrets(config).expect("the configuration is complete");
        let names: Vec<&str> = secrets.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["ADMIN_TOKEN", "GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "HANDOVER", "NEW", "OLD", "STANDARD"]
        );
        for (name, value) in &secrets {
            assert_eq!(value.starts_with("whsec_"), ["HANDOVER", "STANDARD"].contains(&name.as_str()), "{name}");
            assert!(value.len() >= SECRET_BYTES, "{name}");
        }
        assert_eq!(
            sources,
            [
                DemoSource { destination_secret: Some("HANDOVER".into()), subscription: Some("Production".into()) },
                DemoSource { destination_secret: None, subscription: None },
            ]
        );
        assert_ne!(secrets["NEW"], secrets["OLD"]);
    }

    #[test]
    fn a_configuration_without_sources_is_named_as_such() {
        let error = draw_secrets("[vars.GATEWAY]\nregion = \"mypurecloud.com\"").expect_err("there are no sources");
        assert!(error.to_string().contains("sources"), "{error}");
    }

    #[test]
    fn what_is_written_can_be_read_by_its_owner_only_and_has_its_own_copy_of_the_build() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("gateway-demo-{}", std::process::id()));
        let secrets = BTreeMap::from([("ADMIN_TOKEN".to_owned(), "token".to_owned())]);
        let build_dir = folder.with_extension("build");
        fs::create_dir_all(&build_dir).expect("a folder for the build");
        for name in [project::MODULE, project::WASM] {
            fs::write(build_dir.join(name), name).expect("a build");
        }
        let demo = write(&folder, &build_dir, "name = \"x\"", secrets, vec![]).expect("the folder can be written");
        let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&demo.config_path), 0o600);
        assert_eq!(mode(&folder.join(".dev.vars")), 0o600);
        assert_eq!(fs::read_to_string(folder.join(".dev.vars")).expect("it exists"), "ADMIN_TOKEN=\"token\"");
        assert_eq!(fs::read_to_string(folder.join(project::WASM)).expect("it was copied"), project::WASM);
        for folder in [folder, build_dir] {
            fs::remove_dir_all(folder).expect("the folder is removed");
        }
    }
}
