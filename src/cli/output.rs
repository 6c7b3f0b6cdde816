//! What commands print. Writing to a closed pipe ends the output, not the program.

use std::io::Write;

/// A line on standard output.
pub fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref());
}

/// Text on standard output as it is.
pub fn text(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A prompt on standard error: standard output may go into a file.
pub fn text_to_terminal(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line on standard error, for people, between input and result.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// Why a command failed.
pub fn error(reason: &str) {
    note(format!("error: {reason}"));
}

/// Columns of equal width, with a head; nothing but the head when there are no rows.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    text(&columns(head, rows));
}

/// The lines of such a table.
pub fn columns(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count().min(*width))))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut lines = line(head.to_vec());
    for row in rows {
        lines += &line(row.iter().map(String::as_str).collect());
    }
    lines
}

/// Milliseconds since the Unix epoch as `2026-11-22 23:01` (UTC).
pub fn time(ms: u64) -> String {
    let (days, minutes) = ((ms / 86_400_000) as i64, ms / 60_000 % 1440);
    // Howard Hinnant's algorithm: years start in March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_calendar_times() {
        assert_eq!(time(0), "1970-01-01 00:00");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00");
        assert_eq!(time(1_795_388_460_000), "2026-11-22 23:01");
        assert_eq!(time(4_107_542_399_000), "2100-02-28 23:59");
    }
}
