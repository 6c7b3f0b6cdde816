//! Frames: a box whose keys are sealed serves, on a terminal of 80 columns and 25 rows.
#![expect(clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::init::console::layout::KEYS_LINES;
use crate::init::release::Release;
use crate::init::state::More;
use crate::init::trouble::Trouble;

const KEYS: &str = "keys are sealed: they open by this machine's TPM, by recovery key or by passphrase only";

fn trouble(level: Level, sentence: &str) -> Trouble {
    let sentence = sentence.to_owned();
    Trouble { level, sentence }
}

/// One that serves, with these alarms.
fn serving(alarms: Vec<Trouble>) -> Status {
    let shared = Shared::new(Release::default());
    let mut status = shared.status.lock().clone();
    status.state = State::Serving;
    status.addresses = vec![
        "10.0.2.15 (eth0)".to_owned(),
        "fec0::5054:ff:fe12:3456 (eth0)".to_owned(),
    ];
    status.watchdog = Some("i6300ESB timer, 60 s".to_owned());
    status.hardware = Some(Vec::new());
    status.health = Some(Health::Running {
        keys: KEYS.to_owned(),
        more: More {
            peers: "none: this release does not federate".to_owned(),
            certificate: "until 2027-12-28, 395 days left, by the server's own authority".to_owned(),
            backup: "none yet".to_owned(),
            on_trial: false,
            alarms,
        },
    });
    status
}

/// What stands between the rules, without the release, which every commit changes.
fn frame(status: &Status) -> String {
    let lines = screen(status, "chat.example.org", "2026-11-27 19:26");
    assert!(lines.len() <= LINES_MAX, "{lines:#?}");
    assert!(lines.iter().all(|line| width(line) <= COLUMNS), "{lines:#?}");
    let rules: Vec<usize> = (0..lines.len()).filter(|at| lines[*at] == rule()).collect();
    let between = &lines[rules[0] + 1..rules[1]];
    let kept = between.iter().filter(|line| !line.starts_with(" Release "));
    std::iter::once("\n".to_owned())
        .chain(kept.map(|line| format!("{line}\n")))
        .collect()
}

/// The screen with what needs somebody in one string, without the line ends.
fn flat(status: &Status) -> String {
    frame(status).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_box_that_is_well() {
    let shown = "
 State         serving
 Health        the exchange answers
 Keys          keys are sealed: they open by this machine's TPM, by recovery
               key or by passphrase only
 Address       10.0.2.15 (eth0)
 Address       fec0::5054:ff:fe12:3456 (eth0)
 Peers         none: this release does not federate
 Certificate   until 2027-12-28, 395 days left, by the server's own authority
 Last backup   none yet
 Watchdog      i6300ESB timer, 60 s
 Hardware      well
";
    assert_eq!(frame(&serving(Vec::new())), shown);
    let title = " chat.example.org                                          2026-11-27 19:26 UTC";
    let lines = screen(&serving(Vec::new()), "chat.example.org", "2026-11-27 19:26");
    assert_eq!(lines[0], title);
}

#[test]
fn a_long_warning_goes_on_below() {
    let long = "the last backup is older than 14 days: it was taken on 2026-11-01, and whoever loses this disk loses what came since";
    let shown = "
 State         serving
 Keys          keys are sealed: they open by this machine's TPM, by recovery
               key or by passphrase only
 Health        the last backup is older than 14 days: it was taken on
               2026-11-01, and whoever loses this disk loses what came since
 Address       10.0.2.15 (eth0)
 Address       fec0::5054:ff:fe12:3456 (eth0)
 Peers         none: this release does not federate
 Certificate   until 2027-12-28, 395 days left, by the server's own authority
 Last backup   none yet
 Watchdog      i6300ESB timer, 60 s
 Hardware      well
";
    assert_eq!(frame(&serving(vec![trouble(Level::Warning, long)])), shown);
}

#[test]
fn a_line_of_exactly_the_screen_is_one_line_and_a_longer_one_two() {
    // Column 80 would wrap by itself: 79 are used, and the 80th letter goes below.
    let label = " Health        ".len();
    for (columns, lines) in [(COLUMNS, 1), (COLUMNS + 1, 2)] {
        let word = "w".repeat(columns - label - "a ".len());
        let status = serving(vec![trouble(Level::Warning, &format!("a {word}"))]);
        let frame = frame(&status);
        let shown: Vec<&str> = frame
            .lines()
            .filter(|line| line.contains('w') && line.contains("ww"))
            .collect();
        assert_eq!(shown.len(), 1, "{frame}");
        assert_eq!(
            width(shown[0]),
            if lines == 1 { COLUMNS } else { columns - "a ".len() },
            "{frame}"
        );
        assert_eq!(shown[0].starts_with(" Health"), lines == 1, "{frame}");
    }
}

#[test]
fn what_is_worse_comes_first_and_what_has_no_room_is_counted() {
    let long = |what: &str| format!("{what} {}", "and so on ".repeat(12).trim_end());
    let mut status = serving(vec![
        trouble(Level::Failed, &long("the certificate ends in 2 days")),
        trouble(Level::Warning, &long("no backup")),
    ]);
    status.hardware = Some(vec![
        trouble(Level::Failed, &long("fan1: 0 rpm (limit 300)")),
        trouble(Level::Warning, &long("nvme0 wear")),
    ]);
    status.notices = (0..3).map(|number| long(&format!("notice {number}"))).collect();
    status.network = Some("eth0: no lease".to_owned());
    let shown = "
 State         serving
 Keys          keys are sealed: they open by this machine's TPM, by ...
 Health        the certificate ends in 2 days and so on and so on and so on and
               so on and so on and so on and so on and so on and so on and so
               on and so on and so on
 Hardware      fan1: 0 rpm (limit 300) and so on and so on and so on and so on
               and so on and so on and so on and so on and so on and so on and
               so on and so on
 Notice        notice 0 and so on and so on and so on and so on and so on and
               so on and so on and so on and so on and so on and so on and so
               on
 And           5 more: see 7 Log, or `lamchat health` and `lamchat box log`
 Address       10.0.2.15 (eth0)
";
    assert_eq!(frame(&status), shown);
}

#[test]
fn where_the_exchange_does_not_answer_the_reason_comes_before_the_hardware() {
    let mut status = serving(Vec::new());
    status.state = State::Degraded;
    status.health = Some(Health::Silent("no answer".to_owned()));
    status.notices = vec!["the configuration cannot be read".to_owned()];
    status.hardware = Some(vec![trouble(Level::Failed, "fan1: 0 rpm")]);
    let shown = flat(&status);
    assert!(
        shown.contains("Health no answer Notice the configuration cannot be read Hardware fan1: 0 rpm"),
        "{shown}"
    );
}

#[test]
fn one_that_is_longer_than_the_screen_says_where_the_rest_is() {
    let endless = "word ".repeat(1000);
    let shown = flat(&serving(vec![trouble(Level::Failed, &endless)]));
    assert!(shown.contains("word ... And it goes on: see 7 Log"), "{shown}");
    let two = vec![trouble(Level::Failed, &endless), trouble(Level::Failed, "fire")];
    let shown = flat(&serving(two));
    assert!(shown.contains("word ... And 1 more: see 7 Log"), "{shown}");
}

#[test]
fn a_letter_of_two_cells_counts_twice() {
    // One word of 40 letters: 80 cells, of which 64 fit.
    let frame = frame(&serving(vec![trouble(Level::Warning, &"漢".repeat(40))]));
    assert!(
        frame.contains(&format!(" Health        {}\n", "漢".repeat(32))),
        "{frame}"
    );
    assert!(
        frame.contains(&format!("               {}\n", "漢".repeat(8))),
        "{frame}"
    );
}

#[test]
fn a_name_of_any_length_leaves_the_time_its_place() {
    for letters in [57, 58, 77, 78, 230] {
        let name = "n".repeat(letters);
        let lines = screen(&serving(Vec::new()), &name, "2026-11-27 19:26");
        assert!(
            lines.len() <= LINES_MAX && lines.iter().all(|line| width(line) <= COLUMNS),
            "{lines:#?}"
        );
        let above: Vec<String> = lines.into_iter().take_while(|line| *line != rule()).collect();
        assert_eq!(above.concat().matches('n').count(), letters, "{above:#?}");
        assert!(
            above.last().is_some_and(|line| line.ends_with("2026-11-27 19:26 UTC")),
            "{above:#?}"
        );
    }
}

#[test]
fn a_box_without_its_disk_is_not_called_new() {
    let shared = Shared::new(Release::default());
    shared.status.lock().state = State::SetUp;
    let is_new = |shared: &Shared| super::lines(shared).iter().any(|line| line.contains("not set up yet"));
    assert!(is_new(&shared));
    shared.status.lock().has_no_disk = true;
    assert!(!is_new(&shared));
}

#[test]
fn an_exchange_that_never_answers_is_not_waited_for() {
    let shared = Shared::new(Release::default());
    let may_update = |shared: &Shared| super::lines(shared).iter().any(|line| line.contains("USB stick"));
    shared.status.lock().exchange_since = Some(std::time::Instant::now());
    assert!(!may_update(&shared), "it is about to answer");
    let long_ago = std::time::Instant::now().checked_sub(std::time::Duration::from_secs(61));
    shared.status.lock().exchange_since = long_ago;
    assert!(may_update(&shared));
    shared.status.lock().state = State::Locked;
    assert!(!may_update(&shared), "the keys are not open");
}

#[test]
fn every_state_fits_on_a_screen() {
    let shared = Shared::new(Release::default());
    for state in [
        State::Starting,
        State::Repairing,
        State::Install,
        State::SetUp,
        State::Locked,
        State::Serving,
        State::Degraded,
        State::ReadOnly,
        State::Stopping,
    ] {
        for (trial, pin) in [(None, false), (Some(std::time::Instant::now()), true)] {
            {
                let mut status = shared.status.lock();
                status.state = state;
                status.addresses = vec!["10.0.0.1 (eth0)".to_owned(); 20];
                status.notices = vec!["x".to_owned(); 20];
                status.network = Some("x".to_owned());
                status.health = Some(Health::Locked {
                    why: "word ".repeat(200),
                    pin,
                });
                status.trial = trial;
                status.time = Some("x".to_owned());
                status.work = Some("the log is read".to_owned());
            }
            let lines = super::lines(&shared);
            assert!(lines.len() <= LINES_MAX, "{state:?}: {}", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:#?}");
            let status = shared.status.lock().clone();
            let items = items(&status);
            let keys: std::collections::HashSet<char> = items.iter().map(|item| item.key).collect();
            assert_eq!(keys.len(), items.len(), "every key once");
            let all = lines.join("\n");
            for item in items {
                assert!(all.contains(item.label), "{}: {all}", item.label);
            }
            let why = lines.iter().filter(|line| line.contains("word word")).count();
            assert!(state != State::Locked || why == KEYS_LINES, "{all}");
            assert_eq!(
                all.contains("TPM PIN"),
                state == State::Serving || (state == State::Locked && pin),
                "{all}"
            );
            assert_eq!(all.contains("the log is read"), state == State::Repairing, "{all}");
        }
    }
}
