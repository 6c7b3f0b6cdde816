//! The power goes while the log's key moves into hardware: whatever was reached, the next start goes on with one key that
//! everybody can follow from the first, and nothing acknowledged is lost.

use super::keys::with_chip;
use super::{Counted, Site, act, append, export, pinned};
use crate::log::{self, TABLES};
use crate::verify::{Trust, verify};
use lamchat_base::{ManualClock, Secret};
use lamchat_disk::simulation::SimulatedDisk;
use lamchat_seal::{Keyring, PassphraseCost, Unlock};
use lamchat_store::{Options, Store};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const KEYS: &str = "/keys";

/// Keyring and store on one simulated disk; a keyring is made where there is none.
fn start(disk: &SimulatedDisk, seed: u64) -> (Site, Store) {
    let shared = Arc::new(disk.clone());
    let entropy = Arc::new(Counted(AtomicU64::new(seed)));
    let keyring = match Keyring::open_on(shared.clone(), Path::new(KEYS), &Unlock::File, entropy.clone()) {
        Ok(keyring) => keyring,
        Err(_) => Keyring::create_on(
            shared.clone(),
            Path::new(KEYS),
            &Unlock::File,
            PassphraseCost::MINIMUM,
            entropy.clone(),
        )
        .unwrap(),
    };
    let site = Site {
        folder: tempfile::tempdir().unwrap(),
        keyring: Arc::new(keyring),
        entropy,
        clock: Arc::new(ManualClock::new(1_767_225_600_000)),
    };
    let options = Options {
        dir: "/data".into(),
        key: Secret::new([7; 64]),
        tables: TABLES.to_vec(),
        progress: lamchat_store::Progress::default(),
    };
    (site, Store::open_on(shared, options).unwrap())
}

/// Three entries under the software key; what an auditor has then.
fn before(disk: &SimulatedDisk) -> Trust {
    let (site, store) = start(disk, 1);
    for number in 0..3 {
        append(&store, act(number));
    }
    let software = site.log(&store);
    software.sign().unwrap();
    pinned(&software)
}

#[test]
fn a_power_cut_leaves_a_key_that_can_be_followed() {
    let mut operations = 0;
    // How many operations an undisturbed change takes.
    {
        let disk = SimulatedDisk::new(0);
        before(&disk);
        let (site, store) = start(&disk, 2);
        let (log, _) = with_chip(&site, &store, 1);
        let begun = disk.operations();
        log.sign().unwrap();
        operations += disk.operations() - begun;
    }
    assert!(operations > 10, "{operations}");
    let (mut cut, mut moved) = (0, 0);
    for round in 0..2 * operations {
        let disk = SimulatedDisk::new(round);
        let trust = before(&disk);
        let (site, store) = start(&disk, 2);
        let acknowledged = {
            let (log, _) = with_chip(&site, &store, 1);
            disk.cut_power_after(round % (operations + 2));
            // The power goes somewhere in here.
            let _signed = log.sign();
            store.write_blocking(|txn| log::append(txn, &act(9))).is_ok()
        };
        cut += u64::from(disk.is_off());
        drop((site, store));
        let disk = disk.power_on();
        let (site, store) = start(&disk, 3);
        let (log, _) = with_chip(&site, &store, 1);
        moved += u64::from(log.status().unwrap().key_kind == "TPM key");
        // Where the last signature was not kept, a head is signed first, and the key moves with the next one.
        for _ in 0..2 {
            log.sign().unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        assert_eq!(log.status().unwrap().key_kind, "TPM key");
        let verdict = verify(&export(&log, 0), &trust).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(verdict.is_key_pinned, "round {round}");
        assert!(verdict.keys.len() == 2 && verdict.keys[1].vouched, "round {round}");
        assert_eq!(verdict.entries[..3], [act(0), act(1), act(2)]);
        assert!(!acknowledged || verdict.entries.contains(&act(9)), "round {round}");
    }
    // The cuts were before, in the middle and behind.
    assert!(cut > operations && moved > 0 && moved < 2 * operations, "{cut} {moved}");
}
