//! Text as lines of a terminal: how many cells a letter takes, and where a line breaks. Never longer than was asked.

/// Letters that take two cells: `is_double_width` of Linux's `drivers/tty/vt/vt.c`, by Markus Kuhn's wcwidth(), and behind
/// it the pictures of Unicode's East Asian Width "W", which a terminal behind a serial line shows so.
const WIDE: [(char, char); 13] = [
    ('\u{1100}', '\u{115f}'),
    ('\u{2329}', '\u{232a}'),
    ('\u{2e80}', '\u{303e}'),
    ('\u{3040}', '\u{a4cf}'),
    ('\u{ac00}', '\u{d7a3}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{fe10}', '\u{fe19}'),
    ('\u{fe30}', '\u{fe6f}'),
    ('\u{ff00}', '\u{ff60}'),
    ('\u{ffe0}', '\u{ffe6}'),
    ('\u{1f300}', '\u{1faff}'),
    ('\u{20000}', '\u{2fffd}'),
    ('\u{30000}', '\u{3fffd}'),
];

/// What stands where something was left out.
const LEFT_OUT: &str = " ...";

/// Cells that a letter takes, at most: one that is put above another counts, because not every terminal knows it. Control
/// characters are never shown.
pub fn cells(letter: char) -> usize {
    match letter {
        _ if letter.is_control() => 0,
        _ if WIDE.iter().any(|(from, to)| (*from..=*to).contains(&letter)) => 2,
        _ => 1,
    }
}

/// Cells that a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

/// As much of a text as fits into so many cells.
pub fn take(text: &str, columns: usize) -> &str {
    text.get(..fitting(text, columns)).unwrap_or_default()
}

/// Bytes of what fits.
fn fitting(text: &str, columns: usize) -> usize {
    let mut left = columns;
    for (at, letter) in text.char_indices() {
        match left.checked_sub(cells(letter)) {
            Some(rest) => left = rest,
            None => return at,
        }
    }
    text.len()
}

/// A text in pieces of so many cells, broken wherever that is. An empty one is one piece.
pub fn fold(text: &str, columns: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        // A letter that is wider than the line has one of its own: there is an end to it.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let (piece, behind) = rest.split_at(fitting(rest, columns).max(first));
        pieces.push(piece.to_owned());
        if behind.is_empty() {
            return pieces;
        }
        rest = behind;
    }
}

/// A text in lines of at most so many cells, broken at words; a word that is longer than a line is broken as well. An
/// empty one is one line.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    for word in text.trim_end_matches(' ').split(' ') {
        if used > 0 && used + 1 + width(word) > columns {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        // What fits is one piece.
        let mut pieces = fold(word, columns);
        let last = pieces.pop().unwrap_or_default();
        lines.append(&mut pieces);
        line.push_str(&last);
        used += width(&last);
    }
    lines.push(line);
    lines
}

/// The first of these lines; the last of them says so where something was left out.
pub fn first(mut lines: Vec<String>, count: usize, columns: usize) -> Vec<String> {
    if lines.len() > count {
        lines.truncate(count);
        if let Some(last) = lines.last_mut() {
            let fits = take(last, columns.saturating_sub(LEFT_OUT.len()));
            // Not in the middle of a word, if there is another one before it.
            let words = fits.rsplit_once(' ').filter(|_| fits.len() < last.len());
            *last = format!("{}{LEFT_OUT}", words.map_or(fits, |(words, _)| words));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_takes_the_cells_that_a_terminal_gives_it() {
        for (text, cells) in [
            ("word", 4),
            ("é", 1),
            ("漢字", 4),
            ("Ａ", 2),
            ("\u{1f525}", 2),
            ("a\x1b\tb", 2),
        ] {
            assert_eq!(width(text), cells, "{text:?}");
        }
        assert_eq!((take("a漢字", 3), take("a漢字", 2), take("ab", 9)), ("a漢", "a", "ab"));
    }

    #[test]
    fn lines_break_at_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 6), ["one", "two", "three"]);
        assert_eq!(wrap(&"x".repeat(7), 7), ["x".repeat(7)]);
        assert_eq!(wrap("ab 漢字漢字", 8), ["ab", "漢字漢字"]);
        assert_eq!(wrap("ab 漢字漢字", 11), ["ab 漢字漢字"]);
        assert_eq!(wrap("", 7), [""]);
        assert_eq!(wrap("one  two ", 80), ["one  two"]);
    }

    #[test]
    fn a_word_without_an_end_is_broken_all_the_same() {
        assert_eq!(wrap("ab 0123456789 cd", 4), ["ab", "0123", "4567", "89", "cd"]);
        assert_eq!(wrap("漢漢漢", 3), ["漢", "漢", "漢"]);
        // Narrower than a letter: it ends.
        assert_eq!(wrap("漢漢", 1), ["漢", "漢"]);
        assert_eq!(fold("0123456789", 4), ["0123", "4567", "89"]);
        assert_eq!(fold("", 4), [""]);
    }

    #[test]
    fn what_is_left_out_is_marked() {
        let lines = || wrap("one two three four", 8);
        assert_eq!(lines(), ["one two", "three", "four"]);
        assert_eq!(first(lines(), 3, 8), lines());
        assert_eq!(first(lines(), 2, 8), ["one two", "thre ..."]);
        assert_eq!(first(lines(), 1, 12), ["one two ..."]);
    }
}
