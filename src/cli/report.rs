//! `lamchat report list|show|close`

use super::{Failure, Place, Server, output, socket};
use serde_json::{Value, json};

const REPORTS: &str = "/_lamchat/admin/v1/reports";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Report {
    /// List what users reported and nobody has closed yet.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Show one report, with the event that it is about.
    Show {
        /// The report's number.
        report: u32,
        #[command(flatten)]
        server: Server,
    },
    /// Close a report. It is forgotten; the audit log keeps its number.
    Close {
        /// The report's number.
        report: u32,
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Report) -> Result<(), Failure> {
    match command {
        Report::List { server } => list(place, &server),
        Report::Show { report, server } => {
            let answer = socket::call(place, &server, "GET", &format!("{REPORTS}/{report}"), None)?;
            if server.json {
                output::line(answer.to_string());
            } else {
                show(&answer);
            }
            Ok(())
        }
        Report::Close { report, server } => {
            let answer = socket::call(place, &server, "DELETE", &format!("{REPORTS}/{report}"), None)?;
            output::line(if server.json {
                answer.to_string()
            } else {
                format!("report {report} is closed")
            });
            Ok(())
        }
    }
}

/// All of them, as a table or as JSON.
fn list(place: &Place, server: &Server) -> Result<(), Failure> {
    let reports = socket::pages(place, server, REPORTS, "reports")?;
    if server.json {
        output::line(json!({"reports": reports}).to_string());
        return Ok(());
    }
    let rows: Vec<Vec<String>> = reports
        .iter()
        .map(|report| {
            vec![
                number(report, "report").to_string(),
                output::time(number(report, "received_ms")),
                text(report, "reporter"),
                about(report),
                text(report, "reason"),
            ]
        })
        .collect();
    output::table(&["REPORT", "RECEIVED (UTC)", "BY", "ABOUT", "REASON"], &rows);
    Ok(())
}

fn show(report: &Value) {
    output::line(format!("report {}", number(report, "report")));
    output::line(format!(
        "received: {} (UTC)",
        output::time(number(report, "received_ms"))
    ));
    output::line(format!("by:       {}", text(report, "reporter")));
    output::line(format!("about:    {}", about(report)));
    output::line(format!("reason:   {}", text(report, "reason")));
    if let Some(event) = report.get("event") {
        // What a stranger sent is shown as JSON: that leaves no control characters for the terminal.
        output::line(format!("event:    {event}"));
    }
}

/// What a report is about, in a few words.
fn about(report: &Value) -> String {
    match report.get("kind").and_then(Value::as_str) {
        Some("user") => text(report, "user_id"),
        Some("room") => format!("room {}", text(report, "room_id")),
        _ => format!(
            "{} of {} in {}",
            text(report, "event_id"),
            text(report, "sender"),
            text(report, "room_id")
        ),
    }
}

fn number(report: &Value, key: &str) -> u64 {
    report.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// What users wrote, without characters that a terminal acts upon.
fn text(report: &Value, key: &str) -> String {
    let text = report.get(key).and_then(Value::as_str).unwrap_or_default();
    // U+200E to U+202E and U+2066 to U+2069 change the direction of what follows.
    let is_plain =
        |char: char| !char.is_control() && !matches!(char, '\u{200E}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|char| if is_plain(char) { char } else { ' ' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{about, text};
    use serde_json::json;

    #[test]
    fn reports_are_told_without_control_characters() {
        assert_eq!(about(&json!({"kind": "user", "user_id": "@a:b"})), "@a:b");
        assert_eq!(about(&json!({"kind": "room", "room_id": "!r"})), "room !r");
        let event = json!({"kind": "event", "room_id": "!r", "event_id": "$e", "sender": "@a:b"});
        assert_eq!(about(&event), "$e of @a:b in !r");
        assert_eq!(text(&json!({"reason": "a\u{1b}[2J\nb"}), "reason"), "a [2J b");
    }
}
