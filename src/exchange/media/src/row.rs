//! The rows of media, binary with a version byte.

use lamchat_base::UserNum;
use lamchat_store::{Key, ReadError, Table};

/// Media id → [`Item`].
pub(crate) const ITEM: Table = Table::new(128, "media.item");
/// (media id, width, height, method) → [`Thumb`].
pub(crate) const THUMBNAIL: Table = Table::new(129, "media.thumbnail");
/// Uploader → bytes of all uploads, 8 bytes.
pub(crate) const USAGE: Table = Table::new(130, "media.usage");
/// (uploader, media id) → when an unused id expires, 8 bytes of milliseconds.
pub(crate) const PENDING: Table = Table::new(131, "media.pending");

/// Blob id → [`Erasure`]: content of deleted uploads that is still on disk.
pub(crate) const ERASE: Table = Table::new(132, "media.erase");

const VERSION: u8 = 1;

/// Where the encrypted bytes of a blob are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file of its own, named after the blob.
    File,
    /// In a pack, from `offset`.
    Pack { number: u32, offset: u64 },
}

/// Encrypted content: where it is and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Random; names the file.
    pub id: [u8; 16],
    /// Bytes in the clear.
    pub size: u64,
    pub place: Place,
    /// Number of the media data key that wraps the blob's key.
    pub key_number: u32,
    pub nonce: [u8; 12],
    pub wrapped_key: [u8; 48],
}

/// An uploaded file, or an id that was handed out for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub uploader: UserNum,
    pub created_ms: u64,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Pending {
        expires_ms: u64,
    },
    There {
        blob: Blob,
        content_type: Option<String>,
        filename: Option<String>,
    },
}

/// A thumbnail that was made before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thumb {
    pub blob: Blob,
    pub png: bool,
}

/// Content that is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub id: [u8; 16],
    pub place: Place,
    /// Bytes on disk.
    pub length: u64,
}

pub(crate) fn thumbnail_key(media_id: &str, width: u32, height: u32, method: u8) -> Key {
    Key::new().str(media_id).u32(width).u32(height).u8(method)
}

pub(crate) fn pending_key(uploader: UserNum, media_id: &str) -> Key {
    Key::new().u32(uploader.0).raw(media_id.as_bytes())
}

impl Item {
    pub fn encode(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        row.extend_from_slice(&self.uploader.0.to_be_bytes());
        row.extend_from_slice(&self.created_ms.to_be_bytes());
        match &self.content {
            Content::Pending { expires_ms } => {
                row.push(0);
                row.extend_from_slice(&expires_ms.to_be_bytes());
            }
            Content::There {
                blob,
                content_type,
                filename,
            } => {
                row.push(1);
                encode_blob(blob, &mut row);
                for text in [content_type, filename] {
                    let text = text.as_deref().unwrap_or_default().as_bytes();
                    row.extend_from_slice(&(text.len() as u16).to_be_bytes());
                    row.extend_from_slice(text);
                }
            }
        }
        row
    }

    pub fn decode(row: &[u8]) -> Result<Self, ReadError> {
        Self::parse(&mut Reader(row)).ok_or_else(|| malformed(ITEM))
    }

    fn parse(row: &mut Reader<'_>) -> Option<Self> {
        if row.u8()? != VERSION {
            return None;
        }
        let (uploader, created_ms) = (UserNum(row.u32()?), row.u64()?);
        let content = match row.u8()? {
            0 => Content::Pending { expires_ms: row.u64()? },
            1 => Content::There {
                blob: parse_blob(row)?,
                content_type: row.text()?,
                filename: row.text()?,
            },
            _ => return None,
        };
        row.0.is_empty().then_some(Self {
            uploader,
            created_ms,
            content,
        })
    }
}

impl Thumb {
    pub fn encode(&self) -> Vec<u8> {
        let mut row = vec![VERSION, u8::from(self.png)];
        encode_blob(&self.blob, &mut row);
        row
    }

    pub fn decode(row: &[u8]) -> Result<Self, ReadError> {
        Self::parse(&mut Reader(row)).ok_or_else(|| malformed(THUMBNAIL))
    }

    fn parse(row: &mut Reader<'_>) -> Option<Self> {
        if row.u8()? != VERSION {
            return None;
        }
        let png = row.u8()? == 1;
        Some(Self {
            blob: parse_blob(row)?,
            png,
        })
    }
}

impl Erasure {
    pub fn encode(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        row.extend_from_slice(&self.id);
        row.extend_from_slice(&self.length.to_be_bytes());
        encode_place(self.place, &mut row);
        row
    }

    pub fn decode(row: &[u8]) -> Result<Self, ReadError> {
        Self::parse(&mut Reader(row)).ok_or_else(|| malformed(ERASE))
    }

    fn parse(row: &mut Reader<'_>) -> Option<Self> {
        if row.u8()? != VERSION {
            return None;
        }
        let (id, length) = (row.take()?, row.u64()?);
        let place = parse_place(row)?;
        Some(Self { id, place, length })
    }
}

/// The eight bytes of a number, as `USAGE` and `PENDING` keep it.
pub(crate) fn decode_number(table: Table, row: &[u8]) -> Result<u64, ReadError> {
    row.try_into().map(u64::from_be_bytes).map_err(|_| malformed(table))
}

fn encode_blob(blob: &Blob, row: &mut Vec<u8>) {
    row.extend_from_slice(&blob.id);
    row.extend_from_slice(&blob.size.to_be_bytes());
    row.extend_from_slice(&blob.key_number.to_be_bytes());
    row.extend_from_slice(&blob.nonce);
    row.extend_from_slice(&blob.wrapped_key);
    encode_place(blob.place, row);
}

fn encode_place(place: Place, row: &mut Vec<u8>) {
    match place {
        Place::File => row.push(1),
        Place::Pack { number, offset } => {
            row.push(2);
            row.extend_from_slice(&number.to_be_bytes());
            row.extend_from_slice(&offset.to_be_bytes());
        }
    }
}

fn parse_place(row: &mut Reader<'_>) -> Option<Place> {
    match row.u8()? {
        1 => Some(Place::File),
        2 => Some(Place::Pack {
            number: row.u32()?,
            offset: row.u64()?,
        }),
        _ => None,
    }
}

fn parse_blob(row: &mut Reader<'_>) -> Option<Blob> {
    let (id, size, key_number) = (row.take()?, row.u64()?, row.u32()?);
    let (nonce, wrapped_key) = (row.take()?, row.take()?);
    let place = parse_place(row)?;
    Some(Blob {
        id,
        size,
        place,
        key_number,
        nonce,
        wrapped_key,
    })
}

fn malformed(table: Table) -> ReadError {
    ReadError::Malformed {
        table: table.name,
        detail: "it does not parse".to_owned(),
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// `Some(None)` for an absent text.
    #[expect(clippy::option_option, reason = "the outer one is for malformed rows")]
    fn text(&mut self) -> Option<Option<String>> {
        let length = usize::from(self.take().map(u16::from_be_bytes)?);
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let text = String::from_utf8(head.to_vec()).ok()?;
        Some((!text.is_empty()).then_some(text))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::{Blob, Content, Item, Place, Thumb};
    use lamchat_base::UserNum;

    #[test]
    fn rows_come_back_and_short_ones_are_refused() {
        for place in [
            Place::File,
            Place::Pack {
                number: 7,
                offset: 1 << 33,
            },
        ] {
            let blob = Blob {
                id: [1; 16],
                size: 1 << 40,
                place,
                key_number: 3,
                nonce: [4; 12],
                wrapped_key: [5; 48],
            };
            let thumb = Thumb {
                blob: blob.clone(),
                png: true,
            };
            assert_eq!(Thumb::decode(&thumb.encode()).unwrap(), thumb);
            for (content_type, filename) in [(None, None), (Some("image/png".to_owned()), Some("ä.png".to_owned()))] {
                let content = Content::There {
                    blob: blob.clone(),
                    content_type,
                    filename,
                };
                let item = Item {
                    uploader: UserNum(9),
                    created_ms: 77,
                    content,
                };
                let row = item.encode();
                assert_eq!(Item::decode(&row).unwrap(), item);
                for end in 0..row.len() {
                    assert!(Item::decode(&row[..end]).is_err());
                }
            }
        }
        let item = Item {
            uploader: UserNum(9),
            created_ms: 77,
            content: Content::Pending { expires_ms: 5 },
        };
        assert_eq!(Item::decode(&item.encode()).unwrap(), item);
    }
}
