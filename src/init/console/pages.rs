//! Long texts, page by page: the newest lines first.

use super::lines::fold;
use super::screen::{COLUMNS, Key, Screen, rule};
use std::time::{Duration, Instant};

/// Lines of a page.
const PAGE_LINES: usize = 19;
/// Who presses nothing for so long has gone away.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);

/// Shows the last page; `b` goes back to older ones, `f` forward again, Enter leaves.
pub fn show(screen: &mut Screen, title: &str, lines: &[String]) -> std::io::Result<()> {
    let lines: Vec<String> = lines.iter().flat_map(|line| fold(line, COLUMNS)).collect();
    let pages = lines.len().div_ceil(PAGE_LINES).max(1);
    let mut page = 0;
    loop {
        let (from, to) = range(lines.len(), page);
        let mut all = vec![format!(" {title} (page {} of {pages})", pages - page), rule()];
        all.extend(lines.get(from..to).unwrap_or_default().iter().cloned());
        screen.draw(&all)?;
        screen.print("\r\n b: back, f: forward. Press Enter to go on. ")?;
        let since = Instant::now();
        page = loop {
            match screen.key(IDLE_MAX)? {
                Some(Key::Enter | Key::Escape) => return Ok(()),
                Some(Key::Letter('b')) if page + 1 < pages => break page + 1,
                Some(Key::Letter('f')) if page > 0 => break page - 1,
                _ if since.elapsed() > IDLE_MAX => return Ok(()),
                _ => {}
            }
        };
    }
}

/// The lines of a page, counted from the last one.
fn range(lines: usize, page: usize) -> (usize, usize) {
    let to = lines.saturating_sub(page * PAGE_LINES);
    (to.saturating_sub(PAGE_LINES), to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_count_from_the_end() {
        assert_eq!(range(50, 0), (31, 50));
        assert_eq!(range(50, 1), (12, 31));
        assert_eq!(range(50, 2), (0, 12));
        assert_eq!(range(50, 3), (0, 0));
        assert_eq!(range(0, 0), (0, 0));
    }
}
