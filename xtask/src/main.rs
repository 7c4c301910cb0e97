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
struct XtaskArguments {
    #[command(subcommand)]
    command: XtaskCommand,
}

#[derive(Debug, Subcommand)]
enum XtaskCommand {
    /// Builds the Worker into the folder `build` (npm run build).
    Build(build::BuildOptions),
    /// Builds the Worker, then runs it against a simulated Genesys Cloud (npm start); options are those of the demo.
    Start(PassedOptions),
    /// Runs the tests (npm test).
    Test(test::TestOptions),
    /// Builds the Worker, then measures it (npm run bench); options are those of `bench/run.mjs`.
    Bench(PassedOptions),
    /// Builds the npm package of client and verifier into `build/client-js`.
    ClientJs,
    /// Fails where two files of a crate need each other.
    Circles,
}

/// Options of the program behind a command.
#[derive(Debug, clap::Args)]
struct PassedOptions {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

fn main() -> ExitCode {
    match dispatch(XtaskArguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: XtaskCommand) -> Result<ExitCode> {
    match command {
        XtaskCommand::Build(options) => build::run(&options)?,
        XtaskCommand::Start(passed) => return start::run(&passed.options),
        XtaskCommand::Test(options) => test::run(&options)?,
        XtaskCommand::Bench(passed) => return bench::run(passed.options),
        XtaskCommand::ClientJs => client_js::run()?,
        XtaskCommand::Circles => circles::run()?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        XtaskArguments::command().debug_assert();
        let parsed = XtaskArguments::try_parse_from(["xtask", "start", "--for", "20s", "--plain"]).unwrap();
        assert!(
            matches!(parsed.command, XtaskCommand::Start(PassedOptions { options }) if options == ["--for", "20s", "--plain"])
        );
        assert!(XtaskArguments::try_parse_from(["xtask", "build", "--what"]).is_err());
    }
}
