//! Everybody at once, until the power goes.

use crate::Total;
use crate::house::{Changing, HEADS, House, Known, LOG, ROWS, UPLOADERS, Writer, content, passphrase};
use lamchat_base::{SecretBytes, UserNum};
use lamchat_disk::simulation::Dice;
use lamchat_media::{Media, UploadError};
use lamchat_seal::{DataKeys, PassphraseCost, Purpose, ReleasedKey, SlotKind};
use lamchat_store::{Key, ReadError, Store, WriteTxn};

/// Passphrase slots beside the owner's.
const SLOTS_MAX: usize = 3;

/// Event number `number` of a writer: a row, the writer's newest number, and an entry of the common log.
fn event(txn: &mut WriteTxn<'_>, writer: u32, number: u64) -> Result<(), ReadError> {
    let position = txn.next_position();
    let entry = Key::new().u32(writer).u64(number);
    txn.put(ROWS, &entry, row(writer, number));
    txn.put(HEADS, &Key::new().u32(writer), number.to_be_bytes().to_vec());
    txn.put(LOG, &Key::new().u64(position.0), entry.to_vec());
    Ok(())
}

/// The bytes of an event.
pub fn row(writer: u32, number: u64) -> Vec<u8> {
    vec![number as u8; (number as usize * 37 + writer as usize * 211) % 3_000]
}

fn send(store: &Store, id: u32, writer: &mut Writer) -> String {
    loop {
        let number = writer.acknowledged;
        writer.begun = number + 1;
        if let Err(error) = store.write_blocking(move |txn| event(txn, id, number)) {
            return format!("{error:?}");
        }
        writer.acknowledged = number + 1;
    }
}

pub async fn upload(media: &Media, number: u64) -> Result<String, UploadError> {
    let mut upload = media.begin(UserNum(1), None, 1 << 30)?;
    upload.write(&content(number)).await?;
    upload.finish(None, None).await
}

/// Adds and removes slots, and makes new data keys in between.
fn change_keys(house: &House, known: &mut Changing<Vec<String>>, dice: &mut Dice) -> (Vec<Made>, String) {
    let keyring = &house.keyring;
    let mut made = Vec::new();
    loop {
        let mut next = known.known.clone();
        let outcome = match dice.below(3) {
            0 => {
                let purpose = [Purpose::Media, Purpose::Secrets, Purpose::Content][dice.below(3) as usize];
                let rotated = keyring.rotate(purpose).map(|key| {
                    if let ReleasedKey::Data { number, key, .. } = &key {
                        made.push((purpose, *number, *key.expose()));
                    }
                    house.keys.add(key);
                });
                rotated.map_err(|error| error.to_string())
            }
            1 if next.len() < SLOTS_MAX => {
                let text = format!("passphrase {}", dice.roll());
                next.push(text.clone());
                known.begun = Some(next.clone());
                let added = keyring.add_slot(&passphrase(&text), PassphraseCost::MINIMUM);
                added.map(drop).map_err(|error| error.to_string())
            }
            _ if !next.is_empty() => {
                // The owner's slot comes first, the others in the order in which they were added.
                let at = dice.below(next.len() as u64) as usize;
                next.remove(at);
                known.begun = Some(next.clone());
                let slots = keyring.slots();
                assert!(slots.iter().all(|slot| slot.kind == SlotKind::Passphrase));
                let removed = keyring.remove_slot(slots[at + 1].id);
                removed.map_err(|error| error.to_string())
            }
            _ => continue,
        };
        match outcome {
            Ok(()) => {
                *known = Changing {
                    known: next,
                    begun: None,
                }
            }
            Err(error) => return (made, error),
        }
    }
}

type Made = (Purpose, u32, [u8; 32]);

fn change_secrets(keys: &DataKeys, known: &mut [Changing<Option<Vec<u8>>>], dice: &mut Dice) -> String {
    loop {
        let at = dice.below(known.len() as u64) as usize;
        let (name, place) = (format!("secret-{at}"), &mut known[at]);
        let next = (dice.below(4) > 0).then(|| vec![dice.roll() as u8; 20 + dice.below(2_000) as usize]);
        place.begun = Some(next.clone());
        let outcome = match &next {
            Some(value) => keys.seal_secret(&name, &SecretBytes::new(value.clone())),
            None => keys.remove_secret(&name),
        };
        if let Err(error) = outcome {
            return error.to_string();
        }
        *place = Changing {
            known: next,
            begun: None,
        };
    }
}

/// Writers, uploaders, and those who change keys and secrets; all go on until the disk refuses.
pub fn until_the_power_goes(house: &House, known: &mut Known, seed: u64, total: &mut Total) -> Result<(), String> {
    let (mut dice, mut more_dice) = (Dice::new(seed), Dice::new(!seed));
    let events = |known: &Known| known.writers.iter().map(|writer| writer.acknowledged).sum::<u64>();
    let (events_before, files_before) = (events(known), known.files.len());
    let store = &house.store;
    let errors: Vec<String> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (id, writer) in (0u32..).zip(&mut known.writers) {
            threads.push(scope.spawn(move || (Vec::new(), Vec::new(), send(store, id, writer))));
        }
        for uploader in 0..UPLOADERS as u64 {
            threads.push(scope.spawn(move || {
                let mut files = Vec::new();
                for number in (seed % 1_000_000 + uploader..).step_by(UPLOADERS) {
                    match house.runtime.block_on(upload(&house.media, number)) {
                        Ok(id) => files.push((id, number)),
                        Err(error) => return (files, Vec::new(), error.to_string()),
                    }
                }
                (files, Vec::new(), String::new())
            }));
        }
        let (passphrases, secrets) = (&mut known.passphrases, &mut known.secrets);
        threads.push(scope.spawn(move || {
            let (made, error) = change_keys(house, passphrases, &mut dice);
            (Vec::new(), made, error)
        }));
        threads.push(scope.spawn(move || {
            let error = change_secrets(&house.keys, secrets, &mut more_dice);
            (Vec::new(), Vec::new(), error)
        }));
        let mut errors = Vec::new();
        for thread in threads {
            let (files, made, error) = thread.join().unwrap();
            total.changes_of_keys += made.len() as u64;
            known.files.extend(files);
            known.keys.extend(made);
            errors.push(error);
        }
        errors
    });
    total.events += events(known) - events_before;
    total.files += (known.files.len() - files_before) as u64;
    if house.disk.is_off() {
        Ok(())
    } else {
        Err(format!("the disk was on, and yet: {errors:?}"))
    }
}
