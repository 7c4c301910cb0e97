//! The project's own tools, behind `npm run build`, `npm start`, `npm test` and `npm run bench`; also `cargo xtask <command>`.
//!
//! One program, so that building, showing and testing agree on where things are and how they are built. Out of scope: what has
//! to happen before a Rust program can run (`scripts/bootstrap.mjs`).

mod bench;
mod build;
mod cargo;
mod client_js;
mod demo;
mod names;
mod process;
mod project;
mod stamp;
mod test;
mod trace;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
Usage: npm start [-- OPTIONS]           build, then run the gateway against a simulated Genesys Cloud
       npm test                         every test
       npm run build [-- OPTIONS]       build/index.js and build/index_bg.wasm

       npm run bench [-- OPTIONS]       measurements against what a user would write instead

       cargo xtask client-js            build/client-js, the npm package of client and verifier
       cargo xtask names [INDEX ...]    what wasm-function[INDEX] is called; without one: in a stack trace on standard input

npm start
  --for DURATION     end by itself, e.g. 20s, 2m; fails if the accounting does not hold
  --rate N           deliveries per second (default 20)
  --port N           the gateway's port on 127.0.0.1 (default: a free one)
  --plain            a line a second instead of the live view

npm run build
  --features LIST    cargo features of the Worker
  --out-dir DIR      where the result goes (default: build)
  --fast             for development only: less optimised, in a fraction of the time
  --names            for measurements: functions that are not this repository's keep a name in the wasm as well

npm run bench
  --quick            a short form that writes nothing, under 3 minutes
  --only LIST        some of the parts; an unknown name lists them
";

fn main() -> ExitCode {
    match dispatch(std::env::args().skip(1)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    let command = arguments.next().unwrap_or_default();
    let mut arguments = Arguments(arguments);
    match command.as_str() {
        "bench" => bench::run(arguments.0),
        "build" => {
            build::run(&build_options(&mut arguments)?)?;
            Ok(ExitCode::SUCCESS)
        }
        "client-js" => {
            client_js::run()?;
            Ok(ExitCode::SUCCESS)
        }
        "names" => trace::run(arguments.0).map(|()| ExitCode::SUCCESS),
        "start" => demo::run(&demo_options(&mut arguments)?),
        "test" => {
            if let Some(name) = arguments.next_name()? {
                return Err(unknown(&name));
            }
            test::run()?;
            Ok(ExitCode::SUCCESS)
        }
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        "" => bail!("no command was given\n\n{USAGE}"),
        other => bail!("unknown command {other:?}\n\n{USAGE}"),
    }
}

fn build_options<I: Iterator<Item = String>>(arguments: &mut Arguments<I>) -> Result<build::Options> {
    let mut options = build::Options::default();
    while let Some(name) = arguments.next_name()? {
        match name.as_str() {
            "--features" => options.features = Some(arguments.value(&name)?),
            "--fast" => options.fast = true,
            "--names" => options.names = true,
            "--out-dir" => options.out_dir = Some(arguments.value(&name)?.into()),
            _ => return Err(unknown(&name)),
        }
    }
    Ok(options)
}

fn demo_options<I: Iterator<Item = String>>(arguments: &mut Arguments<I>) -> Result<demo::Options> {
    let mut options = demo::Options::default();
    while let Some(name) = arguments.next_name()? {
        match name.as_str() {
            "--for" => options.limit = Some(duration(&arguments.value(&name)?)?),
            "--rate" => options.rate_per_s = rate(&arguments.value(&name)?)?,
            "--port" => options.port = Some(arguments.value(&name)?.parse().context("--port takes a port number")?),
            "--plain" => options.plain = true,
            _ => return Err(unknown(&name)),
        }
    }
    Ok(options)
}

fn unknown(name: &str) -> anyhow::Error {
    anyhow::anyhow!("unknown option {name:?}\n\n{USAGE}")
}

/// Names and values, one after the other.
struct Arguments<I>(I);

impl<I: Iterator<Item = String>> Arguments<I> {
    fn next_name(&mut self) -> Result<Option<String>> {
        match self.0.next() {
            Some(name) if !name.starts_with("--") => bail!("{name:?} stands where an option is expected\n\n{USAGE}"),
            name => Ok(name),
        }
    }

    fn value(&mut self, name: &str) -> Result<String> {
        self.0.next().with_context(|| format!("{name} needs a value"))
    }
}

/// Seconds (`20s`, `20`) or minutes (`2m`); more than nothing, at most a day.
fn duration(text: &str) -> Result<Duration> {
    const DAY_S: f64 = 86_400.0;
    let (number, unit_s) = match text.strip_suffix('m') {
        Some(number) => (number, 60.0),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * unit_s);
    match seconds {
        Some(seconds) if seconds > 0.0 && seconds <= DAY_S => Ok(Duration::from_secs_f64(seconds)),
        _ => bail!("{text:?} is no duration: give seconds or minutes up to a day, such as 20s or 2m"),
    }
}

/// More than nothing; the upper end is what one sender on the same machine can still time.
fn rate(text: &str) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 10_000.0 => Ok(rate),
        _ => bail!("{text:?} is no rate: give deliveries per second, up to 10000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(list: &[&str]) -> Arguments<std::vec::IntoIter<String>> {
        Arguments(list.iter().map(ToString::to_string).collect::<Vec<_>>().into_iter())
    }

    #[test]
    fn durations_are_seconds_or_minutes() {
        for (text, seconds) in [("20s", 20.0), ("20", 20.0), ("2m", 120.0), ("0.5s", 0.5)] {
            assert_eq!(duration(text).expect(text), Duration::from_secs_f64(seconds), "{text}");
        }
        for text in ["", "s", "-1s", "0", "1h", "NaN", "inf", "2000m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_positive_and_bounded() {
        assert!(rate("0.5").is_ok() && rate("10000").is_ok());
        for text in ["0", "-1", "NaN", "inf", "10001", "many"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_options_of_the_demo_are_read() {
        let list = ["--for", "20s", "--rate", "50", "--port", "8787", "--plain"];
        let options = demo_options(&mut arguments(&list)).expect("these are its options");
        assert_eq!(options.limit, Some(Duration::from_secs(20)));
        assert!((options.rate_per_s - 50.0).abs() < f64::EPSILON && options.port == Some(8787) && options.plain);
    }

    #[test]
    fn what_is_not_an_option_is_named() {
        for list in [&["--what"][..], &["20s"], &["--for"], &["--port", "high"]] {
            assert!(demo_options(&mut arguments(list)).is_err(), "{list:?}");
        }
    }
}
