//! The process that asks for the time, in its sandbox, against chrony.

#[path = "../../src/platform/nts/tests/chrony/server.rs"]
mod server;

use crate::harness::program;
use serde_json::{Value, json};
use server::{Chrony, NAME, certificate};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// How far two looks at one clock may be apart on a busy machine, in milliseconds.
const APART_MS: i64 = 1_000;

#[test]
fn the_timekeeper_asks_by_nts_and_says_why_not() {
    let mut chrony = Chrony::start((2020, 2100));
    assert_ne!(chrony.ntp, chrony.keys);
    let mut child = Command::new(program())
        .arg("timekeeper")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut output = BufReader::new(output);
    let mut ask = |servers: &[String], authorities: &str| -> Vec<Value> {
        writeln!(input, "{}", json!({"servers": servers, "authorities": authorities})).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let right = format!("{NAME}@{}", chrony.keys);
    let servers = [right.clone(), format!("other.example.org@{}", chrony.keys)];
    // Several rounds: the second needs no new keys.
    for round in 0..3 {
        let told = ask(&servers, &chrony.authority);
        let ahead = told[0]["ahead_ms"].as_i64().unwrap();
        assert!(ahead.abs() < APART_MS, "round {round}: {told:?}");
        assert_eq!((&told[0]["server"], &told[0]["problem"]), (&json!(right), &Value::Null));
        assert_eq!(told[1]["ahead_ms"], Value::Null);
        assert!(told[1]["problem"].as_str().unwrap().contains("certificate"), "{told:?}");
    }
    // The server forgets what it gave; keys are agreed on again.
    chrony.restart();
    let told = ask(&servers[..1], &chrony.authority);
    assert!(told[0]["ahead_ms"].is_i64(), "{told:?}");
    // Other servers, other keys: somebody else's authorities vouch for nobody here.
    assert_eq!(ask(&[], &chrony.authority), Vec::<Value>::new());
    let told = ask(&servers[..1], &certificate((2020, 2100)).0);
    assert!(told[0]["problem"].is_string(), "{told:?}");
    drop(input);
    assert!(child.wait().unwrap().success());
}
