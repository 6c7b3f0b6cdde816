//! What has a place on the status screen: rows of a label and a value, and which of them go where there is not room for
//! all. Nothing of what needs somebody goes without being counted.

use super::lines::{first, wrap};
use super::screen::COLUMNS;
use lamchat_notices::Level;

/// Columns of what stands before a value.
const LABEL_COLUMNS: usize = 15;
/// Columns of a value.
const VALUE_COLUMNS: usize = COLUMNS - LABEL_COLUMNS;
/// Lines that a value may have.
const VALUE_LINES: usize = 3;
/// Lines that a sentence about the keys may have.
pub const KEYS_LINES: usize = 9;

/// Weights: what has less is left out first.
pub const ALWAYS: u8 = 9;
pub const TROUBLE: u8 = 7;
pub const IMPORTANT: u8 = 5;
pub const SOME: u8 = 4;
pub const USUAL: u8 = 3;
pub const LITTLE: u8 = 1;

/// How bad it is, its label, and the sentence.
pub type Trouble<'a> = (Level, &'static str, &'a str);

/// A label and its value, which goes on below.
#[derive(Debug, Clone)]
pub struct Row {
    /// How much it matters.
    pub weight: u8,
    /// How much all lines but the first do; as much: it goes as a whole.
    rest: u8,
    label: &'static str,
    value: Vec<String>,
}

impl Row {
    /// One of at most [`VALUE_LINES`] lines.
    pub fn new(weight: u8, label: &'static str, value: &str) -> Self {
        Self {
            weight,
            rest: weight,
            label,
            value: first(wrap(value, VALUE_COLUMNS), VALUE_LINES, VALUE_COLUMNS),
        }
    }

    /// How the keys are kept: its first line always stays.
    pub fn of_keys(value: &str, rest: u8) -> Self {
        Self {
            weight: ALWAYS,
            rest,
            label: "Keys",
            value: first(wrap(value, VALUE_COLUMNS), KEYS_LINES, VALUE_COLUMNS),
        }
    }

    /// As the screen has it.
    pub fn lines(&self) -> Vec<String> {
        let labels = std::iter::once(self.label).chain(std::iter::repeat(""));
        let lines = labels.zip(&self.value);
        lines.map(|(label, value)| format!(" {label:<14}{value}")).collect()
    }

    /// How much its next loss matters.
    fn next(&self) -> u8 {
        if self.value.len() > 1 { self.rest } else { self.weight }
    }

    /// Lines that it keeps whatever goes that is of less weight than this.
    fn least(&self, weight: u8) -> usize {
        match self {
            _ if self.weight < weight => 0,
            _ if self.rest < weight => 1,
            _ => self.value.len(),
        }
    }
}

/// Leaves out what matters least, until the rest fits.
pub fn fit(mut rows: Vec<Row>, room: usize) -> Vec<Row> {
    while rows.iter().map(|row| row.value.len()).sum::<usize>() > room {
        let least = (0..rows.len()).rev().min_by_key(|at| rows.get(*at).map(Row::next));
        let Some(at) = least else { break };
        match rows
            .get_mut(at)
            .filter(|row| row.rest < row.weight && row.value.len() > 1)
        {
            Some(row) => {
                let value = std::mem::take(&mut row.value);
                let count = value.len() - 1;
                row.value = first(value, count, VALUE_COLUMNS);
            }
            None => {
                rows.remove(at);
            }
        }
    }
    rows
}

/// What needs somebody, beside what has more weight: as many as there is room for, from the first on, each to its end. The
/// last line tells how many more there are, and where to read them.
pub fn troubles(all: Vec<Trouble<'_>>, beside: &[Row], room: usize, is_open: bool) -> Vec<Row> {
    let taken: usize = beside.iter().map(|row| row.least(IMPORTANT)).sum();
    let room = room.saturating_sub(taken);
    let mut rows: Vec<Row> = all
        .into_iter()
        .map(|(_, label, sentence)| Row {
            weight: TROUBLE,
            rest: TROUBLE,
            label,
            value: wrap(sentence, VALUE_COLUMNS),
        })
        .collect();
    let (count, mut used) = (rows.len(), 0);
    if rows.iter().map(|row| row.value.len()).sum::<usize>() <= room {
        return rows;
    }
    let room = room.saturating_sub(1);
    let fits = rows.iter().take_while(|row| {
        used += row.value.len();
        used <= room
    });
    let shown = fits.count();
    rows.truncate(shown.max(1));
    if let Some(row) = rows.first_mut().filter(|_| shown == 0) {
        // One that is longer than the screen: the log has the rest of it.
        row.value = first(std::mem::take(&mut row.value), room.max(1), VALUE_COLUMNS);
    }
    let far = if is_open {
        ", or `lamchat health` and `lamchat box log`"
    } else {
        ""
    };
    let more = match count - rows.len() {
        0 => format!("it goes on: see 7 Log{far}"),
        more => format!("{more} more: see 7 Log{far}"),
    };
    rows.push(Row::new(TROUBLE, "And", &more));
    rows
}
