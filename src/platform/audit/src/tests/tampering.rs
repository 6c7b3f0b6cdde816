//! Random tampering with an export: what verifies says exactly what the honest one says.
//!
//! `LAMCHAT_SEED` repeats a run.

use super::{Site, act, append, export, filled, pinned};
use crate::entry::{Actor, Entry};
use crate::export::entry_line;
use crate::verify::{Trust, checkpoint_of, verify};
use crate::witness::WitnessKey;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

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

#[test]
fn no_tampering_passes() {
    let seed = std::env::var("LAMCHAT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64
    });
    println!("seed {seed}");
    let mut dice = Dice(seed);
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
    let mut rejected = std::collections::BTreeMap::<&str, u32>::new();
    for _ in 0..ROUNDS {
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
    assert_eq!(rejected.len(), 9, "every kind was tried: {rejected:?}");
}
