//! The gateway at work, on this machine alone.
//!
//! Starts a simulated Genesys Cloud in this process and the gateway in `wrangler dev`, lets the gateway
//! subscribe itself, sends signed deliveries (and forged and broken ones) at a steady rate, shows what becomes of them, and
//! checks at the end that every one is accounted for. Everything listens on loopback, and everything that was started is ended
//! again, however the demo ends. Out of scope: measurements; the proxy in front of `wrangler dev` costs more than the gateway.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, DemoAddresses, DemoFiles};
use crate::gateway::{self, GatewayMetrics, GatewayProcess};
use crate::simulation::Simulation;
use crate::view::{DemoScreen, DemoSnapshot};
use crate::{accounting, project};

/// What the demo was asked for.
#[derive(Debug, clap::Parser)]
#[command(name = "npm start --", about = "Runs the gateway against a simulated Genesys Cloud, on this machine alone.")]
pub(crate) struct DemoOptions {
    /// Ends by itself after this time, e.g. 20s or 2m; fails if the accounting does not hold.
    #[arg(long = "for", value_name = "DURATION", value_parser = limit)]
    pub(crate) limit: Option<Duration>,
    /// Deliveries per second.
    #[arg(long = "rate", value_name = "N", default_value = "20", value_parser = rate)]
    pub(crate) rate_per_s: f64,
    /// The gateway's port on 127.0.0.1; a free one unless given.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// A line a second instead of the live view.
    #[arg(long)]
    pub(crate) plain: bool,
}

/// More than nothing, at most a day.
fn limit(text: &str) -> Result<Duration> {
    let limit = humantime::parse_duration(text)?;
    ensure!(!limit.is_zero() && limit <= Duration::from_hours(24), "give more than nothing and at most a day");
    Ok(limit)
}

/// More than nothing. The upper end is what one sender on the same machine can still time.
fn rate(text: &str) -> Result<f64> {
    let rate = text.parse::<f64>().context("give deliveries per second")?;
    ensure!(rate > 0.0 && rate <= 10_000.0, "give deliveries per second, up to 10000");
    Ok(rate)
}

/// From the end of the cron handler until the simulator has the subscriptions; they are there when the handler ends, unless
/// the simulator was told to show them late.
const SUBSCRIBED_LIMIT: Duration = Duration::from_secs(15);
/// From the last delivery until nothing is on its way any more. The gateway repeats a failed attempt after 5 s and after
/// 5 min; waiting for the second repeat would take too long for a demo.
const DRAIN_LIMIT: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(500);
/// The counters are added outside of the response and flushed by several objects: they have settled when they stay the same
/// for this many polls.
const SETTLED_POLLS: u32 = 4;

/// Runs the demo until its time is over or it is told to end.
///
/// # Errors
/// A part could not be started or ended by itself.
pub(crate) fn run(options: &DemoOptions) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let in_order = runtime.block_on(demonstrate(options));
    // What is left waits for nothing that matters: the accounting is done or the error is on its way.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(if in_order? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn demonstrate(options: &DemoOptions) -> Result<bool> {
    let mut ending = EndSignals::listen()?;
    let folder = project::root().join(".wrangler");
    std::fs::create_dir_all(&folder)?;
    // Held until the end: a second demo in the same folder would take the files of the first away.
    let only_one = std::fs::File::create(folder.join("demo.lock"))?;
    ensure!(only_one.try_lock().is_ok(), "a demo is already running in {}", project::root().display());
    let wrangler_toml = std::fs::read_to_string(project::root().join("wrangler.toml"))?;
    let (secrets, sources) = config::draw_secrets(&wrangler_toml)?;
    let port = gateway::free_port(options.port)?;

    progress("starting the simulated Genesys Cloud");
    let simulation = Simulation::start(&secrets, &sources).await?;
    let around = DemoAddresses {
        gateway: format!("http://127.0.0.1:{port}"),
        vendor: simulation.base_url(),
        sink: simulation.sink_url(),
    };
    let derived = config::derive(&wrangler_toml, &around)?;
    let demo = config::write(&folder.join("demo"), &project::build_dir(), &derived, secrets, sources)?;

    progress("starting the gateway in wrangler dev");
    let starting = GatewayProcess::start(&demo.config_path, port, &demo.secrets["ADMIN_TOKEN"]);
    let mut gateway = tokio::select! {
        gateway = starting => gateway?,
        () = ending.asked() => return Ok(true),
    };
    let outcome = tokio::select! {
        outcome = show(options, &demo, &simulation, &mut gateway) => outcome.map(|()| true),
        () = ending.asked() => Ok(false),
    };
    let outcome = match outcome {
        // Nothing was sent before the gateway was ready, so there is an account to give only after that.
        Ok(_) if simulation.sender().sent > 0 => account(&demo, &simulation, &mut gateway, &mut ending).await,
        Ok(ended_by_itself) => Ok(!ended_by_itself),
        Err(error) => Err(error),
    };
    gateway.end();
    simulation.end().await;
    outcome
}

fn progress(message: &str) {
    eprintln!("demo: {message}");
}

/// From a gateway that is ready to the end of the demo's time.
async fn show(
    options: &DemoOptions,
    demo: &DemoFiles,
    simulation: &Simulation,
    gateway: &mut GatewayProcess,
) -> Result<()> {
    progress("the gateway is ready; running its scheduled handler, which subscribes it");
    gateway.run_scheduled().await?;
    wait_until_subscribed(demo, simulation, gateway).await?;
    simulation.send(options.rate_per_s)?;

    let hints = hints(demo, gateway);
    let started = project::now();
    let mut metrics = GatewayMetrics::default();
    let mut view = DemoScreen::open(options.plain)?;
    if matches!(view, DemoScreen::Plain) {
        for hint in &hints {
            progress(hint);
        }
    }
    let mut tick = tokio::time::interval(view.interval());
    loop {
        tick.tick().await;
        gateway.check_running()?;
        // A gateway that is too busy to answer is shown with its last figures; the accounting at the end waits for it.
        metrics = gateway.metrics().await.unwrap_or(metrics);
        let elapsed = started.elapsed();
        view.show(&DemoSnapshot {
            elapsed,
            limit: options.limit,
            subscriptions: simulation.subscriptions(),
            sender: simulation.sender(),
            latency: simulation.latency(),
            gateway: metrics.accounting.clone(),
            incomplete: metrics.incomplete,
            sink: simulation.sink(),
            hints: hints.clone(),
        })?;
        if view.end_is_asked_for()? || options.limit.is_some_and(|limit| elapsed >= limit) {
            return Ok(());
        }
    }
}

fn hints(demo: &DemoFiles, gateway: &GatewayProcess) -> Vec<String> {
    let (url, token) = (gateway.base_url(), &demo.secrets["ADMIN_TOKEN"]);
    vec![
        format!("curl -H 'Authorization: Bearer {token}' {url}/metrics"),
        format!("curl -H 'Authorization: Bearer {token}' {url}/api/dead-letters"),
        format!("log of wrangler: {}", gateway.log().display()),
    ]
}

/// Every source with a subscription in the configuration has to have one at the vendor.
async fn wait_until_subscribed(demo: &DemoFiles, simulation: &Simulation, gateway: &GatewayProcess) -> Result<()> {
    let wanted: Vec<&str> = demo.sources.iter().filter_map(|source| source.subscription.as_deref()).collect();
    let started = project::now();
    loop {
        let there = simulation.delivering();
        let missing: Vec<&str> =
            wanted.iter().filter(|name| !there.iter().any(|other| other == *name)).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        if started.elapsed() > SUBSCRIBED_LIMIT {
            bail!(
                "the gateway has not subscribed {} at Genesys Cloud (simulated). Its report: {}",
                missing.join(", "),
                gateway.reconcile_report().await
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Lets everything that is on its way arrive, then prints the sums. A second request to end skips the waiting.
async fn account(
    demo: &DemoFiles,
    simulation: &Simulation,
    gateway: &mut GatewayProcess,
    ending: &mut EndSignals,
) -> Result<bool> {
    println!("The sender stops; waiting until nothing is on its way any more (Ctrl-C skips this).");
    let drained = tokio::select! {
        drained = drain(simulation, gateway) => drained?,
        () = ending.asked() => bail!("ended before the accounting was complete"),
    };
    if !drained {
        println!("After {} s there is still something on its way; the accounting is as of now.", DRAIN_LIMIT.as_secs());
    }
    let metrics = gateway.metrics().await.context("the gateway does not give its counts")?;
    if metrics.incomplete {
        println!("Some of the gateway's counters did not answer: its counts may be too low.");
    }
    let mut lines = accounting::lines(&simulation.sender(), &metrics.accounting, &simulation.sink());
    lines.push(accounting::dry_replay(&gateway.dry_replay().await?, &metrics.accounting));
    lines.push(accounting::audit(&gateway.check_audit().await?));
    let in_order = lines.iter().all(|line| line.holds);
    println!("\nAccounting");
    for line in &lines {
        println!("  {} {}", if line.holds { "ok  " } else { "FAIL" }, line.text);
    }
    for (reason, refused) in &metrics.accounting.refused_by_reason {
        println!("       refused as {reason}: {refused}");
    }
    println!("       dead letters kept: {}", metrics.accounting.dead_letters);
    println!("{}", if in_order { "Every delivery is accounted for." } else { "The accounting does not hold." });
    if !in_order {
        println!("wrangler's log is in {}.", demo.config_path.with_file_name("wrangler.log").display());
    }
    Ok(in_order)
}

/// Whether everything arrived in time.
async fn drain(simulation: &Simulation, gateway: &mut GatewayProcess) -> Result<bool> {
    let started = project::now();
    let stopped = tokio::time::timeout(DRAIN_LIMIT, simulation.stop_sending()).await.is_ok();
    let mut before = None;
    let mut unchanged = 0;
    while started.elapsed() < DRAIN_LIMIT {
        gateway.check_running()?;
        let now =
            gateway.metrics().await.ok().map(|metrics| (metrics.accounting, simulation.sender(), simulation.sink()));
        let at_rest = now.as_ref().is_some_and(|(gateway, sender, _)| {
            stopped && gateway.pending == 0 && gateway.received >= sender.sent.saturating_sub(sender.unanswered)
        });
        unchanged = if at_rest && now == before { unchanged + 1 } else { 0 };
        if unchanged >= SETTLED_POLLS {
            return Ok(true);
        }
        before = now;
        tokio::time::sleep(POLL).await;
    }
    Ok(false)
}

/// The signals by which a demo is told to end.
struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    last: Option<std::time::Instant>,
}

impl EndSignals {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            last: None,
        })
    }

    /// Waits for the next request to end. Several within a second are one: Ctrl-C may arrive from the terminal and, passed on,
    /// from npm as well.
    async fn asked(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.hang_up.recv() => {}
            }
            let now = project::now();
            let repeated = self.last.is_some_and(|last| now.duration_since(last) < Duration::from_secs(1));
            self.last = Some(now);
            if !repeated {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn parse(list: &[&str]) -> Result<DemoOptions, clap::Error> {
        DemoOptions::try_parse_from(std::iter::once(&"demo").chain(list))
    }

    #[test]
    fn options_are_read() {
        let options = parse(&["--for", "20s", "--rate", "50", "--port", "8787", "--plain"]).unwrap();
        assert_eq!((options.limit, options.port, options.plain), (Some(Duration::from_secs(20)), Some(8787), true));
        assert!((options.rate_per_s - 50.0).abs() < f64::EPSILON);
        let default = parse(&[]).unwrap();
        assert!(default.limit.is_none() && !default.plain && (default.rate_per_s - 20.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_no_option_or_no_value_is_refused() {
        for list in [
            &["--what"][..],
            &["20s"],
            &["--for"],
            &["--for", "0s"],
            &["--for", "25h"],
            &["--for", "x"],
            &["--rate", "0"],
            &["--rate", "NaN"],
            &["--rate", "10001"],
            &["--port", "high"],
        ] {
            assert!(parse(list).is_err(), "{list:?}");
        }
    }
}
