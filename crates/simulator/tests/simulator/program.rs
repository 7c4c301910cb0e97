//! The program: says where it is, serves, and never outlives those who started it.

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

fn program(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_genesys-simulator"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ready(child: &mut Child) -> Value {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn it_ends_when_standard_input_is_closed() {
    let mut child = program(&["--exit-with-stdin", "--client-id", "me", "--seed", "9"]);
    let line = ready(&mut child);
    assert_eq!((&line["ready"], &line["clientId"], &line["seed"]), (&true.into(), &"me".into(), &9.into()));
    assert_eq!(line["baseUrl"], format!("http://127.0.0.1:{}", line["port"]));
    std::net::TcpStream::connect(("127.0.0.1", u16::try_from(line["port"].as_u64().unwrap()).unwrap())).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[cfg(unix)]
#[test]
fn it_ends_on_signals() {
    for signal in ["-TERM", "-INT"] {
        let mut child = program(&[]);
        ready(&mut child);
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert!(child.wait().unwrap().success(), "{signal}");
    }
}

#[test]
fn it_serves_this_machine_only_and_says_what_is_wrong() {
    for (arguments, code, text) in [
        (&["--bind", "0.0.0.0"][..], 1, "not a loopback address"),
        (&["--port", "x"], 2, "invalid value 'x' for '--port"),
        (&["--nonsense"], 2, "unexpected argument"),
        (&["--config", r#"{"settings":{"sizes":[]}}"#], 1, "sizes"),
        (&["--config", r#"{"bind":"192.0.2.1"}"#], 1, "not a loopback address"),
    ] {
        let output = program(arguments).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{arguments:?}");
    }
}
