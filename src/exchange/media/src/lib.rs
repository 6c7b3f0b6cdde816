//! Media: files that users upload, encrypted on disk, and thumbnails of those that are images.
//!
//! The row is what makes a file exist: content is written and synced first, then the row is committed, then the
//! upload is answered. So a power cut leaves content without a row (swept later), never the reverse.
//! `FORMAT.md` documents what is on disk.
//!
//! What must never happen here: clear content on disk, content handed out whose authentication failed, a media id of a
//! stranger used as a file name, an image decoded without a bound on its pixels.

mod blob;
mod create;
mod delete;
mod download;
mod group_sync;
mod media;
mod pack;
mod render;
mod row;
mod stored;
mod sweep;
mod thumbnail;
mod upload;

#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod power_cut_tests;
#[cfg(test)]
mod testing;

pub use create::{CreateError, Created};
pub use delete::{Deleted, ListPage, Listed};
pub use download::{Download, DownloadError, Piece};
pub use media::{Media, OpenError, Options};
pub use render::Method;
pub use stored::{Extent, StoredError, restore_extent, restore_sync};
pub use sweep::{SweepError, Swept};
pub use thumbnail::{Thumbnail, ThumbnailError};
pub use upload::{Upload, UploadError};

use lamchat_store::Table;

/// The tables of this crate.
pub const TABLES: &[Table] = &[row::ITEM, row::THUMBNAIL, row::USAGE, row::PENDING, row::ERASE];
