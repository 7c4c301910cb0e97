//! `npm start`: the gateway at work, on this machine alone. `cargo xtask start` builds the Worker and starts this.

mod accounting;
mod config;
mod gateway;
mod process;
mod project;
mod run;
mod simulation;
mod view;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run::run(&run::DemoOptions::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
