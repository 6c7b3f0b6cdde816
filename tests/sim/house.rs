//! All that keeps files, on one disk, and what is known of it from outside.

use lamchat_base::{Entropy, ManualClock, SecretBytes};
use lamchat_disk::simulation::{Dice, SimulatedDisk};
use lamchat_media::Media;
use lamchat_seal::{DataKeys, Keyring, OpenError, PassphraseCost, Purpose, Unlock};
use lamchat_store::{Options, Store, Table};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const ROWS: Table = Table::new(176, "test.rows");
pub const HEADS: Table = Table::new(177, "test.heads");
pub const LOG: Table = Table::new(178, "test.log");

pub const WRITERS: usize = 16;
pub const UPLOADERS: usize = 2;
/// Small secrets under `secret-0` and so on.
pub const SECRETS: usize = 3;
/// The passphrase that every house has from its first day.
const OWNER: &str = "owner";

/// Never gives the same bytes twice in a run of the tests, across restarts too.
#[derive(Debug)]
struct Rolled(Mutex<Dice>);

static BOOTS: AtomicU64 = AtomicU64::new(1);

impl Rolled {
    fn new() -> Self {
        Self(Mutex::new(Dice::new(BOOTS.fetch_add(1, Ordering::Relaxed) << 40)))
    }
}

impl Entropy for Rolled {
    fn fill(&self, buffer: &mut [u8]) {
        let mut dice = self.0.lock().unwrap();
        for chunk in buffer.chunks_mut(8) {
            let bytes = dice.roll().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// What a writer of events knows of its own events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Writer {
    /// So many were acknowledged.
    pub acknowledged: u64,
    /// So many were begun: one more at most.
    pub begun: u64,
}

/// A value that was acknowledged, and one that may have replaced it.
#[derive(Debug, Clone, Default)]
pub struct Changing<T> {
    pub known: T,
    pub begun: Option<T>,
}

/// All that was acknowledged.
#[derive(Debug, Default)]
pub struct Known {
    /// Whether the keyring was acknowledged as made.
    pub founded: bool,
    pub writers: [Writer; WRITERS],
    /// Media id, and the number that its content is made of.
    pub files: Vec<(String, u64)>,
    /// The passphrases of the slots beside the owner's.
    pub passphrases: Changing<Vec<String>>,
    /// The number and bytes of the newest key of each purpose; more may have been begun.
    pub keys: Vec<(Purpose, u32, [u8; 32])>,
    pub secrets: [Changing<Option<Vec<u8>>>; SECRETS],
}

pub struct House {
    pub disk: SimulatedDisk,
    pub store: Store,
    pub keyring: Arc<Keyring>,
    pub keys: Arc<DataKeys>,
    pub media: Media,
    pub runtime: tokio::runtime::Runtime,
}

pub fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(SecretBytes::new(text.as_bytes().to_vec()))
}

pub fn open_keyring(disk: &SimulatedDisk, text: &str) -> Result<Keyring, OpenError> {
    let entropy = Arc::new(Rolled::new());
    Keyring::open_on(Arc::new(disk.clone()), Path::new("/data"), &passphrase(text), entropy)
}

impl House {
    pub fn open(disk: &SimulatedDisk, known: &mut Known) -> Result<Self, String> {
        let (entropy, shared) = (Arc::new(Rolled::new()), Arc::new(disk.clone()));
        let keyring = match open_keyring(disk, OWNER) {
            Err(OpenError::Missing(_)) if !known.founded => {
                let (dir, cost) = (Path::new("/data"), PassphraseCost::MINIMUM);
                let made = Keyring::create_on(shared.clone(), dir, &passphrase(OWNER), cost, entropy.clone());
                made.map_err(|error| error.to_string())?
            }
            opened => opened.map_err(|error| format!("the keyring does not open: {error}"))?,
        };
        known.founded = true;
        let keys = keyring
            .data_keys(Path::new("/data"))
            .map_err(|error| error.to_string())?;
        let (keyring, keys) = (Arc::new(keyring), Arc::new(keys));
        let options = Options {
            dir: "/data/store".into(),
            key: keys.database_key().map_err(|error| error.to_string())?,
            tables: [lamchat_media::TABLES, &[ROWS, HEADS, LOG]].concat(),
            progress: lamchat_store::Progress::default(),
        };
        let store = Store::open_eager(shared.clone(), options).map_err(|error| error.to_string())?;
        let clock = Arc::new(ManualClock::new(1_000_000));
        let options = lamchat_media::Options::new("/data/media");
        let media = Media::open_on(shared, options, store.clone(), keys.clone(), clock, entropy);
        Ok(Self {
            disk: disk.clone(),
            store,
            keyring,
            keys,
            media: media.map_err(|error| error.to_string())?,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .build()
                .unwrap(),
        })
    }
}

/// The bytes of a file are a function of its number: nothing has to be remembered to compare it.
pub fn content(number: u64) -> Vec<u8> {
    let mut dice = Dice::new(number);
    // Some go into packs, some into a file of their own.
    let size = if number.is_multiple_of(4) {
        270_000
    } else {
        500 + number * 577 % 9_000
    };
    (0..size).map(|_| dice.roll() as u8).collect()
}
