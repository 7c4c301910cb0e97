//! The project's own tools, behind `npm run build`, `npm start`, `npm test` and `npm run bench`; also `cargo xtask <command>`.
//!
//! One program, so that building, showing and testing agree on where things are and how they are built. Out of scope: what has
//! to happen before a Rust program can run (`scripts/bootstrap.mjs`), the demo itself (`tools/demo`).

mod bench;
mod build;
mod cargo;
mod circles;
mod client_js;
mod project;
mod stamp;
mod start;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own tools.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds the Worker into the folder `build` (npm run build).
    Build(build::Options),
    /// Builds the Worker, then runs it against a simulated Genesys Cloud (npm start); options are those of the demo.
    Start(Passed),
    /// Runs the tests (npm test).
    Test(test::Options),
    /// Builds the Worker, then measures it (npm run bench); options are those of `bench/run.mjs`.
    Bench(Passed),
    /// Builds the npm package of client and verifier into `build/client-js`.
    ClientJs,
    /// Fails where two files of a crate need each other.
    Circles,
}

/// Options of the program behind a command.
#[derive(Debug, clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Build(options) => build::run(&options)?,
        Command::Start(passed) => return start::run(&passed.options),
        Command::Test(options) => test::run(&options)?,
        Command::Bench(passed) => return bench::run(passed.options),
        Command::ClientJs => client_js::run()?,
        Command::Circles => circles::run()?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        let parsed = Arguments::try_parse_from(["xtask", "start", "--for", "20s", "--plain"]).unwrap();
        assert!(matches!(parsed.command, Command::Start(Passed { options }) if options == ["--for", "20s", "--plain"]));
        assert!(Arguments::try_parse_from(["xtask", "build", "--what"]).is_err());
    }
}
