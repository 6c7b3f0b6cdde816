//! The clock of a box is set from a distance: checked, noted, and handed to process 1, which this test plays.

use crate::harness::{CONFIG, Site, text};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

/// Answers one question after the other; what was asked.
fn process_1(listener: UnixListener, answers: Vec<Value>) -> std::thread::JoinHandle<Vec<Value>> {
    std::thread::spawn(move || {
        let answered = answers.into_iter().map(|answer| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(answer.to_string().as_bytes()).unwrap();
            serde_json::from_str(&line).unwrap()
        });
        answered.collect()
    })
}

#[test]
fn the_clock_is_set_from_a_distance_and_noted() {
    let site = Site::new();
    let socket = site.path("box.sock");
    site.configure(&format!("{CONFIG}\n[admin]\nbox_socket = {socket:?}\n"));
    let listener = UnixListener::bind(&socket).unwrap();
    let refusal = "that is before this release was built";
    let answers = vec![json!({"clock_ms": 1_795_771_800_123_u64}), json!({"error": refusal})];
    let asked = process_1(listener, answers);
    let server = site.start();
    for wrong in ["tomorrow", "2026-02-29 10:00", "2026-11-27", "2200-01-01 00:00"] {
        let refused = site.command(&["box", "set-clock", wrong], "");
        let error = text(&refused.stderr);
        assert!(
            !refused.status.success() && error.contains("YYYY-MM-DD HH:MM"),
            "{wrong}: {error}"
        );
    }
    let set = site.command(&["box", "set-clock", "2026-11-27 09:30"], "");
    assert!(set.status.success(), "{}", text(&set.stderr));
    assert_eq!(text(&set.stdout).trim(), "the box's clock says 2026-11-27 09:30 UTC");
    let refused = site.command(&["box", "set-clock", "1999-01-01 00:00"], "");
    assert!(text(&refused.stderr).contains(refusal), "{}", text(&refused.stderr));

    let asked = asked.join().unwrap();
    assert_eq!(asked[0], json!({"act": "set-clock", "ms": 1_795_771_800_000_u64}));
    let log = site.command_json(&["audit", "show"], "");
    let entries = log["entries"].as_array().unwrap().iter();
    let noted: Vec<(&str, &str)> = entries
        .filter(|entry| entry["act"] == "box.time")
        .map(|entry| {
            let fact = |name: &str| entry["facts"][name].as_str().unwrap();
            (fact("to_ms"), fact("state"))
        })
        .collect();
    let (right, wrong) = ("1795771800000", "915148800000");
    assert_eq!(
        noted,
        [(right, "begun"), (right, "done"), (wrong, "begun"), (wrong, "failed")]
    );
    server.stop();
}
