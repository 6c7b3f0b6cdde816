//! Random tampering with an export: what verifies says exactly what the honest one says.
//!
//! `LAMCHAT_SEED` repeats a run.

use super::{Site, act, append, export, filled, pinned};
use crate::audit_log::{AuditError, AuditLog};
use crate::entry::{Actor, Entry};
use crate::export::entry_line;
use crate::keep::Keep;
use crate::log;
use crate::notary::{Notary, SignerError};
use crate::verify::{Trust, VerifyError, checkpoint_of, verify};
use crate::witness::WitnessKey;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lamchat_base::SecretBytes;
use lamchat_seal::Keyring;
use lamchat_store::{Read, Store, WriteTxn};
use parking_lot::Mutex;
use std::sync::Arc;

const ROUNDS: u32 = 4_000;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % end.max(1) as u64) as usize
    }
}

/// The log's own key in the hands of somebody who has it forget what it signed: what an owner with the keyring can do.
struct Forgetful(Arc<Keyring>);

impl Keep for Forgetful {
    fn load(&self, name: &str) -> Result<Option<SecretBytes>, SignerError> {
        if name == "audit-heads" {
            return Ok(None);
        }
        Keep::load(&*self.0, name)
    }

    fn store(&self, name: &str, secret: &SecretBytes) -> Result<(), SignerError> {
        if name == "audit-heads" {
            return Ok(());
        }
        Keep::store(&*self.0, name, secret)
    }

    fn is_marked(&self, _name: &str) -> bool {
        false
    }

    fn mark(&self, _names: &[&str]) -> Result<(), SignerError> {
        Ok(())
    }

    fn place(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// Another history of the log in `of`, under its name and signed by its key: `size` entries, of which the first `shared`
/// are the same.
fn forked(site: &Site, of: &Store, shared: u64, size: u64) -> (Store, AuditLog) {
    let store = Store::in_memory(log::TABLES).unwrap();
    let name = of.read().get(log::META, b"log").unwrap().unwrap();
    let known = log::raw_entries(&of.read(), 0, shared as usize).unwrap();
    let fill = move |txn: &mut WriteTxn<'_>| {
        txn.put(log::META, b"log", name);
        for number in 0..size {
            let entry = match known.get(number as usize) {
                Some((_, entry)) => Entry::decode(entry).unwrap(),
                None => act(1_000 + number),
            };
            log::append(txn, &entry)?;
        }
        Ok::<_, lamchat_store::ReadError>(())
    };
    store.write_blocking(fill).unwrap();
    let notary = Notary::open(Arc::new(Forgetful(site.keyring.clone())), None).unwrap();
    let signer = Arc::new(Mutex::new(notary));
    let log = AuditLog::open(store.clone(), signer, "example.org", site.clock.clone(), &*site.entropy).unwrap();
    (store, log)
}

/// Changes an entry into another one that is as well-formed.
fn rewrite(line: &str, dice: &mut Dice) -> String {
    let bytes = BASE64_STANDARD.decode(line.strip_prefix("entry ").unwrap()).unwrap();
    let mut entry = Entry::decode(&bytes).unwrap();
    match dice.below(5) {
        0 => entry.time_ms += 1,
        1 => entry.actor = Actor::Socket { uid: 0 },
        2 => entry.act = "user.remove".to_owned(),
        3 => entry.subject.push('x'),
        _ => entry = entry.fact("admin", "perhaps"),
    }
    entry_line(&entry.encode()).trim_end().to_owned()
}

/// One act of tampering; the text names it.
fn tamper(file: &str, dice: &mut Dice) -> (&'static str, String) {
    let mut lines: Vec<String> = file.split('\n').map(str::to_owned).collect();
    let entries: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("entry ")).collect();
    let any = entries[dice.below(entries.len())];
    let name = match dice.below(9) {
        0 => {
            lines[any] = rewrite(&lines[any], dice);
            "an entry changed"
        }
        1 => {
            lines.remove(any);
            "an entry deleted"
        }
        2 => {
            let other = entries[dice.below(entries.len())];
            lines.swap(any, other);
            "two entries exchanged"
        }
        3 => {
            let line = lines[any].clone();
            lines.insert(any, line);
            "an entry repeated"
        }
        4 => {
            let made_up = entry_line(&act(7_777).encode());
            lines.insert(any, made_up.trim_end().to_owned());
            "an entry added"
        }
        5 => {
            let from = entries[dice.below(entries.len())];
            lines.drain(from..=entries[entries.len() - 1]);
            "the end cut off"
        }
        6 => {
            let cut = dice.below(file.len());
            let cut = (cut..).find(|at| file.is_char_boundary(*at)).unwrap();
            return ("the file truncated", file[..cut].to_owned());
        }
        7 => {
            let start = lines.iter().position(|line| line.starts_with("start ")).unwrap();
            lines[start] = format!("start {}", dice.below(40));
            "the start changed"
        }
        _ => {
            let mut bytes = file.as_bytes().to_vec();
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(7);
            return ("a bit flipped", String::from_utf8_lossy(&bytes).into_owned());
        }
    };
    (name, lines.join("\n"))
}

fn dice() -> (u64, Dice) {
    let seed = std::env::var("LAMCHAT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64
    });
    println!("seed {seed}");
    (seed, Dice(seed))
}

#[test]
fn of_two_histories_that_the_same_key_signed_the_second_is_refused() {
    let (seed, mut dice) = dice();
    let site = Site::new();
    let store = filled(40);
    let honest = site.log(&store);
    let trust = pinned(&honest);
    let witness = WitnessKey::generate("auditor", &*site.entropy).unwrap();
    let (mut forks, mut shorter, mut continued) = (0, 0, 0);
    for _ in 0..300 {
        // What somebody saw: a head of the honest log, or of another history of it.
        let (shared, size) = (dice.below(40) as u64, 1 + dice.below(60) as u64);
        let (_, seen) = forked(&site, &store, 40, 1 + dice.below(40) as u64);
        let mut seen = checkpoint_of(&export(&seen, 0)).unwrap();
        witness.cosign(&mut seen, 1_700_000_000).unwrap();
        let earlier: u64 = seen.text.lines().nth(1).unwrap().parse().unwrap();
        let (other_store, other) = forked(&site, &store, shared, size);
        let file = export(&other, 0);
        // By itself it is as good as any: the key is the right one.
        assert_eq!(verify(&file, &trust).unwrap().checkpoint.size, size, "seed {seed}");
        let visited = Trust {
            previous: vec![seen.clone()],
            witnesses: vec![witness.public().unwrap()],
            ..trust.clone()
        };
        let expected = if size < earlier {
            shorter += 1;
            Some(VerifyError::Shrunk { earlier, now: size })
        } else if shared < earlier {
            forks += 1;
            Some(VerifyError::Forked(earlier))
        } else {
            continued += 1;
            None
        };
        assert_eq!(
            verify(&file, &visited).err(),
            expected,
            "seed {seed}: {shared} of {size}, {earlier} seen"
        );
        // Nor does it take the witness's signature of the other one,
        match (other.add_witness(seen.clone(), Actor::Server), &expected) {
            (Err(AuditError::Foreign(refused)), Some(expected)) => assert_eq!(refused, *expected, "seed {seed}"),
            (Ok(_), None) => continue,
            (other, expected) => panic!("seed {seed}: {other:?} instead of {expected:?}"),
        }
        // and where somebody writes it into the database, the export shows it.
        let note = seen.to_string().into_bytes();
        let forge = move |txn: &mut WriteTxn<'_>| {
            txn.put(log::WITNESSED, b"auditor", note);
            Ok::<_, ()>(())
        };
        other_store.write_blocking(forge).unwrap();
        if size >= earlier {
            for since in [0, size] {
                assert_eq!(
                    verify(&export(&other, since), &trust).err(),
                    Some(VerifyError::Forked(earlier)),
                    "seed {seed}: {shared} of {size}, {earlier} seen"
                );
            }
        }
    }
    println!("{forks} forked, {shorter} shortened, {continued} continued");
    assert!(forks > 20 && shorter > 20 && continued > 5, "seed {seed}");
}

#[test]
fn no_tampering_passes() {
    let (seed, mut dice) = dice();
    let site = Site::new();
    let store = filled(21);
    let log = site.log(&store);
    let witness = WitnessKey::generate("auditor", &*site.entropy).unwrap();
    let mut seen = checkpoint_of(&export(&log, 0)).unwrap();
    witness.cosign(&mut seen, 1_700_000_000).unwrap();
    log.add_witness(seen.clone(), Actor::Server).unwrap();
    for number in 22..30 {
        append(&store, act(number));
    }
    let trust = Trust {
        witnesses: vec![witness.public().unwrap()],
        previous: vec![seen],
        ..pinned(&log)
    };
    let files = [export(&log, 0), export(&log, 13)];
    let honest = files.each_ref().map(|file| verify(file, &trust).unwrap());
    // Other histories that the same key signed; the honest one was seen at 21 entries.
    let mut forks = Vec::new();
    for _ in 0..60 {
        let (shared, size) = (dice.below(21) as u64, 1 + dice.below(40) as u64);
        let (_, log) = forked(&site, &store, shared, size);
        forks.extend([(size, export(&log, 0)), (size, export(&log, dice.below(21) as u64))]);
    }
    let mut rejected = std::collections::BTreeMap::<&str, u32>::new();
    for _ in 0..ROUNDS {
        if dice.below(10) == 0 {
            let (size, file) = &forks[dice.below(forks.len())];
            let (name, refused) = match verify(file, &trust) {
                Err(VerifyError::Shrunk { earlier: 21, now }) => ("a shorter history", now == *size && now < 21),
                Err(VerifyError::Forked(21)) => ("another history", *size >= 21),
                other => panic!("seed {seed}: {other:?}"),
            };
            assert!(refused, "seed {seed}: {size}");
            *rejected.entry(name).or_default() += 1;
            continue;
        }
        let at = dice.below(files.len());
        let mut file = files[at].clone();
        let mut names = Vec::new();
        for _ in 0..=dice.below(3) {
            if !file.contains("\nentry ") || !file.contains("\nstart ") || file.split('\n').any(|line| line == "entry ")
            {
                break;
            }
            // A flipped bit may have left an entry that cannot be rewritten.
            let is_whole = |line: &str| {
                let entry = line
                    .strip_prefix("entry ")
                    .and_then(|entry| BASE64_STANDARD.decode(entry).ok());
                !line.starts_with("entry ") || entry.is_some_and(|entry| Entry::decode(&entry).is_ok())
            };
            if !file.split('\n').all(is_whole) {
                break;
            }
            let (name, changed) = tamper(&file, &mut dice);
            names.push(name);
            file = changed;
        }
        match verify(&file, &trust) {
            Err(_) => *rejected.entry(names[0]).or_default() += 1,
            // Two exchanges may undo each other, and the key that the file names is not the one that is believed.
            Ok(verdict) => assert!(
                verdict.entries == honest[at].entries
                    && verdict.start == honest[at].start
                    && verdict.checkpoint == honest[at].checkpoint,
                "seed {seed}: {names:?} passed"
            ),
        }
    }
    println!("rejected: {rejected:?}");
    assert!(rejected.values().sum::<u32>() > ROUNDS * 9 / 10, "{rejected:?}");
    assert_eq!(rejected.len(), 11, "every kind was tried: {rejected:?}");
}
