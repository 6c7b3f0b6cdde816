//! Walks the parsed file, remembers where each key stands, and collects what is wrong.

use crate::error::Problem;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// The state of one reading.
pub(crate) struct Reader<'t> {
    text: &'t str,
    /// Relative paths in the file are relative to this folder.
    pub(crate) folder: &'t Path,
    pub(crate) problems: Vec<Problem>,
    lines: BTreeMap<String, usize>,
    known: Vec<String>,
}

impl<'t> Reader<'t> {
    /// Starts with the text, the folder of the file, and every key there is (with sections, `a.b`).
    pub(crate) fn new(text: &'t str, folder: &'t Path, known: Vec<String>) -> Self {
        Self {
            text,
            folder,
            problems: Vec::new(),
            lines: BTreeMap::new(),
            known,
        }
    }

    /// The line, from 1, of a byte offset.
    pub(crate) fn line_at(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    /// Remembers that `key` stands at `span`.
    pub(crate) fn seen(&mut self, key: &str, span: Range<usize>) {
        let line = self.line_at(span.start);
        self.lines.insert(key.to_owned(), line);
    }

    /// Whether the file sets `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// Something is wrong with the value of `key` at `span`.
    pub(crate) fn wrong(&mut self, key: &str, span: Range<usize>, message: impl Into<String>) {
        let line = self.line_at(span.start);
        self.problems.push(Problem {
            line,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Something is wrong with `key`, wherever it stands; for checks across keys.
    pub(crate) fn wrong_key(&mut self, key: &str, message: impl Into<String>) {
        let line = self.lines.get(key).copied().unwrap_or(0);
        self.problems.push(Problem {
            line,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// `name` in the section `path` is no key: says which one was probably meant.
    pub(crate) fn unknown(&mut self, path: &str, name: &str, span: Range<usize>) {
        let section = without_numbers(path);
        let full = join(path, name);
        let elsewhere = self.known.iter().find(|known| last(known) == name);
        let nearest = self
            .known
            .iter()
            .filter(|known| parent(known) == section)
            .max_by(|a, b| similarity(last(a), name).total_cmp(&similarity(last(b), name)));
        let message = match (elsewhere, nearest) {
            (Some(known), _) => format!("unknown key here; `{name}` belongs in {}", place(parent(known))),
            (None, Some(known)) => format!("unknown key; the nearest known key is `{}`", last(known)),
            (None, None) => "unknown key".to_owned(),
        };
        self.wrong(&full, span, message);
    }
}

fn similarity(known: &str, name: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(known, name)
}

/// `a` and `b` as `a.b`.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// `listeners[2]` is `listeners` to who looks for known keys.
fn without_numbers(path: &str) -> String {
    path.split('[').next().unwrap_or(path).to_owned()
}

fn last(known: &str) -> &str {
    known.rsplit('.').next().unwrap_or(known)
}

fn parent(known: &str) -> &str {
    known.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn place(section: &str) -> String {
    match section {
        "" => "the top of the file, before the first section".to_owned(),
        "listeners" => "[[listeners]]".to_owned(),
        section => format!("[{section}]"),
    }
}
