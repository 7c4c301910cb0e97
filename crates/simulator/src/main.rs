//! The simulator as a program: prints one JSON line with its address when it is ready and serves until it is told to end.

use clap::Parser as _;
use genesys_simulator::{OauthClient, Simulator, SimulatorConfig};
use std::net::IpAddr;
use std::process::ExitCode;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

/// A Genesys Cloud stand-in on loopback.
#[derive(clap::Parser)]
struct SimulatorArguments {
    /// The port; a free one by default.
    #[arg(long)]
    port: Option<u16>,
    /// 127.0.0.1 (default) or another loopback address.
    #[arg(long)]
    bind: Option<IpAddr>,
    /// The OAuth client's id (simulator-client).
    #[arg(long)]
    client_id: Option<String>,
    /// The OAuth client's secret (simulator-secret).
    #[arg(long)]
    client_secret: Option<String>,
    /// What every random choice derives from (1).
    #[arg(long)]
    seed: Option<u64>,
    /// Everything else, as in README.md; the options above prevail.
    #[arg(long, value_name = "JSON", value_parser = |text: &str| serde_json::from_str::<SimulatorConfig>(text))]
    config: Option<SimulatorConfig>,
    /// End when standard input is closed, so that a test runner cannot leave it behind.
    #[arg(long)]
    exit_with_stdin: bool,
}

impl SimulatorArguments {
    fn config(self) -> SimulatorConfig {
        let mut config = self.config.unwrap_or_default();
        config.port = self.port.unwrap_or(config.port);
        config.bind = self.bind.unwrap_or(config.bind);
        config.seed = self.seed.unwrap_or(config.seed);
        if self.client_id.is_some() || self.client_secret.is_some() {
            let mut clients = std::mem::take(&mut config.clients).into_iter();
            let OauthClient { id, secret, permissions } = clients.next().unwrap_or_default();
            let (id, secret) = (self.client_id.unwrap_or(id), self.client_secret.unwrap_or(secret));
            config.clients = std::iter::once(OauthClient { id, secret, permissions }).chain(clients).collect();
        }
        config
    }
}

/// Waits until standard input is closed.
async fn closed() {
    let (mut stdin, mut buffer) = (tokio::io::stdin(), [0; 256]);
    while matches!(stdin.read(&mut buffer).await, Ok(1..)) {}
}

async fn run(arguments: SimulatorArguments) -> Result<(), Box<dyn std::error::Error>> {
    let exit_with_stdin = arguments.exit_with_stdin;
    let config = arguments.config();
    let (seed, client_id) = (config.seed, config.clients.first().map(|client| client.id.clone()));
    let simulator = Simulator::start(config).await?;
    // Caught before the address is known: a caller may send a signal at once.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let ready = serde_json::json!({
        "ready": true,
        "baseUrl": simulator.base_url(),
        "port": simulator.address().port(),
        "clientId": client_id,
        "seed": seed,
        "pid": std::process::id(),
    });
    println!("{ready}");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = closed(), if exit_with_stdin => {}
    }
    simulator.shutdown().await;
    Ok(())
}

fn main() -> ExitCode {
    let arguments = SimulatorArguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(arguments));
    // Standard input is read on a thread that nothing can interrupt: do not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
