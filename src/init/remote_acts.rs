//! What an operator far away asks of the machine itself: its logs, a restart, the end. The same as on the console.

use super::crash;
use super::state::{Event, Shared, State};
use lamchat_machine::kernel_log;
use lamchat_machine::power::End;
use serde_json::{Value, json};

/// Lines of a log that are told.
const LINES_MAX: usize = 2000;
/// Letters of all of them: the answer has a limit of its own.
const LETTERS_MAX: usize = 128 << 10;

/// Which log.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// Process 1's and its children's.
    Init,
    /// The kernel's.
    Kernel,
    /// The kernel's before the last crash.
    Crash,
}

/// The last lines, oldest first.
pub fn log(shared: &Shared, of: Of) -> Result<Value, String> {
    let lines = match of {
        Of::Init => shared.log.last(LINES_MAX),
        Of::Kernel => kernel_log::read(LINES_MAX).map_err(|error| error.to_string())?,
        Of::Crash => crash::last(),
    };
    Ok(json!({"lines": newest(lines)}))
}

/// As many of the last lines as may be told.
fn newest(lines: Vec<String>) -> Vec<String> {
    let mut letters = 0;
    let fits = |line: &&String| {
        letters += line.len();
        letters <= LETTERS_MAX
    };
    let mut newest: Vec<String> = lines.iter().rev().take(LINES_MAX).take_while(fits).cloned().collect();
    newest.reverse();
    newest
}

/// Ends the run, as the console does it.
pub fn end(shared: &Shared, restart: bool) -> Result<Value, String> {
    if shared.state() == State::Stopping {
        return Err("the machine stops already".to_owned());
    }
    shared.tell(Event::End(if restart { End::Reboot } else { End::PowerOff }));
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_told() {
        let lines: Vec<String> = (0..LINES_MAX + 2).map(|number| number.to_string()).collect();
        let told = newest(lines);
        assert_eq!((told.len(), told.first().map(String::as_str)), (LINES_MAX, Some("2")));
        let long = vec!["x".repeat(LETTERS_MAX / 2); 5];
        assert_eq!(newest(long).len(), 2);
    }
}
