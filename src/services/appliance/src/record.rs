//! What the frames of a backup say, in the clear. Each record lies in one frame.

use lamchat_media::Extent;

/// How much a backup holds. Its last record repeats the counts, and a restore compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the database.
    pub rows: u64,
    /// Bytes of media, as stored.
    pub media_bytes: u64,
    /// Stretches of media files that rows named and that were gone.
    pub media_missing: u64,
    /// Sealed secrets of the server.
    pub secrets: u64,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// The first one: whose backup this is, and of when.
    About {
        created_ms: u64,
        position: u64,
        epoch: u32,
        server_name: &'a str,
    },
    /// A sealed secret, still sealed.
    Secret {
        name: &'a str,
        file: &'a [u8],
    },
    /// A table; the rows that follow are its.
    Table {
        name: &'a str,
    },
    Row {
        key: &'a [u8],
        value: &'a [u8],
    },
    /// A piece of a media file, still encrypted.
    Media {
        file: &'a str,
        offset: u64,
        bytes: &'a [u8],
    },
    /// A stretch of a media file that was gone when the backup was made.
    MediaMissing {
        extent: Extent,
    },
    /// The last one.
    End(Counts),
}

impl<'a> Record<'a> {
    /// Appends the record to a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::About {
                created_ms,
                position,
                epoch,
                server_name,
            } => {
                out.push(1);
                out.extend_from_slice(&created_ms.to_be_bytes());
                out.extend_from_slice(&position.to_be_bytes());
                out.extend_from_slice(&epoch.to_be_bytes());
                bytes(out, server_name.as_bytes());
            }
            Self::Secret { name, file } => {
                out.push(2);
                bytes(out, name.as_bytes());
                bytes(out, file);
            }
            Self::Table { name } => {
                out.push(3);
                bytes(out, name.as_bytes());
            }
            Self::Row { key, value } => {
                out.push(4);
                bytes(out, key);
                bytes(out, value);
            }
            Self::Media {
                file,
                offset,
                bytes: piece,
            } => {
                out.push(5);
                bytes(out, file.as_bytes());
                out.extend_from_slice(&offset.to_be_bytes());
                bytes(out, piece);
            }
            Self::MediaMissing { extent } => {
                out.push(6);
                bytes(out, extent.file.as_bytes());
                out.extend_from_slice(&extent.offset.to_be_bytes());
                out.extend_from_slice(&extent.length.to_be_bytes());
            }
            Self::End(counts) => {
                out.push(7);
                for count in [counts.rows, counts.media_bytes, counts.media_missing, counts.secrets] {
                    out.extend_from_slice(&count.to_be_bytes());
                }
            }
        }
    }

    /// Takes the next record from the front of a frame; `None` if it does not parse.
    pub fn decode(frame: &mut &'a [u8]) -> Option<Self> {
        Some(match take::<1>(frame)? {
            [1] => Self::About {
                created_ms: u64(frame)?,
                position: u64(frame)?,
                epoch: u32::from_be_bytes(take(frame)?),
                server_name: text(frame)?,
            },
            [2] => Self::Secret {
                name: text(frame)?,
                file: slice(frame)?,
            },
            [3] => Self::Table { name: text(frame)? },
            [4] => Self::Row {
                key: slice(frame)?,
                value: slice(frame)?,
            },
            [5] => Self::Media {
                file: text(frame)?,
                offset: u64(frame)?,
                bytes: slice(frame)?,
            },
            [6] => {
                let file = text(frame)?.to_owned();
                Self::MediaMissing {
                    extent: Extent {
                        file,
                        offset: u64(frame)?,
                        length: u64(frame)?,
                    },
                }
            }
            [7] => Self::End(Counts {
                rows: u64(frame)?,
                media_bytes: u64(frame)?,
                media_missing: u64(frame)?,
                secrets: u64(frame)?,
            }),
            _ => return None,
        })
    }
}

impl Counts {
    /// Counts a record that was written or read.
    pub(crate) fn add(&mut self, record: &Record<'_>) {
        match record {
            Record::Row { .. } => self.rows += 1,
            Record::Media { bytes, .. } => self.media_bytes += bytes.len() as u64,
            Record::MediaMissing { .. } => self.media_missing += 1,
            Record::Secret { .. } => self.secrets += 1,
            Record::About { .. } | Record::Table { .. } | Record::End(_) => {}
        }
    }
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take<const N: usize>(frame: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = frame.split_first_chunk::<N>()?;
    *frame = rest;
    Some(*head)
}

fn u64(frame: &mut &[u8]) -> Option<u64> {
    take(frame).map(u64::from_be_bytes)
}

fn slice<'a>(frame: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(frame)?) as usize;
    let (head, rest) = frame.split_at_checked(length)?;
    *frame = rest;
    Some(head)
}

fn text<'a>(frame: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(slice(frame)?).ok()
}
