//! The anchor in the TPM: compared at start, written at start, once an hour, and soon after critical acts.

mod keep;

use super::wiring::Parts;
use super::{StartError, holder, locked, refused};
use keep::{Times, keep};
use lamchat_audit::tree::Hash;
use lamchat_audit::{Actor, Entry};
use lamchat_config::Config;
use lamchat_holder::{Anchor, Anchored, AskError, Reason, Standing};
use lamchat_seal::{SlotInfo, SlotKind};
use lamchat_store::{ReadError, ReadTxn, Store};
use std::sync::Arc;
use std::time::Duration;

/// The anchor is an hour old at most; critical acts are in it within seconds.
const TIMES: Times = Times {
    interval: Duration::from_secs(3600),
    coalesce: Duration::from_secs(2),
    retry: Duration::from_secs(300),
};
/// A TPM that does not tell its anchor is asked so often before somebody has to type the recovery key for that.
const ASKS: u32 = 3;
/// And after this pause.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// What acts begin with that are anchored at once: whoever rolls the disk back behind them takes back who has power here.
const CRITICAL: [&str; 11] = [
    "anchor.",
    "audit.key",
    "backup.restored",
    "credential.create",
    "credential.revoke",
    "key.",
    "keyring.",
    "update.apply",
    "user.admin",
    "user.register-admin",
    "user.deactivate",
];

/// What a start found that has to be in the audit log.
pub struct Finding {
    /// The act.
    act: &'static str,
    /// Facts.
    facts: Vec<(&'static str, String)>,
    /// Whether tokens of before mean nothing any more.
    pub new_epoch: bool,
    /// Whether somebody has to open the keys by hand before this database is served.
    needs_hand: bool,
    /// For people: a sentence without its full stop.
    reason: String,
}

impl Finding {
    /// The entry.
    pub fn entry(&self, now_ms: u64) -> Entry {
        let entry = Entry::new(now_ms, Actor::Server, self.act);
        let facts = self.facts.iter();
        facts.fold(entry, |entry, (name, value)| entry.fact(name, value))
    }
}

/// Compares the database with its anchor, and asks whether the audit log's signer remembers what it signed. A database that
/// is older, or that cannot be shown not to be, is served only once somebody has opened the keys by hand: waits for that.
pub async fn check(
    config: &Config,
    store: &Store,
    holder: &holder::Link,
    unlocked_by: SlotKind,
) -> Result<Vec<Finding>, StartError> {
    let anchored = anchored(holder).await?;
    let slots = slots(holder).await?;
    let compared = found(anchored, &store.read(), unlocked_by, &slots).map_err(refused)?;
    let lost = holder.ask(|client| client.log_lost()).await.map_err(refused)?;
    let findings: Vec<Finding> = compared
        .into_iter()
        .chain(lost.map(|places| forgotten(&places, &slots)))
        .collect();
    if findings.is_empty() {
        return Ok(findings);
    }
    let reasons: Vec<&str> = findings.iter().map(|finding| finding.reason.as_str()).collect();
    let reason = reasons.join("; ");
    if findings.iter().any(|finding| finding.new_epoch) {
        let reason = format!("{reason}; it goes on as a new epoch once its owner says so");
        locked::wait_for_hand(config, reason, true, holder).await?;
    } else if findings.iter().any(|finding| finding.needs_hand) {
        let reason = format!(
            "{reason}; it goes on once its owner says so, or the TPM is there at the next start. If the TPM is gone for good, \
             `lamchat seal remove` its slot afterwards"
        );
        locked::wait_for_hand(config, reason, false, holder).await?;
    } else {
        tracing::warn!(reason, "the start goes on all the same");
    }
    Ok(findings)
}

/// How the database stands to its anchor, if there is anything to tell.
fn found(
    anchored: Anchored,
    read: &ReadTxn,
    unlocked_by: SlotKind,
    slots: &[SlotInfo],
) -> Result<Option<Finding>, ReadError> {
    let found = standing_of(read)?;
    let finding = |act, anchor: &Anchor, new_epoch, reason: String| Finding {
        act,
        facts: vec![
            ("anchored_commit", anchor.commit.to_string()),
            ("anchored_entries", anchor.audit_entries.to_string()),
            ("found_commit", found.commit.to_string()),
            ("found_entries", found.audit_entries.to_string()),
        ],
        new_epoch,
        needs_hand: new_epoch,
        reason,
    };
    Ok(match anchored {
        Anchored::Never => None,
        Anchored::At { anchor, put_back } => match compare(&anchor, &found, read)? {
            Standing::NotBehind if put_back => {
                let reason = "the TPM's memory is older than what was written to it: somebody put its state back";
                Some(finding("anchor.put-back", &anchor, false, reason.to_owned()))
            }
            Standing::NotBehind => None,
            Standing::Behind { anchored, found: at } => {
                let reason = format!(
                    "the database is older than the TPM remembers it (commit {at} of {anchored}): the disk was put back to an \
                     earlier state"
                );
                Some(finding("anchor.behind", &anchor, true, reason))
            }
            Standing::Forked => {
                let reason = "the audit log is another one than the TPM remembers: the database was exchanged";
                Some(finding("anchor.forked", &anchor, true, reason.to_owned()))
            }
        },
        Anchored::Gone(why) => {
            let finding = missing("anchor.gone", why, unlocked_by, slots);
            // Another anchor is made, at whatever is there.
            let new_epoch = finding.needs_hand;
            Some(Finding { new_epoch, ..finding })
        }
        Anchored::Unknown(why) => Some(missing("anchor.unknown", why, unlocked_by, slots)),
    })
}

/// The anchor. A TPM that is only late or busy is no reason to wake somebody.
async fn anchored(holder: &holder::Link) -> Result<Anchored, StartError> {
    for _ in 1..ASKS {
        match holder.ask(|client| client.anchored()).await.map_err(refused)? {
            Anchored::Unknown(why) => {
                tracing::warn!(why, "the anchor is not known yet; the TPM is asked again");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            anchored => return Ok(anchored),
        }
    }
    holder.ask(|client| client.anchored()).await.map_err(refused)
}

async fn slots(holder: &holder::Link) -> Result<Vec<SlotInfo>, StartError> {
    let status = holder.ask(|client| client.status()).await.map_err(refused)?;
    Ok(status.slots.clone())
}

/// Nothing to compare with, although there was an anchor. Whoever can delete it, or take the TPM away, is not to win by
/// it, whatever lies beside the disk and opens the keys (a passphrase file, the file slot): the recovery key says that
/// this disk is the one. Where there is none, nobody could say so, and the start goes on with a note. Without the TPM the
/// log is not signed; the next start that has it compares again.
fn missing(act: &'static str, why: String, unlocked_by: SlotKind, slots: &[SlotInfo]) -> Finding {
    let has_recovery = slots.iter().any(|slot| slot.kind == SlotKind::Recovery);
    let new_epoch = unlocked_by == SlotKind::Tpm;
    Finding {
        act,
        reason: format!("whether the database is the newest cannot be told: {why}"),
        facts: vec![("why", why)],
        new_epoch,
        // Who typed the recovery key to open the keys has said so by it.
        needs_hand: new_epoch || (has_recovery && unlocked_by != SlotKind::Recovery),
    }
}

/// What the audit log's signer kept is not there: it signs nothing, before its owner lets another log begin. Where nobody
/// could show that they are the owner, the start goes on, and the log says at each try why it is not signed.
fn forgotten(places: &str, slots: &[SlotInfo]) -> Finding {
    let new_epoch = slots.iter().any(|slot| slot.kind.is_portable());
    Finding {
        act: "audit.lost",
        facts: vec![("why", places.to_owned())],
        new_epoch,
        needs_hand: new_epoch,
        reason: format!(
            "what was signed of the audit log is not known: {places} is missing (put it back from where it went, and start again)"
        ),
    }
}

/// Where log and database stand.
fn standing_of(read: &ReadTxn) -> Result<Anchor, ReadError> {
    let audit_entries = lamchat_audit::log::size(read)?;
    Ok(Anchor {
        audit_head: head(read, audit_entries)?,
        audit_entries,
        commit: read.commit(),
    })
}

fn head(read: &ReadTxn, entries: u64) -> Result<Hash, ReadError> {
    Ok(lamchat_audit::log::frontier(read, entries)?.root())
}

/// Beyond the anchor, the log must still have the anchored beginning.
fn compare(anchor: &Anchor, found: &Anchor, read: &ReadTxn) -> Result<Standing, ReadError> {
    match anchor.compare(found) {
        Standing::NotBehind if head(read, anchor.audit_entries)? != anchor.audit_head => Ok(Standing::Forked),
        standing => Ok(standing),
    }
}

/// Keeps the anchor up to date. Ends with the runtime.
pub async fn anchor_forever(parts: Arc<Parts>) {
    keep(parts.store.clone(), TIMES, move || anchor(Arc::clone(&parts))).await;
}

/// Whether the anchor is written, or need not be.
async fn anchor(parts: Arc<Parts>) -> bool {
    let shared = Arc::clone(&parts);
    let written = tokio::task::spawn_blocking(move || {
        let now = standing_of(&shared.store.read()).map_err(|error| error.to_string())?;
        match shared.admin.holder.anchor(now) {
            Ok(()) => Ok(now.commit),
            // Not now, but not long either.
            Err(AskError::Refused(Reason::NotNow, sentence)) => {
                tracing::info!(sentence, "the anchor waits");
                Err(sentence)
            }
            Err(error) => {
                tracing::warn!(%error, "the anchor was not written; it is tried again");
                Err(error.to_string())
            }
        }
    });
    // The runtime ends.
    let Ok(written) = written.await else { return true };
    let is_written = written.is_ok();
    parts.admin.anchoring.note(written, parts.clock.now_ms());
    is_written
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{compare, forgotten, found, standing_of};
    use lamchat_audit::{Actor, Entry, TABLES};
    use lamchat_holder::{Anchored, Standing};
    use lamchat_seal::{SlotInfo, SlotKind};
    use lamchat_store::Store;

    fn act(store: &Store, number: u64) {
        let entry = Entry::new(number, Actor::Server, "user.add");
        store
            .write_blocking(move |txn| lamchat_audit::append(txn, &entry))
            .unwrap();
    }

    #[test]
    fn a_database_is_compared_with_its_anchor() {
        let store = Store::in_memory(TABLES).unwrap();
        act(&store, 1);
        let before = store.read();
        let first = standing_of(&before).unwrap();
        for number in 2..9 {
            act(&store, number);
        }
        let last = standing_of(&store.read()).unwrap();
        assert_eq!(compare(&first, &last, &store.read()).unwrap(), Standing::NotBehind);
        assert_eq!(compare(&last, &last, &store.read()).unwrap(), Standing::NotBehind);
        assert!(matches!(
            compare(&last, &first, &before).unwrap(),
            Standing::Behind { .. }
        ));
        // Longer than the anchored one, with another beginning.
        let other = Store::in_memory(TABLES).unwrap();
        for number in 100..120 {
            act(&other, number);
        }
        let found = standing_of(&other.read()).unwrap();
        assert_eq!(compare(&last, &found, &other.read()).unwrap(), Standing::Forked);
    }
    #[test]
    fn another_log_comes_by_findings_that_need_one_alone() {
        use SlotKind::{File, Passphrase, Recovery, Tpm};
        let store = Store::in_memory(TABLES).unwrap();
        let slots = |kinds: &[SlotKind]| -> Vec<SlotInfo> {
            let slot = |(id, kind): (u32, &SlotKind)| SlotInfo {
                id,
                kind: *kind,
                verified_ms: None,
            };
            (1..).zip(kinds).map(slot).collect()
        };
        let asked = |anchored: Anchored, by, kinds: &[SlotKind]| {
            let finding = found(anchored, &store.read(), by, &slots(kinds)).unwrap().unwrap();
            (finding.needs_hand, finding.new_epoch)
        };
        let (gone, unknown) = (Anchored::Gone("gone".to_owned()), Anchored::Unknown("away".to_owned()));
        for (by, kinds, of_gone, of_unknown) in [
            (Tpm, &[Tpm, Recovery][..], (true, true), (true, true)),
            (Passphrase, &[Tpm, Recovery, Passphrase], (true, true), (true, false)),
            (File, &[Tpm, File], (false, false), (false, false)),
            (Recovery, &[Tpm, Recovery], (false, false), (false, false)),
        ] {
            assert_eq!(asked(gone.clone(), by, kinds), of_gone, "{by} {kinds:?}");
            assert_eq!(asked(unknown.clone(), by, kinds), of_unknown, "{by} {kinds:?}");
        }
        let lost = |kinds: &[SlotKind]| forgotten("x", &slots(kinds)).new_epoch;
        assert!(lost(&[File, Recovery]) && lost(&[Passphrase]) && !lost(&[File, Tpm]));
    }
}
