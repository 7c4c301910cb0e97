//! The gateway as the demo runs it: `wrangler dev` on loopback, and the questions that the demo asks it over HTTP.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

use crate::accounting::{self, AuditCheck, DryReplay};
use crate::process::ProcessGroup;
use crate::project;

/// From the start of wrangler to the first answer of the gateway; a few seconds on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(90);
const START_ATTEMPTS: u32 = 3;
/// What workerd reports where another program took the port in the meantime.
const PORT_TAKEN: &str = "Address already in use";
const START_POLL: Duration = Duration::from_millis(200);
/// One question to the gateway. The scheduled handler, which reconciles, is the slowest.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// The cron that reconciles, as in `wrangler.toml`.
const RECONCILE_CRON: &str = "*/5 * * * *";

/// A running gateway; dropping it ends it.
pub(crate) struct GatewayProcess {
    group: ProcessGroup,
    client: Client,
    base_url: String,
    admin_token: String,
    log: PathBuf,
}

/// What `GET /metrics` says, as far as the demo shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct GatewayMetrics {
    pub(crate) accounting: accounting::GatewayCounts,
    /// Objects that did not answer in time: the counts are too low by what they hold.
    pub(crate) incomplete: bool,
}

/// Where ports are looked for: below those that systems hand out by themselves (from 32768 on Linux, 49152 on macOS), so that no
/// connection takes the port between its choice and its use.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// How many of them are tried.
const PORT_ATTEMPTS: u32 = 50;

/// A port on loopback that nothing uses at the moment.
///
/// # Errors
/// `wanted` is taken, or everything that was tried.
pub(crate) fn free_port(wanted: Option<u16>) -> Result<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    if let Some(port) = wanted {
        ensure!(is_free(port), "port {port} on 127.0.0.1 cannot be used");
        return Ok(port);
    }
    for _ in 0..PORT_ATTEMPTS {
        let random = getrandom::u32().map_err(|error| anyhow::anyhow!("the system has no randomness: {error}"))?;
        let port = PORTS.start + u16::try_from(random % u32::from(PORTS.end - PORTS.start))?;
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!("no free port was found on 127.0.0.1");
}

impl GatewayProcess {
    /// Starts `wrangler dev` with the configuration at `config`, its output going to a file next to it, and waits for the gateway.
    ///
    /// wrangler takes further ports by itself and ends if another program is faster; then it is started again.
    ///
    /// # Errors
    /// wrangler cannot be started or ends, or the gateway does not answer in time.
    pub(crate) async fn start(config: &Path, port: u16, admin_token: &str) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let mut gateway = Self::launch(config, port, admin_token.to_owned())?;
            match gateway.wait_until_ready().await {
                Ok(()) => return Ok(gateway),
                Err(_) if attempt < START_ATTEMPTS && gateway.group.last_lines(15).contains(PORT_TAKEN) => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn launch(config: &Path, port: u16, admin_token: String) -> Result<Self> {
        let folder = config.parent().context("the configuration has no folder")?;
        let log = folder.join("wrangler.log");
        let inspector_port = free_port(None)?;
        let mut wrangler = project::command(project::npm_tool("wrangler")?);
        wrangler.arg("dev").arg("--config").arg(config);
        wrangler.args(["--ip", "127.0.0.1", "--port", &port.to_string()]);
        wrangler.args(["--inspector-port", &inspector_port.to_string()]);
        wrangler.arg("--persist-to").arg(folder.join("state"));
        wrangler.args(["--log-level", "info", "--show-interactive-dev-session=false"]);
        wrangler.env("WRANGLER_SEND_METRICS", "false").env("NO_COLOR", "1");
        Ok(Self {
            group: ProcessGroup::start(wrangler, "wrangler dev", &log)?,
            client: Client::builder().no_proxy().timeout(CALL_LIMIT).build()?,
            base_url: format!("http://127.0.0.1:{port}"),
            admin_token,
            log,
        })
    }

    /// Waits until the gateway answers its health check.
    ///
    /// # Errors
    /// wrangler has ended, or the gateway does not answer in time: both with the last lines of the log.
    async fn wait_until_ready(&mut self) -> Result<()> {
        let started = project::now();
        loop {
            self.check_running()?;
            if matches!(answer(self.get("/healthz")).await, Ok((StatusCode::OK, _))) {
                return Ok(());
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "the gateway does not answer GET /healthz after {} s. The last lines of {}:\n{}",
                    START_LIMIT.as_secs(),
                    self.log.display(),
                    self.group.last_lines(15)
                );
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    /// An error if wrangler has ended by itself.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        self.group.check_running()
    }

    /// Runs the scheduled handler that reconciles, as the platform's clock would.
    ///
    /// # Errors
    /// The handler failed or did not end in time.
    pub(crate) async fn run_scheduled(&self) -> Result<()> {
        let cron = RECONCILE_CRON.replace(' ', "+").replace('/', "%2F");
        let path = format!("/cdn-cgi/handler/scheduled?cron={cron}&format=json");
        let (status, body) = answer(self.get(&path)).await?;
        ensure!(status == StatusCode::OK && body.contains("\"ok\""), "the scheduled handler answered {status}: {body}");
        Ok(())
    }

    /// The gateway's own counts.
    ///
    /// # Errors
    /// The gateway did not answer, or with something else.
    pub(crate) async fn metrics(&self) -> Result<GatewayMetrics> {
        parse_metrics(&succeeded(self.get("/metrics")).await?)
    }

    /// What a replay of the dead letters would come to.
    ///
    /// # Errors
    /// The gateway did not answer, or with something else.
    pub(crate) async fn dry_replay(&self) -> Result<DryReplay> {
        let order = serde_json::json!({ "filter": {}, "dryRun": true });
        read(self.request(Method::POST, "/api/dead-letters/replay").json(&order)).await
    }

    /// Whether the chain of the audit trail holds, as far as one step of the check reaches.
    ///
    /// # Errors
    /// The gateway did not answer, or with something else.
    pub(crate) async fn check_audit(&self) -> Result<AuditCheck> {
        read(self.get("/api/audit/verify?limit=10000")).await
    }

    /// The text of the last reconciliation's report, for the reader of an error.
    pub(crate) async fn reconcile_report(&self) -> String {
        answer(self.get("/api/reconcile")).await.map_or_else(|error| format!("{error:#}"), |(_, body)| body)
    }

    /// Where the gateway can be reached.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The file with wrangler's output.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Ends wrangler and all that it started.
    pub(crate) fn end(&mut self) {
        self.group.end();
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base_url));
        request.bearer_auth(&self.admin_token).header("accept", "application/json")
    }
}

/// Status and body of what the gateway answers.
async fn answer(request: RequestBuilder) -> Result<(StatusCode, String)> {
    let response = request.send().await?;
    Ok((response.status(), response.text().await?))
}

/// The body of an answer with 200.
async fn succeeded(request: RequestBuilder) -> Result<String> {
    let response = request.send().await?;
    let (status, path) = (response.status(), response.url().path().to_owned());
    let body = response.text().await?;
    ensure!(status == StatusCode::OK, "{path} answered {status}: {body}");
    Ok(body)
}

async fn read<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    serde_json::from_str(&succeeded(request).await?).context("the gateway did not answer as expected")
}

fn parse_metrics(body: &str) -> Result<GatewayMetrics> {
    let value: serde_json::Value = serde_json::from_str(body).context("GET /metrics did not answer JSON")?;
    let mut accounting: accounting::GatewayCounts =
        serde_json::from_value(value["accounting"].clone()).context("GET /metrics has no accounting as expected")?;
    accounting.refused_by_reason = serde_json::from_value(value["refusedByReason"].clone())
        .context("GET /metrics has no refusedByReason as expected")?;
    accounting.dead_letters = value["deadLetters"]["stored"].as_u64().unwrap_or_default();
    let incomplete = value["missing"].as_array().is_some_and(|missing| !missing.is_empty());
    Ok(GatewayMetrics { accounting, incomplete })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounting_is_read_from_the_metrics() {
        let body = r#"{
            "version": "0.1.0", "totalRequests": 9,
            "accounting": {"received":9,"accepted":6,"refused":2,"unavailable":1,"delivered":4,"duplicate":1,"pending":-1,"queued":0,"dead":2},
            "refusedByReason": {"signature_mismatch": 2},
            "deadLetters": {"stored": 4, "byReason": {"signature_mismatch": 2}},
            "missing": ["COUNTERS/3"]
        }"#;
        let metrics = parse_metrics(body).expect("these are metrics");
        assert_eq!(
            (metrics.accounting.received, metrics.accounting.pending, metrics.accounting.dead_letters),
            (9, -1, 4)
        );
        assert_eq!(metrics.accounting.refused_by_reason["signature_mismatch"], 2);
        assert!(metrics.incomplete);
    }

    #[test]
    fn an_answer_that_is_no_metrics_is_an_error() {
        for body in ["", "ok", "{}", r#"{"accounting": {"received": 1}}"#] {
            assert!(parse_metrics(body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = taken.local_addr().expect("it is bound").port();
        let error = free_port(Some(port)).expect_err("the port is taken");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
}
