//! `lamchat audit show|export|verify|prove|witness-key|witness|add-witness`

mod tiles;

use super::{Failure, Place, Server, output, socket};
use lamchat_api_admin::audit::entry_json;
use lamchat_audit::export::EXPORT_BYTES_MAX;
use lamchat_audit::note::NOTE_BYTES_MAX;
use lamchat_audit::verify::{self, Trust, Verdict};
use lamchat_audit::{Note, Span, VerifierKey, WitnessKey};
use lamchat_host::{OsEntropy, SystemClock};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const AUDIT: &str = "/_lamchat/admin/v1/audit";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Audit {
    /// Show the running server's audit log: who administered it, when and how.
    Show {
        /// The first entry, by its number.
        #[arg(long, value_name = "NUMBER")]
        since: Option<u64>,
        /// At most so many entries; without --since the newest.
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: u64,
        #[command(flatten)]
        server: Server,
    },
    /// Write entries and a signed checkpoint into a file that can be verified anywhere.
    Export {
        /// The file; it must not be there yet.
        #[arg(required_unless_present = "tiles")]
        file: Option<PathBuf>,
        /// The first entry, by its number. Later exports need only what is new.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        since: u64,
        /// Instead of a file: the whole log into this new folder, as tiles of C2SP tlog-tiles, for other readers.
        #[arg(long, value_name = "FOLDER", conflicts_with_all = ["file", "since"])]
        tiles: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// Verify an export. Needs no server and no network; exit code 1 means: do not believe it.
    Verify {
        /// The export.
        file: PathBuf,
        #[command(flatten)]
        trust: TrustOptions,
        /// Print every entry.
        #[arg(long)]
        entries: bool,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Print the proof that one entry is in the log, as a C2SP tlog-proof, which says nothing of the other entries.
    Prove {
        /// The export, of the whole log.
        file: PathBuf,
        /// The entry, by its number.
        number: u64,
        #[command(flatten)]
        trust: TrustOptions,
    },
    /// Make the secret key of a witness, and print the public one.
    WitnessKey {
        /// The file for the secret key; it must not be there yet.
        file: PathBuf,
        /// The witness's name, such as auditor.example.org.
        #[arg(long)]
        name: String,
    },
    /// Verify an export as a witness and co-sign its checkpoint: into the file EXPORT.cosigned.
    Witness {
        /// The export.
        #[arg(value_name = "EXPORT")]
        file: PathBuf,
        /// The witness's secret key. What it signs is remembered in KEYFILE.seen, so that it never signs a log that does
        /// not continue what it signed before.
        #[arg(long, value_name = "KEYFILE")]
        key: PathBuf,
        /// The log's public key; without it the one that was seen first, or the export's own.
        #[arg(long, value_name = "KEY")]
        log_key: Option<String>,
        /// Follow the log to the fallback key that a lost TPM's key had named, but could not sign for any more.
        #[arg(long)]
        accept_fallback: bool,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Bring a co-signed checkpoint back to the running server, which puts it into later exports.
    AddWitness {
        /// The co-signed checkpoint.
        file: PathBuf,
        #[command(flatten)]
        server: Server,
    },
}

/// What an auditor brings along.
#[derive(Debug, clap::Args)]
pub struct TrustOptions {
    /// The log's public key, or a file with it, from an earlier visit; without it the export's own is taken.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// An earlier export or checkpoint of this log. May be given several times.
    #[arg(long, value_name = "FILE")]
    previous: Vec<PathBuf>,
    /// The public key of a witness, or a file with it. May be given several times.
    #[arg(long, value_name = "KEY")]
    witness: Vec<String>,
    /// Follow the log to the fallback key that a lost TPM's key had named, but could not sign for any more.
    #[arg(long)]
    accept_fallback: bool,
}

/// Runs it.
pub fn run(place: &Place, command: Audit) -> Result<(), Failure> {
    match command {
        Audit::Show { since, limit, server } => show(place, &server, since, limit),
        Audit::Export {
            file,
            since,
            tiles,
            server,
        } => match (tiles, file) {
            (Some(folder), _) => tiles::export(place, &server, &folder),
            (None, Some(file)) => export(place, &server, &file, since),
            (None, None) => Err("name the file for the export, or a folder with --tiles".into()),
        },
        Audit::Prove { file, number, trust } => tiles::prove(&file, number, &trust.read()?),
        Audit::Verify {
            file,
            trust,
            entries,
            json,
        } => {
            let verdict = verify::verify(&read_text(&file, EXPORT_BYTES_MAX)?, &trust.read()?)?;
            print_verdict(&verdict, entries, json);
            Ok(())
        }
        Audit::WitnessKey { file, name } => {
            let key = WitnessKey::generate(&name, &OsEntropy)?;
            create(&file, 0o600)?.write_all(key.to_text()?.as_bytes())?;
            output::line(key.public()?.to_string());
            Ok(())
        }
        Audit::Witness {
            file,
            key,
            log_key,
            accept_fallback,
            json,
        } => {
            let log_key = log_key.as_deref().map(read_key).transpose()?;
            witness(&file, &key, log_key, accept_fallback, json)
        }
        Audit::AddWitness { file, server } => {
            let body = json!({"checkpoint": read_text(&file, NOTE_BYTES_MAX)?});
            let answer = socket::call(place, &server, "POST", &format!("{AUDIT}/witness"), Some(&body))?;
            output::line(if server.json {
                answer.to_string()
            } else {
                format!("{} is kept and goes into later exports", file.display())
            });
            Ok(())
        }
    }
}

fn show(place: &Place, server: &Server, since: Option<u64>, limit: u64) -> Result<(), Failure> {
    let page = |since: u64, limit: u64| {
        let target = format!("{AUDIT}?since={since}&limit={limit}");
        socket::call(place, server, "GET", &target, None)
    };
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
    let mut next = match since {
        Some(since) => since,
        None => number(&page(0, 0)?, "size").unwrap_or_default().saturating_sub(limit),
    };
    let (mut entries, mut left) = (Vec::new(), limit);
    let mut last = loop {
        let mut answer = page(next, left)?;
        if let Some(Value::Array(more)) = answer.get_mut("entries").map(Value::take) {
            left = left.saturating_sub(more.len() as u64);
            entries.extend(more);
        }
        match number(&answer, "next") {
            Some(after) if left > 0 => next = after,
            _ => break answer,
        }
    };
    if server.json {
        if let Some(answer) = last.as_object_mut() {
            answer.insert("entries".to_owned(), Value::Array(entries));
        }
        output::line(last.to_string());
        return Ok(());
    }
    output::table(
        &["ENTRY", "TIME (UTC)", "WHO", "ACT", "SUBJECT", "FACTS"],
        &entries.iter().map(row).collect::<Vec<_>>(),
    );
    let text = |key: &str| last.get(key).and_then(Value::as_str).unwrap_or_default();
    output::line(format!(
        "\n{} entries, {} of them signed ({})",
        number(&last, "size").unwrap_or_default(),
        number(&last, "signed").unwrap_or_default(),
        text("key_kind"),
    ));
    for (place, what) in [("/trouble/sentence", "Signing"), ("/anchor/trouble/sentence", "Anchor")] {
        if let Some(trouble) = last.pointer(place).and_then(Value::as_str) {
            output::line(format!("{what}: {trouble}"));
        }
    }
    output::line(format!("Key  {}", text("key")));
    for witness in last.get("witnesses").and_then(Value::as_array).into_iter().flatten() {
        output::line(format!(
            "The first {} were seen by {}",
            number(witness, "size").unwrap_or_default(),
            witness.get("name").and_then(Value::as_str).unwrap_or_default()
        ));
    }
    Ok(())
}

fn row(entry: &Value) -> Vec<String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| entry.get(key).and_then(Value::as_u64).unwrap_or_default();
    let facts = entry.get("facts").and_then(Value::as_object).into_iter().flatten();
    let facts: Vec<String> = facts
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    vec![
        number("number").to_string(),
        output::time(number("time_ms")),
        text("actor"),
        text("act"),
        text("subject"),
        facts.join(" "),
    ]
}

fn export(place: &Place, server: &Server, path: &Path, since: u64) -> Result<(), Failure> {
    let target = format!("{AUDIT}/export?since={since}");
    let mut stream = socket::send(place, server, "GET", &target, None)?.stream()?;
    let mut file = create(path, 0o644)?;
    let copied = std::io::copy(&mut stream, &mut file).and_then(|bytes| file.sync_all().map(|()| bytes));
    let bytes = copied.map_err(|error| {
        format!(
            "the export broke off: {error}. What is in {} is incomplete: delete it and try again",
            path.display()
        )
    })?;
    output::line(if server.json {
        json!({"bytes": bytes}).to_string()
    } else {
        format!(
            "{}: {bytes} bytes. Check it with `lamchat audit verify`, on any machine",
            path.display()
        )
    });
    Ok(())
}

/// What a verdict says, for people or scripts.
fn print_verdict(verdict: &Verdict, with_entries: bool, json: bool) {
    let numbered = || (verdict.start..).zip(&verdict.entries);
    if json {
        let witnesses: Vec<Value> = verdict
            .witnesses
            .iter()
            .map(|(name, size, time_s)| json!({"name": name, "size": size, "time_s": time_s}))
            .collect();
        let mut answer = json!({
            "log": verdict.checkpoint.origin,
            "size": verdict.checkpoint.size,
            "start": verdict.start,
            "key": verdict.key.to_string(),
            "key_pinned": verdict.is_key_pinned,
            "keys": verdict.keys.iter().map(key_json).collect::<Vec<_>>(),
            "consistent_with": verdict.consistent_with,
            "witnesses": witnesses,
        });
        if let Some(answer) = answer.as_object_mut().filter(|_| with_entries) {
            let entries = numbered().map(|(number, entry)| entry_json(number, entry)).collect();
            answer.insert("entries".to_owned(), Value::Array(entries));
        }
        output::line(answer.to_string());
        return;
    }
    if with_entries {
        let rows: Vec<Vec<String>> = numbered()
            .map(|(number, entry)| row(&entry_json(number, entry)))
            .collect();
        output::table(&["ENTRY", "TIME (UTC)", "WHO", "ACT", "SUBJECT", "FACTS"], &rows);
        output::line("");
    }
    output::line(format!(
        "Verified: {} of {} entries of {}, from number {} on, as its key signed them",
        verdict.entries.len(),
        verdict.checkpoint.size,
        verdict.checkpoint.origin,
        verdict.start
    ));
    for size in &verdict.consistent_with {
        output::line(format!("Continues its checkpoint of {size} entries"));
    }
    for (name, size, time_s) in &verdict.witnesses {
        let time = output::time(time_s.saturating_mul(1000));
        output::line(format!("Witnessed by {name} at {size} entries, on {time} (UTC)"));
    }
    for span in verdict.keys.iter().skip(1) {
        let kind = span.kind.as_deref().unwrap_or_default();
        output::line(if span.vouched {
            format!(
                "From {} entries on: another key ({kind}), as the one before signed",
                span.from
            )
        } else {
            format!(
                "From {} entries on: another key ({kind}). Not proved by the key before, which had only named it as its fallback",
                span.from
            )
        });
    }
    output::line(format!("Key  {}", verdict.key));
    if !verdict.is_key_pinned {
        output::line(
            "Not proved: that this is the log's key. It came with the export: compare it with what you noted on the server, and give it with --key",
        );
    }
}

fn key_json(span: &Span) -> Value {
    json!({"key": span.key.to_string(), "kind": span.kind, "from": span.from, "to": span.to, "vouched": span.vouched})
}

fn witness(
    path: &Path,
    key_path: &Path,
    log_key: Option<VerifierKey>,
    accept_fallback: bool,
    json: bool,
) -> Result<(), Failure> {
    let key = WitnessKey::parse(&zeroize::Zeroizing::new(read_text(key_path, NOTE_BYTES_MAX)?))?;
    let seen_path = with_ending(key_path, ".seen");
    let seen = Seen::read(&seen_path)?;
    let file = read_text(path, EXPORT_BYTES_MAX)?;
    let origin = lamchat_audit::checkpoint::Checkpoint::parse(&verify::checkpoint_of(&file)?.text)?.origin;
    let known = seen.logs.iter().find(|(key, _)| key.name() == origin);
    let mut trust = Trust {
        key: log_key.or_else(|| known.map(|(key, _)| key.clone())),
        accept_fallback,
        ..Trust::default()
    };
    trust.previous.extend(known.map(|(_, note)| note.clone()));
    let verdict = verify::verify(&file, &trust)?;
    let mut note = verify::checkpoint_of(&file)?;
    key.cosign(&mut note, lamchat_base::Clock::now_ms(&SystemClock::new()) / 1000)?;
    // Remembered before the signature is out.
    seen.with(&verdict.key, &note).write(&seen_path)?;
    let cosigned = with_ending(path, ".cosigned");
    create(&cosigned, 0o644)?.write_all(note.to_string().as_bytes())?;
    print_verdict(&verdict, false, json);
    if !json {
        output::line(format!(
            "Co-signed: {}. Bring it back with `lamchat audit add-witness`",
            cosigned.display()
        ));
    }
    Ok(())
}

/// What a witness has signed: for each log its key and its newest checkpoint. A line `key VKEY`, the note, and a line
/// with a dot, for each.
struct Seen {
    logs: Vec<(VerifierKey, Note)>,
}

/// What ends a log in the file of what was seen: no line of a note is a dot.
const SEEN_END: &str = "\n.\n";

impl Seen {
    fn read(path: &Path) -> Result<Self, Failure> {
        let mut logs = Vec::new();
        if !path.exists() {
            return Ok(Self { logs });
        }
        let malformed = || Failure(format!("{}: it is malformed", path.display()));
        let text = read_text(path, 1 << 20)?;
        for log in text.split_terminator(SEEN_END) {
            let (key, note) = log.split_once('\n').ok_or_else(malformed)?;
            let key = key.strip_prefix("key ").ok_or_else(malformed)?;
            logs.push((VerifierKey::parse(key)?, Note::parse(&format!("{note}\n"))?));
        }
        Ok(Self { logs })
    }

    fn with(mut self, key: &VerifierKey, note: &Note) -> Self {
        self.logs.retain(|(known, _)| known.name() != key.name());
        self.logs.push((key.clone(), note.clone()));
        self
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        let fresh = with_ending(path, ".new");
        let logs = self.logs.iter();
        let text: String = logs
            .map(|(key, note)| format!("key {key}\n{}{SEEN_END}", note.to_string().trim_end_matches('\n')))
            .collect();
        let mut file = File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(std::fs::rename(&fresh, path)?)
    }
}

impl TrustOptions {
    fn read(&self) -> Result<Trust, Failure> {
        let mut trust = Trust {
            key: self.key.as_deref().map(read_key).transpose()?,
            accept_fallback: self.accept_fallback,
            ..Trust::default()
        };
        for text in &self.witness {
            let key = read_key(text)?;
            if key.is_of_log() {
                return Err("--witness takes the key of a witness, and this is the key of a log".into());
            }
            trust.witnesses.push(key);
        }
        for path in &self.previous {
            let file = read_text(path, EXPORT_BYTES_MAX)?;
            let note = verify::checkpoint_of(&file).map_err(|error| format!("{}: {error}", path.display()))?;
            trust.previous.push(note);
        }
        Ok(trust)
    }
}

/// A key as it is, or from a file.
fn read_key(text: &str) -> Result<VerifierKey, Failure> {
    if let Ok(key) = VerifierKey::parse(text) {
        return Ok(key);
    }
    let file = read_text(Path::new(text), NOTE_BYTES_MAX)?;
    Ok(VerifierKey::parse(file.trim())?)
}

/// An export, not verified.
pub fn read_export(path: &Path) -> Result<String, Failure> {
    read_text(path, EXPORT_BYTES_MAX)
}

/// A file of at most `bytes_max` bytes.
fn read_text(path: &Path, bytes_max: usize) -> Result<String, Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .map_err(failed)?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > bytes_max {
        return Err(format!("{}: it has more than {bytes_max} bytes", path.display()).into());
    }
    String::from_utf8(bytes).map_err(|_| Failure(format!("{}: it is not text", path.display())))
}

/// A new file.
fn create(path: &Path, mode: u32) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.map_err(|error| Failure(format!("{}: {error}", path.display())))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
