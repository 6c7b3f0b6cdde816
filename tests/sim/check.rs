//! Comparing what is there with what was acknowledged.

use crate::house::{Changing, HEADS, House, Known, LOG, ROWS, Writer, content, open_keyring};
use crate::load::row;
use lamchat_media::{DownloadError, Media};
use lamchat_store::{Key, KeyRange, KeyReader, Order, Read, ReadExt};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many of the oldest and of the newest files are read in each round.
const FILES_READ: usize = 12;

/// Everything. What was begun and turns out to be there counts as known from then on.
pub fn all(house: &House, known: &mut Known) -> Result<(), String> {
    keys(house, known)?;
    secrets(house, known)?;
    events(&house.store.read(), &mut known.writers)?;
    files(house, &known.files)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn keys(house: &House, known: &mut Known) -> Result<(), String> {
    let keyring = &house.keyring;
    let slots = keyring.slots().len();
    let Changing { known: old, begun } = &known.passphrases;
    // Which of the two it is shows in who opens it.
    let opens = |passphrases: &[String]| -> Result<(), String> {
        if passphrases.len() + 1 != slots {
            return Err(format!("{slots} slots for {} passphrases", passphrases.len() + 1));
        }
        for passphrase in passphrases {
            let opened = open_keyring(&house.disk, passphrase).map_err(text)?;
            if opened.release().map_err(text)? != keyring.release().map_err(text)? {
                return Err("other data keys".to_owned());
            }
        }
        Ok(())
    };
    let passphrases = match (opens(old), begun) {
        (Ok(()), _) => old.clone(),
        (Err(_), Some(begun)) => {
            opens(begun)?;
            begun.clone()
        }
        (Err(error), None) => return Err(format!("slots: {error}")),
    };
    known.passphrases = Changing {
        known: passphrases,
        begun: None,
    };
    for (purpose, number, key) in &known.keys {
        match house.keys.data_key_numbered(*purpose, *number) {
            Ok(found) if found.expose() == key => {}
            Ok(_) => return Err(format!("{purpose:?} key {number} is another one")),
            Err(error) => return Err(format!("{purpose:?} key {number}: {error}")),
        }
    }
    Ok(())
}

fn secrets(house: &House, known: &mut Known) -> Result<(), String> {
    for (number, place) in known.secrets.iter_mut().enumerate() {
        let found = house.keys.unseal_secret(&format!("secret-{number}")).map_err(text)?;
        let found = found.map(|secret| secret.expose().to_vec());
        if found != place.known && Some(&found) != place.begun.as_ref() {
            return Err(format!("secret {number} is neither the old nor the new one"));
        }
        *place = Changing {
            known: found,
            begun: None,
        };
    }
    Ok(())
}

fn events(read: &dyn Read, writers: &mut [Writer]) -> Result<(), String> {
    let mut logged: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (_, value) in read
        .rows(LOG, &KeyRange::all(), Order::Ascending, usize::MAX)
        .map_err(text)?
    {
        let mut entry = KeyReader::new(&value);
        let (id, number) = (entry.u32().unwrap(), entry.u64().unwrap());
        logged.entry(id).or_default().push(number);
    }
    for (id, writer) in (0u32..).zip(writers) {
        let head = read.get(HEADS, &Key::new().u32(id)).map_err(text)?;
        let there = head
            .and_then(|head| KeyReader::new(&head).u64())
            .map_or(0, |number| number + 1);
        if there < writer.acknowledged || there > writer.begun {
            return Err(format!("writer {id} knows of {writer:?}, there are {there}"));
        }
        if logged.remove(&id).unwrap_or_default() != (0..there).collect::<Vec<u64>>() {
            return Err(format!("the log of writer {id} has gaps, doubles, or another order"));
        }
        let own = KeyRange::prefix(&Key::new().u32(id));
        let rows = read.rows(ROWS, &own, Order::Ascending, usize::MAX).map_err(text)?;
        let whole = |((key, value), number): (&(_, _), u64)| -> bool {
            let (key, value): (&lamchat_store::Bytes, &lamchat_store::Bytes) = (key, value);
            **key == *Key::new().u32(id).u64(number) && **value == *row(id, number)
        };
        if rows.len() as u64 != there || !rows.iter().zip(0..).all(whole) {
            return Err(format!("the rows of writer {id} are not the {there} that it wrote"));
        }
        (writer.acknowledged, writer.begun) = (there, there);
    }
    Ok(())
}

fn files(house: &House, files: &[(String, u64)]) -> Result<(), String> {
    let swept = house.media.sweep().map_err(text)?;
    if swept.contents_missing > 0 {
        return Err(format!(
            "{} files of rows are missing or too short",
            swept.contents_missing
        ));
    }
    let newest = files.iter().rev().take(FILES_READ);
    for (id, number) in files.iter().take(FILES_READ).chain(newest) {
        let found = house.runtime.block_on(read_back(&house.media, id)).map_err(text)?;
        if found != content(*number) {
            return Err(format!("file {number} differs"));
        }
    }
    Ok(())
}

pub async fn read_back(media: &Media, id: &str) -> Result<Vec<u8>, DownloadError> {
    let mut download = media.download(id, Duration::ZERO).await?;
    let mut bytes = Vec::new();
    while let Some(pieces) = download.next().await? {
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
    }
    Ok(bytes)
}
