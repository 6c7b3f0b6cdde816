//! The media of this exchange: what uploads, downloads and thumbnails share.

use crate::delete::erased_packs;
use crate::group_sync::GroupSync;
use crate::pack::Packs;
use lamchat_base::{Clock, Entropy, UserNum};
use lamchat_disk::{Disk, RealDisk};
use lamchat_seal::DataKeys;
use lamchat_store::{ReadError, Store, Topic};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Letters of a media id: 143 bits.
const MEDIA_ID_LENGTH: usize = 24;
/// Longest media id that is looked up.
const MEDIA_ID_BYTES_MAX: usize = 255;
/// The kind of [`Topic`] that a blob's arrival touches.
const TOPIC_KIND: u16 = 3;

/// How to keep media.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for blobs.
    pub dir: PathBuf,
    /// Most bytes that one user may have here; `None`: no quota.
    pub quota_bytes_per_user: Option<u64>,
    /// Most uploads that one user may have under way.
    pub uploads_per_user_max: usize,
    /// Most uploads under way; each holds up to 1 MiB of memory.
    pub uploads_max: usize,
    /// Most ids that one user may have without content.
    pub pending_per_user_max: usize,
    /// How long an id without content lives.
    pub pending_lifetime: Duration,
    /// Largest image that is read for a thumbnail, in bytes.
    pub thumbnail_source_bytes_max: u64,
    /// Most pixels of an image that a thumbnail is made of.
    pub thumbnail_pixels_max: u64,
    /// Most thumbnails that are made at the same time; each takes four to eight bytes of memory a pixel.
    pub thumbnails_concurrent_max: usize,
}

impl Options {
    /// The defaults, in the folder `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            quota_bytes_per_user: None,
            uploads_per_user_max: 32,
            uploads_max: 128,
            pending_per_user_max: 50,
            pending_lifetime: Duration::from_secs(24 * 3600),
            thumbnail_source_bytes_max: 32 << 20,
            thumbnail_pixels_max: 50_000_000,
            thumbnails_concurrent_max: 2,
        }
    }
}

/// Why media could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or read.
    #[error("the media folder {path} cannot be used: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The media of this exchange. Cheap to clone.
#[derive(Clone)]
pub struct Media(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Media")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub options: Options,
    pub disk: Arc<dyn Disk>,
    pub store: Store,
    pub keys: Arc<DataKeys>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub packs: Packs,
    /// Syncs the folder of blobs with a file of their own.
    pub files_sync: GroupSync,
    /// Files that are being written and have no row yet: not orphans.
    pub unfinished: Mutex<HashSet<[u8; 16]>>,
    pub uploading: Mutex<HashMap<UserNum, usize>>,
    pub thumbnail_permits: Semaphore,
    /// Held while deleted content is erased.
    pub erasing: Mutex<()>,
}

impl Media {
    /// Opens or creates the media folder. Quick, whatever is in it; run [`Media::sweep`] in the background afterwards.
    pub fn open(
        options: Options,
        store: Store,
        keys: Arc<DataKeys>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        Self::open_on(RealDisk::shared(), options, store, keys, clock, entropy)
    }

    /// [`Media::open`] on a given disk.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: Options,
        store: Store,
        keys: Arc<DataKeys>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let fault = |source| OpenError::Io {
            path: options.dir.clone(),
            source,
        };
        disk.create_dir(&files_folder(&options.dir)).map_err(fault)?;
        // A restored backup may name packs that it does not hold: what is erased there must not be a new upload.
        let used = erased_packs(&store.read())?;
        let packs = Packs::open(Arc::clone(&disk), &packs_folder(&options.dir), used).map_err(fault)?;
        let thumbnail_permits = Semaphore::new(options.thumbnails_concurrent_max.max(1));
        Ok(Self(Arc::new(Inner {
            options,
            disk,
            store,
            keys,
            clock,
            entropy,
            packs,
            files_sync: GroupSync::default(),
            unfinished: Mutex::default(),
            uploading: Mutex::default(),
            thumbnail_permits,
            erasing: Mutex::default(),
        })))
    }
}

impl Inner {
    pub fn new_media_id(&self) -> String {
        self.entropy.alphanumeric(MEDIA_ID_LENGTH)
    }
}

/// Where blobs with a file of their own are.
pub(crate) fn files_folder(dir: &Path) -> PathBuf {
    dir.join("files")
}

/// Where packs are.
pub(crate) fn packs_folder(dir: &Path) -> PathBuf {
    dir.join("packs")
}

/// The name of a blob's own file: its id in hexadecimal.
pub(crate) fn file_name(id: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

/// The inverse of [`file_name`].
pub(crate) fn file_id(name: &str) -> Option<[u8; 16]> {
    let id = u128::from_str_radix(name, 16).ok()?.to_be_bytes();
    (file_name(&id) == name).then_some(id)
}

/// "homeservers MUST sanitise mxc:// URIs by: (…) allowing only alphanumeric (A-Za-z0-9), _ and - characters in the
/// media-id segment" (Matrix 1.16)
pub(crate) fn is_media_id(media_id: &str) -> bool {
    let good = media_id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    good && !media_id.is_empty() && media_id.len() <= MEDIA_ID_BYTES_MAX
}

/// What wakes those who wait for the content of an id. Two ids with the same number merely wake each other.
pub(crate) fn topic(media_id: &str) -> Topic {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, media_id.as_bytes());
    let id = digest
        .as_ref()
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Topic { kind: TOPIC_KIND, id }
}
