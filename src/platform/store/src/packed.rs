//! Rows one after the other, as close together as they can lie: most gathered tables have keys of one length and values of
//! one length, and then nothing else is kept. And the text of a run, in which every row tells its lengths.

use crate::codec::Cut;

/// Stands for the length of the value of a deleted row.
const DELETED: u32 = u32::MAX;

/// A row: key, value; `None` is a deletion.
pub(crate) type RunRow<'r> = (&'r [u8], Option<&'r [u8]>);

/// Rows one after the other.
#[derive(Default)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    places: Places,
}

/// Where each row begins.
enum Places {
    /// All keys have one length, and all values: each row is its key and its value and nothing else.
    Even { key: usize, value: usize },
    /// The rows are written as in a run's text, and this is where each of them begins.
    Uneven(Vec<u32>),
}

impl Default for Places {
    fn default() -> Self {
        Self::Even { key: 0, value: 0 }
    }
}

impl Packed {
    /// With room for this many bytes.
    pub(crate) fn of_size(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            places: Places::default(),
        }
    }

    /// How many bytes the rows take.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a row whose key is greater than all others.
    pub(crate) fn push(&mut self, (key, value): RunRow<'_>) {
        let lengths = value.map(|value| (key.len(), value.len()));
        if let (true, Some((key, value)), Places::Even { .. }) = (self.bytes.is_empty(), lengths, &self.places) {
            self.places = Places::Even { key, value };
        }
        match &self.places {
            // A row of nothing would leave no trace.
            Places::Even { key: own, value: of } if lengths == Some((*own, *of)) && own + of > 0 => {
                self.bytes.extend_from_slice(key);
                self.bytes.extend_from_slice(value.unwrap_or_default());
                return;
            }
            Places::Even { .. } => self.loosen(),
            Places::Uneven(_) => {}
        }
        if let Places::Uneven(starts) = &mut self.places {
            starts.push(length(&self.bytes));
            write_row(&mut self.bytes, (key, value));
        }
    }

    /// Gives every row lengths of its own.
    fn loosen(&mut self) {
        let (mut bytes, mut starts) = (Vec::with_capacity(self.bytes.len() + 8 * self.len()), Vec::new());
        for row in (0..self.len()).map_while(|index| self.row(index)) {
            starts.push(length(&bytes));
            write_row(&mut bytes, row);
        }
        *self = Self {
            bytes,
            places: Places::Uneven(starts),
        };
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match &self.places {
            Places::Even { key, value } => self.bytes.len().checked_div(key + value).unwrap_or(0),
            Places::Uneven(starts) => starts.len(),
        }
    }

    /// The row at a place.
    pub(crate) fn row(&self, index: usize) -> Option<RunRow<'_>> {
        match &self.places {
            Places::Even { key, value } => {
                let start = index * (key + value);
                let row = self
                    .bytes
                    .get(start..start + key + value)
                    .filter(|row| !row.is_empty())?;
                row.split_at_checked(*key).map(|(key, value)| (key, Some(value)))
            }
            Places::Uneven(starts) => {
                let start = usize::try_from(*starts.get(index)?).ok()?;
                first_row(self.bytes.get(start..)?).map(|(row, _)| row)
            }
        }
    }

    /// Lets go of memory that is not needed.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        if let Places::Uneven(starts) = &mut self.places {
            starts.shrink_to_fit();
        }
    }
}

/// A length in the text of a run.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(DELETED)
}

/// Adds a row to a text.
pub(crate) fn write_row(text: &mut Vec<u8>, (key, value): RunRow<'_>) {
    text.extend_from_slice(&length(key).to_le_bytes());
    text.extend_from_slice(&value.map_or(DELETED, length).to_le_bytes());
    text.extend_from_slice(key);
    text.extend_from_slice(value.unwrap_or_default());
}

/// The first row of a text, and what follows.
pub(crate) fn first_row(text: &[u8]) -> Option<(RunRow<'_>, &[u8])> {
    let mut cut = Cut(text);
    let (key_length, value_length) = (cut.length()?, cut.u32()?);
    let key = cut.bytes(key_length)?;
    let value = match value_length {
        DELETED => None,
        length => Some(cut.bytes(usize::try_from(length).ok()?)?),
    };
    Some(((key, value), cut.0))
}
