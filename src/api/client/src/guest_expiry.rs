//! Guests who do not come back. They have no password, so an account without its access token is nobody's any more; without an
//! end every visit would leave an account and a member of rooms behind for ever.

use crate::{ApiError, App, account as own_account, device as own_device};
use lamchat_accounts::{account, device};
use lamchat_base::UserNum;
use lamchat_store::{Read, ReadError, WriteTxn};
use ruma::OwnedUserId;

/// Accounts that are looked at between two turns for others.
const LOOKED_AT_ONCE: usize = 256;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

type Guest = (UserNum, OwnedUserId);

/// Closes the accounts of guests of whom nothing was seen for the days that the settings say, and answers how many.
///
/// What it could not finish it does the next time: an account is marked last, when its rooms have been left.
pub async fn expire(app: &App, now_ms: u64) -> Result<usize, ApiError> {
    let days = app.settings.load().guest_days;
    if days == 0 {
        return Ok(0);
    }
    let seen_before = now_ms.saturating_sub(days.saturating_mul(DAY_MS));
    let (mut from, mut expired) = (UserNum(0), 0);
    loop {
        let (idle, next) = idle_guests(app, from, seen_before)?;
        for (user, user_id) in idle {
            own_account::withdraw(app, user, user_id).await?;
            let close = move |txn: &mut WriteTxn<'_>| -> Result<bool, ApiError> {
                // They may have come back, or have made an account of it, while their rooms were left.
                if !is_idle(txn, user, seen_before)? {
                    return Ok(false);
                }
                let devices = account::deactivate(txn, user, true)?;
                own_device::forget(txn, user, &devices)?;
                Ok(true)
            };
            expired += usize::from(app.store.write(close).await?);
        }
        match next {
            Some(next) => from = next,
            None => return Ok(expired),
        }
        tokio::task::yield_now().await;
    }
}

/// The guests among the accounts from `from` on that were not seen since `seen_before`, and where to go on.
fn idle_guests(app: &App, from: UserNum, seen_before: u64) -> Result<(Vec<Guest>, Option<UserNum>), ReadError> {
    let read = app.store.read();
    let accounts = account::list(&read, from, LOOKED_AT_ONCE)?;
    let next = accounts.last().filter(|_| accounts.len() == LOOKED_AT_ONCE);
    let next = next.map(|last| UserNum(last.user.0.saturating_add(1)));
    let mut idle = Vec::new();
    for account in accounts {
        if is_idle(&read, account.user, seen_before)? {
            idle.push((account.user, account.user_id));
        }
    }
    Ok((idle, next))
}

/// Whether it is the account of a guest, still open, that was made and last seen before `seen_before`.
fn is_idle(read: &dyn Read, user: UserNum, seen_before: u64) -> Result<bool, ReadError> {
    let Some(account) = account::one(read, user)? else {
        return Ok(false);
    };
    if !account.standing.is_guest() || account.standing.is_deactivated() || account.created_ms >= seen_before {
        return Ok(false);
    }
    let devices = device::all(read, user)?;
    Ok(devices
        .iter()
        .all(|device| device.last_seen_ms.unwrap_or(0) < seen_before))
}
