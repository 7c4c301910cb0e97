//! The simulator as a program: prints one JSON line with its address when it is ready and serves until it is told to end.

use genesys_simulator::{Config, OauthClient, Simulator};
use std::process::ExitCode;
use tokio::io::AsyncReadExt as _;

const USAGE: &str = "\
genesys-simulator [options]: a Genesys Cloud stand-in on loopback

  --port N               the port; a free one by default
  --bind ADDRESS         127.0.0.1 (default) or another loopback address
  --client-id ID         the OAuth client's id (simulator-client)
  --client-secret TEXT   its secret (simulator-secret)
  --seed N               what every random choice derives from (1)
  --config JSON          everything else, as in README.md; the options above prevail
  --exit-with-stdin      end when standard input is closed, so that a test runner cannot leave it behind
  --help";

struct Arguments {
    config: Config,
    exit_with_stdin: bool,
}

/// Reads the command line; `Ok(None)` asks for help.
fn arguments(mut given: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut config = Config::default();
    let (mut options, mut exit_with_stdin) = (Vec::new(), false);
    while let Some(name) = given.next() {
        match name.as_str() {
            "--help" => return Ok(None),
            "--exit-with-stdin" => exit_with_stdin = true,
            "--config" => {
                let value = given.next().ok_or("--config needs a value")?;
                config = serde_json::from_str(&value).map_err(|error| format!("--config: {error}"))?;
            }
            "--port" | "--bind" | "--client-id" | "--client-secret" | "--seed" => {
                let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
                options.push((name, value));
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    for (name, value) in options {
        let wrong = || format!("{name}: {value} is not valid");
        if config.clients.is_empty() {
            config.clients.push(OauthClient::default());
        }
        match name.as_str() {
            "--port" => config.port = value.parse().map_err(|_| wrong())?,
            "--bind" => config.bind = value.parse().map_err(|_| wrong())?,
            "--seed" => config.seed = value.parse().map_err(|_| wrong())?,
            "--client-id" => config.clients[0].id = value,
            _ => config.clients[0].secret = value,
        }
    }
    Ok(Some(Arguments { config, exit_with_stdin }))
}

/// The signals that end the program. From the moment they are caught here they do not kill it.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn catch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn any(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until standard input is closed.
async fn closed() {
    let (mut stdin, mut buffer) = (tokio::io::stdin(), [0; 256]);
    while matches!(stdin.read(&mut buffer).await, Ok(1..)) {}
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let (seed, client_id) = (arguments.config.seed, arguments.config.clients.first().map(|client| client.id.clone()));
    let simulator = Simulator::start(arguments.config).await.map_err(|error| {
        std::error::Error::source(&error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
    })?;
    // Before anybody knows that it runs: who knows may send one at once.
    let mut signals = Signals::catch().map_err(|error| format!("cannot listen for signals: {error}"))?;
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
        () = signals.any() => {}
        () = closed(), if arguments.exit_with_stdin => {}
    }
    simulator.shutdown().await;
    Ok(())
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
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
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
