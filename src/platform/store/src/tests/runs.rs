//! What gathered tables leave in redb.

use super::{LOG, options};
use crate::pressure::Limits;
use crate::{KeyRange, Order, ReadError, ReadExt, Store};
use lamchat_disk::simulation::SimulatedDisk;
use redb::ReadableDatabase;
use std::sync::Arc;
use std::time::Duration;

const COUNT: u64 = 60;

/// The rows of `store.runs`.
fn stored_runs(disk: &SimulatedDisk) -> usize {
    let file = lamchat_disk::Disk::open(disk, "/data/db.redb".as_ref()).unwrap();
    let cipher = Arc::new(crate::xts::SectorCipher::new(&options().key));
    let database = redb::Builder::new()
        .create_with_backend(crate::backend::EncryptedBackend::new(file, cipher))
        .unwrap();
    let runs = redb::TableDefinition::<&[u8], &[u8]>::new("store.runs");
    let runs = database.begin_read().unwrap().open_table(runs).unwrap();
    runs.range::<&[u8]>(..).unwrap().count()
}

#[test]
fn many_checkpoints_of_one_row_leave_few_runs() {
    let disk = SimulatedDisk::new(1);
    let limits = Limits {
        after: Duration::from_millis(1),
        gathered_rows: 1_000,
        ..Limits::default()
    };
    for number in 0..COUNT {
        // Closing a store makes a checkpoint.
        let store = Store::open_limited(Arc::new(disk.clone()), options(), limits).unwrap();
        let write = store.write_blocking(move |txn| {
            txn.put(LOG, &number.to_be_bytes(), number.to_be_bytes().to_vec());
            Ok::<_, ReadError>(())
        });
        write.unwrap();
        let rows = store.read().rows(LOG, &KeyRange::all(), Order::Ascending, usize::MAX);
        assert_eq!(rows.unwrap().len() as u64, number + 1);
        drop(store);
    }
    let runs = stored_runs(&disk);
    assert!((1..12).contains(&runs), "{runs} runs of {COUNT} checkpoints");
}
